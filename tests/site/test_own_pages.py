"""Our own pages are no visits that anybody was asked about: who reads about their data is not counted by it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.my_data_site import KEYS, asks, page, records, run, site
from tests.support.policies import POLICY
from tests.support.visitors import Visitor

from consent_mw import ConsentMiddleware, get_consent
from consent_mw._asgi import Receive, Scope, Send

OWN = ("/consent", "/consent/my-data", "/consent/my-data.json", "/consent/receipt", "/consent/policy",
       "/consent/cookies", "/consent/state", "/consent/static/consent.js", "/.well-known/gpc.json")  # fmt: skip


async def kept(app: ConsentMiddleware) -> dict[str, list[Any]]:
    by_purpose: dict[str, list[Any]] = {}
    for record in await records(app, "visit", "event"):
        by_purpose.setdefault(record.purpose, []).append(record)
    return by_purpose


@pytest.mark.parametrize("path", OWN)
def test_a_visit_to_our_own_page_is_kept_for_no_purpose_that_is_asked(path: str, tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path, gpc_url=True)
        visitor = Visitor(app)
        await visitor.picks("accept")
        await visitor.gets(path)
        by_purpose = await kept(app)
        assert list(by_purpose) == ["necessary"]
        assert len(by_purpose["necessary"]) == 2
        assert all(record.subject is None for record in by_purpose["necessary"])
        await visitor.gets("/books")
        assert len((await kept(app))["analytics"]) == 1

    run(work)


@pytest.mark.parametrize("way", ["my-data", "banner", "application"])
def test_the_request_that_withdraws_is_kept_for_no_purpose_that_is_asked(way: str, tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        if way == "my-data":
            await asks(visitor, ("action", "withdraw"), ("purpose", "analytics"))
        elif way == "banner":
            await visitor.picks("reject")
        else:
            await visitor.gets("/withdraw")
        by_purpose = await kept(app)
        assert "analytics" not in by_purpose
        if way == "my-data":
            await visitor.gets("/consent/my-data")
            assert "marketing" not in await kept(app)

    run(work)


def test_what_was_noted_before_the_same_request_took_consent_back_is_not_kept(tmp_path: Path) -> None:
    async def search(scope: Scope, receive: Receive, send: Send) -> None:
        consent = get_consent(scope)
        consent.record_event("search", results=3)
        if scope["path"] == "/withdraw":
            consent.withdraw("analytics")
        await page({**scope, "path": "/"}, receive, send)

    async def work() -> None:
        (tmp_path / "policy.toml").write_text(POLICY, "utf-8")
        app = ConsentMiddleware(search, policy=tmp_path / "policy.toml", secret_keys=KEYS)
        visitor = Visitor(app)
        await visitor.picks("accept")
        await visitor.gets("/")
        assert len(await records(app, "event")) == 1
        await visitor.gets("/withdraw")
        assert len(await records(app, "event")) == 1

    asyncio.run(work())
