"""What somebody known asks about their data: on the disk before they read that it is registered, and then done."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.asgi import set_cookies
from tests.support.my_data_site import (
    ERASE,
    JSON,
    OURS,
    PAGE,
    Members,
    asks,
    body,
    cases,
    data,
    desk,
    erased,
    header,
    reads,
    records,
    run,
    signed_in,
    site,
    words,
)
from tests.support.policies import POLICY
from tests.support.visitors import Visitor

from consent_mw.rights.people import People
from consent_mw.rights.request import Answer
from consent_mw.rights.restriction import restricted
from consent_mw.testing.clock import Clock

# -- withdrawn ------------------------------------------------------------------------------------------------------


def test_promise_8_a_withdrawal_expires_its_cookies_and_erases_what_was_collected(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        await visitor.gets("/")
        cookie = (visitor.browser.header(b"/", datetime.now(UTC)) or b"") + b"; theme=dark; _ga=1"
        sent = await asks(visitor, ("action", "withdraw"), ("purpose", "analytics"), cookie=cookie)
        lines = b"\n".join(set_cookies(sent))
        assert sent[0]["status"] == 303
        assert b"_ga=;" in lines.replace(b'""', b"")
        assert b"theme" not in lines
        state = json.loads(body(await visitor.gets("/consent/state")))
        assert state["purposes"] == {"functional": True, "analytics": False, "marketing": True}
        assert "Your consent is withdrawn" in words(await reads(visitor, sent))
        await erased(app)
        report = await data(visitor)
        assert report["held"] == []
        assert [receipt["choice"] for receipt in report["receipts"]] == ["prompt", "accept"]  # the proof stays
        (case,) = report["requests"]
        assert (case["kind"], case["purposes"], case["state"]) == ("withdrawal", ["analytics"], "done")
        assert "Erased records:" in words(await reads(visitor, sent))

    run(work)


@pytest.mark.parametrize("way", ["banner", "settings", "application", "my-data"])
def test_promise_8_every_way_to_take_consent_back_registers_one_withdrawal(way: str, tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        if way == "banner":
            await visitor.picks("reject")
        elif way == "settings":
            await visitor.posts(("choice", "save"), ("purpose.analytics", "no"), ("purpose.functional", "yes"))
        elif way == "application":
            await visitor.gets("/withdraw")
        else:
            await asks(visitor, ("action", "withdraw"), ("purpose", "all"))
        (case,) = await cases(app)
        assert case.request.kind == "withdrawal"
        assert not case.request.purposes or "analytics" in case.request.purposes  # none named is everything
        assert case.request.person.is_known

    run(work)


def test_a_choice_that_takes_nothing_back_registers_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("reject")
        await visitor.posts(("choice", "save"), ("purpose.analytics", "yes"))
        await visitor.picks("accept")
        await visitor.picks("accept")
        assert await cases(app) == []
        assert len(await records(app, "receipt")) == 3

    run(work)


# -- erased ---------------------------------------------------------------------------------------------------------


def test_promise_8_an_erasure_leaves_nothing_tells_the_day_and_makes_the_visitor_nobody(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path, subject=signed_in, personal_data=(members := Members()))
        visitor = Visitor(app)
        visitor.signals = [(b"x-user", b"kim")]
        await visitor.picks("accept")
        await visitor.gets("/")
        sent = await asks(visitor, *ERASE)
        assert any(b"|reject|" in line for line in set_cookies(sent))
        await erased(app)
        assert members.held == {}
        assert [record.purpose for record in await records(app, "visit") if record.subject] == []
        visitor.signals = []
        page = words(await reads(visitor, sent))
        for word in (
            "Reference number",
            "Erased records:",
            "last key is destroyed",
            "Proof of your choice",
            "Kept for 1 year",
        ):
            assert word in page
        assert "can't identify you from this browser" in page
        answer = json.loads(
            body(await visitor.gets(f"{PAGE}.json", query_string=header(sent, "location").encode()[len(PAGE) + 1 :]))
        )
        assert answer["done"]["state"] == "done"
        assert answer["done"]["erased"]["records"] == 1
        assert answer["done"]["kept"] == ["receipts"]

    run(work)


def test_an_erasure_is_confirmed_first(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        sent = await asks(visitor, ("action", "erase"), headers=[OURS, JSON])
        assert (sent[0]["status"], json.loads(body(sent))["allowed"]) == (422, ["yes"])
        assert await cases(app) == []

    run(work)


@pytest.mark.parametrize("outcome", ["refused", "granted"])
def test_promise_4_the_company_decides_about_records_of_abuse_and_the_visitor_reads_why(
    outcome: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        await visitor.gets("/abuse")
        assert {held["purpose"] for held in (await data(visitor))["held"]} == {"analytics", "abuse"}
        sent = await asks(visitor, *ERASE)
        await erased(app)
        assert "There are abuse records" in words(await reads(visitor, sent))
        (case,) = await cases(app)
        assert case.request.purposes == ("abuse",)
        answer = Answer.new(
            case.request.id, outcome, app.runtime.options.clock(), reason="a police report of 3 May", by="park"
        )
        await desk(app).register(answers=[answer])
        await erased(app)
        page = words(await reads(visitor, sent))
        assert ("We decided to keep them" in page) == (outcome == "refused")
        assert ("Our reason: a police report of 3 May" in page) == (outcome == "refused")
        assert len(await records(app, "abuse")) == (outcome == "refused")

    run(work)


# -- corrected, disputed, restricted --------------------------------------------------------------------------------


def test_promise_8_what_the_application_holds_is_corrected_at_once_or_by_staff(tmp_path: Path) -> None:
    async def work() -> None:
        members = Members()
        app = site(tmp_path, subject=signed_in, personal_data=members)
        visitor = Visitor(app)
        visitor.signals = [(b"x-user", b"kim")]
        sent = await asks(visitor, ("action", "correct"), ("item", "name"), ("value", "Kim Minji"))
        assert members.held["kim"]["name"] == "Kim Minji"
        assert "It is corrected" in words(await reads(visitor, sent))
        assert (await data(visitor))["restricted"] is False
        sent = await asks(visitor, ("action", "correct"), ("item", "note"), ("value", "other"))
        assert "somebody has looked at it" in words(await reads(visitor, sent))
        assert (await data(visitor))["restricted"] is True
        sent = await asks(visitor, ("action", "correct"), ("item", "shoe size"), ("value", "9"), headers=[OURS, JSON])
        assert (sent[0]["status"], json.loads(body(sent))["allowed"]) == (422, ["name", "note"])

    run(work)


def test_promise_8_a_fact_of_the_log_is_disputed_and_the_data_is_left_alone_until_it_is_answered(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        await visitor.gets("/")
        record = (await data(visitor))["held"][0]["records"][0]["id"]
        sent = await asks(visitor, ("action", "dispute"), ("record", record), ("message", "Not me\r\nat all"),
                          ("email", "kim@example.com"))  # fmt: skip
        assert "We won't use your data until we've answered it" in words(await reads(visitor, sent))
        assert "We're not using your data" in words(await reads(visitor))
        (case,) = await cases(app)
        assert (case.request.item, case.request.message) == (record, "Not me\nat all")
        held = await records(app, "visit")
        restriction = await restricted(desk(app), People(app.runtime.store, app.runtime.sealer), app.runtime.sealer)
        assert all(restriction.restricts(visit) for visit in held if visit.subject)
        sent = await asks(visitor, ("action", "correct"), ("number", str(case.request.id)), ("item", "email"),
                          ("value", "lee@example.com"))  # fmt: skip
        assert 'value="lee@example.com"' in body(await reads(visitor, sent))
        await desk(app).register(
            answers=[Answer.new(case.request.id, "refused", app.runtime.options.clock(), reason="It was your browser.")]
        )
        page = words(await reads(visitor))
        assert "It was your browser." in page
        assert "We're not using your data" not in page

    run(work)


def test_promise_8_a_restriction_is_asked_for_and_taken_back(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        await asks(visitor, ("action", "restrict"), ("message", "until the trial"))
        assert (await data(visitor))["restricted"] is True
        sent = await asks(visitor, ("action", "lift"))
        assert "may be used again" in words(await reads(visitor, sent))
        assert (await data(visitor))["restricted"] is False
        assert (await asks(visitor, ("action", "lift")))[0]["status"] == 422

    run(work)


def test_promise_9_a_request_tells_its_last_day_and_when_that_is_over(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock(datetime(2026, 11, 26, 20, tzinfo=UTC))  # the 27th in Seoul
        visitor = Visitor(
            site(tmp_path, POLICY.replace("[controller]", 'jurisdiction = "KR"\n[controller]', 1), clock=clock)
        )
        await visitor.picks("accept")
        sent = await asks(visitor, ("action", "dispute"), ("message", "Not me"))
        assert "We'll answer by 7 December 2026" in words(await reads(visitor, sent))
        (case,) = (await data(visitor))["requests"]
        assert (case["due"], case["overdue"]) == ("2026-12-07", False)
        clock.advance(timedelta(days=10, hours=18, minutes=59))
        assert (await data(visitor))["requests"][0]["overdue"] is False
        clock.advance(timedelta(minutes=1))
        assert (await data(visitor))["requests"][0]["overdue"] is True
        assert "(overdue)" in words(await reads(visitor))

    run(work)
