"""A site that two visitors allowed everything, and what they ask for: shared by the tests of requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.policies import POLICY
from tests.support.visitors import Visitor

from consent_mw import ConsentMiddleware
from consent_mw._asgi import Receive, Scope, Send
from consent_mw.cli import main
from consent_mw.consent.data_subject import Person
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.paths import Places
from consent_mw.records import Record
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.request import Answer, Request, RequestKind
from consent_mw.stores.sqlite import SQLiteStore

NOW = datetime.now(UTC)
REASON = ("--reason", "a test")


async def shop(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"<body>shop</body>"})


class Site(NamedTuple):
    """A site that two visitors allowed everything; each visited once since."""

    places: Places
    names: Sequence[str]  # of their receipts

    @property
    def of_another_host(self) -> Sealer:
        """What seals on another host of the site, whose keys are not here."""
        return Sealer.without_keys(SiteKeys.read(self.places.site_keys))

    def registers(self, *requests: Request, answers: Sequence[Answer] = (), sealer: Sealer | None = None) -> None:
        asyncio.run(self._registered(requests, answers, sealer))

    async def _registered(self, requests: Sequence[Request], answers: Sequence[Answer], sealer: Sealer | None) -> None:
        store = SQLiteStore(self.places.database)
        await store.open()
        desk = Desk(store, sealer or Sealer.of_site(self.places), kept_by_store(store))
        await desk.register(*requests, answers=answers)
        await store.close()

    def keeps(self, *records: Record) -> None:
        asyncio.run(self._kept(records))

    async def _kept(self, records: Sequence[Record]) -> None:
        store = SQLiteStore(self.places.database)
        await store.open()
        await store.append(records, durable=True)
        await store.close()

    def runs(self, *words: object) -> int:
        return main([*map(str, words), "--directory", str(self.places.directory)])

    def request(self, kind: RequestKind = "correction", *, of: int | None = 0, **more: Any) -> Request:
        person = Person() if of is None else Person((self.names[of],))
        return Request.new(kind, "site", int(NOW.timestamp() * 1e9), person=person, received=NOW, **more)


def visited(root: Path) -> Site:
    """Make a site below `root`, with its two visitors."""
    (root / "policy.toml").write_text('jurisdiction = "KR"' + POLICY, "utf-8")
    app = ConsentMiddleware(shop, policy=root / "policy.toml", secret_keys=["a key of at least 16 bytes"])

    async def visit() -> list[str]:
        names = list[str]()
        for _ in range(2):
            visitor = Visitor(app)
            await visitor.picks("accept")
            await visitor.gets("/books")
            sent = await visitor.gets("/consent/receipt.json")
            document = json.loads(b"".join(message.get("body", b"") for message in sent))
            names.append(document["receipts"][0]["pii_principal_id"])
        await app.runtime.drain.stop()
        return names

    return Site(Places(root / "consent-data"), asyncio.run(visit()))
