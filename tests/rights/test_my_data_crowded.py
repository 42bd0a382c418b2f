"""What strangers do closes nobody's rights: nothing that they spend is another's, and their reading holds up nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from copy import deepcopy
from datetime import timedelta
from itertools import count
from pathlib import Path
from uuid import UUID

from tests.support.my_data_site import (
    ERASE,
    JSON,
    PAGE,
    asks,
    body,
    cases,
    data,
    erased,
    header,
    reads,
    records,
    run,
    signed_in,
    site,
    words,
)
from tests.support.visitors import Visitor

from consent_mw import ConsentMiddleware
from consent_mw.exceptions import StoreUnavailable
from consent_mw.records import Query, Record
from consent_mw.stores.memory import MemoryStore
from consent_mw.testing.clock import Clock

WITHDRAW = (("action", "withdraw"), ("purpose", "all"))
RESTRICT = (("action", "restrict"), ("message", "x"))
ASK = (("action", "ask"), ("kind", "access"), ("email", "kim@example.com"))


async def accepts(app: ConsentMiddleware) -> Visitor:
    visitor = Visitor(app)
    await visitor.picks("accept")
    return visitor


def same(visitor: Visitor) -> Visitor:
    """Another window with a copy of the same cookies."""
    other = Visitor(visitor.app)
    other.browser = deepcopy(visitor.browser)
    return other


def test_to_withdraw_and_to_erase_is_refused_to_nobody_whatever_others_have_asked(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        victim = await accepts(app)
        answers: list[int] = []
        while 429 not in answers:  # one who has as many receipts as they like, and the network of the victim
            mallory = await accepts(app)
            answers += [(await asks(mallory, *RESTRICT))[0]["status"] for _ in range(10)]
        assert answers.count(303) == 60
        while (await asks(Visitor(app), *ASK))[0]["status"] != 429:
            pass
        assert (await asks(victim, *RESTRICT))[0]["status"] == 429
        for _ in range(40):
            assert (await asks(same(victim), *WITHDRAW))[0]["status"] == 303
            assert (await asks(same(victim), *ERASE))[0]["status"] == 303
        assert (await asks(victim, *RESTRICT, client=("198.51.100.1", 1)))[0]["status"] == 303

    run(work)


def test_what_was_not_registered_counts_for_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        visitor = await accepts(site(tmp_path))
        for _ in range(70):
            assert (await asks(visitor, ("action", "lift")))[0]["status"] == 422
        assert (await asks(visitor, *RESTRICT))[0]["status"] == 303

    run(work)


def test_strangers_of_forty_networks_lock_out_no_other(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        for number in range(40):
            client = (f"10.0.{number}.1", 1)
            assert [(await asks(Visitor(app), *ASK, client=client))[0]["status"] for _ in range(5)] == [303] * 5
        assert (await asks(Visitor(app), *ASK, client=("198.51.100.1", 1)))[0]["status"] == 303

    run(work)


def test_a_withdrawal_that_is_sent_twice_is_one_and_a_later_one_another(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock()
        app = site(tmp_path, clock=clock)
        visitor = await accepts(app)
        numbers: list[str] = []
        for seconds in (0, 5, 5):
            clock.advance(timedelta(seconds=seconds))
            sent = await asks(same(visitor), *WITHDRAW, headers=((b"sec-fetch-site", b"same-origin"), JSON))
            numbers.append(json.loads(body(sent))["done"]["number"])
        assert numbers[0] == numbers[1] != numbers[2]
        assert {str(case.request.id) for case in await cases(app)} == set(numbers)

    run(work)


class Away(MemoryStore):
    """A store that can go away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        self._reached()
        await super().append(records, durable=durable)

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        self._reached()
        return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)

    def _reached(self) -> None:
        if self.away:
            raise StoreUnavailable("the store is away")


def test_to_withdraw_and_to_erase_takes_no_store_and_reaches_every_receipt_when_it_is_back(tmp_path: Path) -> None:
    async def work() -> None:
        store = Away()
        app = site(tmp_path, store=store)
        visitor = Visitor(app)
        for choice in ("accept", "reject", "accept"):
            await visitor.picks(choice)
            await visitor.gets("/")
        await visitor.posts(("choice", "save"), ("purpose.analytics", "yes"))
        await visitor.gets("/")
        await app.runtime.drain.once()
        store.away = True
        withdrawing = same(visitor)
        assert (await asks(withdrawing, *WITHDRAW))[0]["status"] == 303
        assert (await asks(visitor, *ERASE))[0]["status"] == 303
        store.away = False
        await app.runtime.drain.once()
        await erased(app)
        left = await records(app, "visit", "event")
        assert [record for record in left if record.subject] == []

    run(work)


def test_acceptances_and_abuse_while_the_store_is_away_leave_room_to_withdraw_and_to_erase(tmp_path: Path) -> None:
    async def work() -> None:
        store = Away()
        app = site(tmp_path, store=store, spool_bytes=1 << 20)
        victims = [await accepts(app) for _ in range(3)]
        replayed = victims.pop()
        store.away = True
        while app.runtime.spool.write([bytes(1_000)]):  # visits, as many as there is room for
            pass
        networks = (f"10.{number >> 8}.{number & 255}.1" for number in count())
        while (await asks(Visitor(app), *ASK, client=(next(networks), 1)))[0]["status"] == 303:
            pass
        while header(await Visitor(app).picks("accept"), "location").endswith("saved=1"):
            pass
        for _ in range(200):
            await victims[0].gets("/abuse")
            await Visitor(app).picks("reject")  # which belongs to nobody, so that its receipt proves nothing
        for _ in range(100):  # with one cookie, again and again: by both ways
            await same(replayed).picks("reject")
            assert (await asks(same(replayed), *WITHDRAW))[0]["status"] == 303
        assert (await asks(victims[0], *WITHDRAW))[0]["status"] == 303
        before = app.runtime.spool.waiting_bytes
        await victims[1].picks("reject")
        assert app.runtime.spool.waiting_bytes > before  # its withdrawal is kept, whatever becomes of the receipt
        assert (await asks(victims[1], *ERASE))[0]["status"] == 403  # who has refused all is known to nobody
        store.away = False
        await app.runtime.drain.once()
        kinds = [case.request.kind for case in await cases(app) if case.request.person.is_known]
        assert kinds == ["withdrawal"] * 4

    run(work)


def test_one_visitor_with_thirty_connections_holds_up_nobody(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        mallory, kim = await accepts(app), await accepts(app)
        for path in (f"{PAGE}.json", PAGE, "/consent/receipt"):
            sent = await asyncio.gather(*(same(mallory).gets(path) for _ in range(30)), kim.gets(path))
            assert sent[-1][0]["status"] == 200
            busy = [answer for answer in sent[:-1] if answer[0]["status"] == 503]
            assert all(header(answer, "retry-after") == "5" for answer in busy)
            assert {answer[0]["status"] for answer in sent[:-1]} <= {200, 503}
        assert (await data(mallory))["known_by"] == ["receipt"]

    run(work)


def test_more_browsers_than_are_followed_are_told_and_all_of_them_erased(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path, subject=signed_in)
        kim = ((b"x-user", b"kim"),)
        for _ in range(110):
            browser = Visitor(app)
            await browser.gets(
                "/consent/choice", method="POST", incoming=[
                    {"type": "http.request", "body": b"choice=accept", "more_body": False}
                ],
                headers=[(b"content-type", b"application/x-www-form-urlencoded"),
                         (b"sec-fetch-site", b"same-origin"), *kim],
            )  # fmt: skip
            await browser.gets("/")
        report = await data(browser, headers=kim)
        assert report["cut"] is True
        shown = words(await reads(browser, headers=kim))
        assert "You have signed in from more than 100 browsers" in shown
        assert "This is everything" not in shown
        table = body(await browser.gets(f"{PAGE}.csv", headers=kim))
        assert [line for line in table.splitlines() if line.startswith(',"cut",') and ",100," in line]
        sent = await asks(browser, *ERASE, headers=((b"sec-fetch-site", b"same-origin"), *kim))
        assert sent[0]["status"] == 303
        await erased(app)
        assert [record for record in await records(app, "visit") if record.subject] == []

    run(work)
