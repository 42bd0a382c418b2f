"""A visitor's own data: shown to them alone, and whole."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.my_data_site import (
    ERASE,
    EXAMPLES,
    FORM,
    PAGE,
    Members,
    asks,
    body,
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

from consent_mw._asgi import Message, Scope
from consent_mw.rights.disclosures import Disclosure, Disclosures

# -- reading --------------------------------------------------------------------------------------------------------


def test_promise_8_who_allowed_something_sees_what_is_held_for_what_and_until_when(tmp_path: Path) -> None:
    async def work() -> None:
        visitor = Visitor(site(tmp_path))
        await visitor.picks("accept")
        await visitor.gets("/books")
        await visitor.gets("/books")
        report = await data(visitor)
        (analytics,) = report["held"]
        assert (analytics["purpose"], analytics["basis"], analytics["retention"]) == (
            "analytics",
            "consent",
            "13 months",
        )
        assert analytics["count"] == len(analytics["records"]) == 2
        assert analytics["first"] <= analytics["last"] < analytics["until"]
        assert all(time[19:].endswith("+09:00") for time in (analytics["first"], analytics["until"], report["made"]))
        assert (report["known_by"], report["restricted"], report["complete"]) == (["receipt"], False, True)
        assert [receipt["choice"] for receipt in report["receipts"]] == ["accept"]
        sent = await reads(visitor)
        assert header(sent, "cache-control") == "no-store"
        assert "Cookie" in header(sent, "vary")
        for word in ("Analytics", "your consent", "nobody", "(UTC+09:00)", "Accept all", analytics["records"][0]["id"]):
            assert word in words(sent)

    run(work)


def test_promise_3_the_report_shows_to_whom_something_was_given(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        await visitor.gets("/")
        assert (await data(visitor))["disclosures"] == []
        ledger, now_ns = Disclosures(app.runtime.store, app.runtime.sealer), app.runtime.options.clock()
        await ledger.append(Disclosure.new(now_ns, to="Court of <Seoul>", basis="lawful_demand", reference="2026-77"))
        await ledger.append(Disclosure.new(now_ns, to="Somebody else", basis="consent", purposes=("marketing",)))
        (given,) = (await data(visitor))["disclosures"]
        assert (given["to"], given["basis"], given["reference"]) == ("Court of <Seoul>", "lawful_demand", "2026-77")
        sent = await reads(visitor)
        assert "Court of &lt;Seoul&gt;" in body(sent)
        assert "Somebody else" not in body(sent)

    run(work)


def test_promise_8_everything_can_be_taken_along_as_json_csv_and_html(tmp_path: Path) -> None:
    async def work() -> None:
        visitor = Visitor(site(tmp_path, subject=signed_in, personal_data=Members()))
        await visitor.picks("accept")
        await visitor.gets("/")
        kim = [(b"x-user", b"kim")]
        for path, query in ((f"{PAGE}.json", b""), (PAGE, b"download=json")):
            sent = await visitor.gets(path, query_string=query, headers=kim)
            assert header(sent, "content-disposition") == 'attachment; filename="my-data.json"'
            assert json.loads(body(sent))["application"] == {"name": "Kim", "note": "=1+1"}
        sent = await visitor.gets(f"{PAGE}.csv", headers=kim)
        assert header(sent, "content-disposition") == 'attachment; filename="my-data.csv"'
        rows = list(csv.DictReader(io.StringIO(body(sent).removeprefix("\ufeff"))))
        assert {row["kind"] for row in rows} == {"visit", "application", "receipt"}
        assert [row["value"] for row in rows if row["item"] == "note"] == ["'=1+1"]  # no formula
        assert "attachment" in header(await visitor.gets(f"{PAGE}.html", headers=kim), "content-disposition")

    run(work)


def test_nobody_reads_the_data_of_another(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path, subject=signed_in, personal_data=Members())
        owner, stranger = Visitor(app), Visitor(app)
        await owner.picks("accept")
        await owner.gets("/")
        sent = await asks(owner, ("action", "dispute"), ("message", "secret words"))
        report = await data(owner)
        number = report["requests"][0]["number"]
        await stranger.picks("accept")
        for path, query in (
            (PAGE, f"receipt={report['receipts'][0]['id']}&number={number}&subject=kim&sign_in=kim"),
            (f"{PAGE}/{number}", ""),
            (PAGE, header(sent, "location").partition("?")[2]),  # the slip tells what became of it, and no more
        ):
            answer = body(await stranger.gets(path, query_string=query.encode()))
            assert "secret words" not in answer
            assert report["held"][0]["records"][0]["id"] not in answer
            assert "Kim" not in answer
        for name, value in (("number", number), ("record", report["held"][0]["records"][0]["id"])):
            await asks(stranger, ("action", "lift"), (name, value))
        assert (await asks(stranger, ("action", "lift"), ("number", number)))[0]["status"] == 422

    run(work)


def test_a_slip_that_somebody_made_up_says_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        visitor = Visitor(site(tmp_path))
        plain = words(await visitor.gets(PAGE, query_string=b"lang=en"))
        for slip in ("erase.01a21a2a08af71ad8687e8b86d503e84.AAAA", "", "%00", "a" * 5_000):
            assert words(await visitor.gets(PAGE, query_string=f"lang=en&done={slip}".encode())) == plain

    run(work)


def test_what_is_still_on_its_way_to_the_store_is_said_to_be_missing(tmp_path: Path) -> None:
    async def work() -> None:
        one, other = site(tmp_path), site(tmp_path)
        visitor = Visitor(one)
        await visitor.picks("accept")
        with one.runtime.spool.lease():  # another process hands over, and is slow
            assert "The latest records may be missing" in words(await reads(visitor, app=other))
            assert (await visitor.gets(f"{PAGE}.csv", app=other))[0]["status"] == 503
        assert (await data(visitor))["complete"] is True

    run(work)


def test_below_a_mount_every_form_and_link_leads_back_there(tmp_path: Path) -> None:
    async def work() -> None:
        visitor = Visitor(site(tmp_path))
        await visitor.picks("accept")
        html = body(await visitor.gets(f"/shop{PAGE}", root_path="/shop"))
        targets = re.findall(r'(?:action|href|src)="(/[^"]*)"', html)
        assert f"/shop{PAGE}" in targets
        assert [target for target in targets if not target.startswith("/shop/")] == []

    run(work)


def test_who_signs_in_sees_what_their_other_browser_left(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path, subject=signed_in, personal_data=Members())
        phone, laptop = Visitor(app), Visitor(app)
        phone.signals = laptop.signals = [(b"x-user", b"kim")]
        await phone.picks("accept")
        await phone.gets("/phone")
        report = await data(laptop)
        assert report["known_by"] == ["receipt", "sign-in"]
        assert [held["purpose"] for held in report["held"]] == ["analytics"]
        laptop.signals = [(b"x-user", b"lee")]
        report = await data(laptop)
        assert (report["known_by"], report["held"], report["application"]) == (["sign-in"], [], {})
        await data(phone)
        assert len(await records(app, "link")) == 2  # there and back, once, however often

    run(work)


def test_a_sign_in_is_linked_with_no_receipt_where_another_site_led_to_the_page(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path, subject=signed_in)
        visitor = Visitor(app)
        await visitor.picks("accept")
        visitor.signals = [(b"x-user", b"attacker")]  # whom another site has signed in here
        for led in (b"cross-site", b"same-site"):
            await visitor.gets(PAGE, headers=[(b"sec-fetch-site", led)])
        assert await records(app, "link") == []
        await visitor.gets(PAGE, headers=[(b"sec-fetch-site", b"same-origin")])
        assert len(await records(app, "link")) == 2

    run(work)


@pytest.mark.parametrize("answer", [7, "", "x" * 501, "\ud800", OSError("no session store")])
def test_a_sign_in_that_is_none_makes_no_error(answer: object, tmp_path: Path) -> None:
    def subject(scope: Scope) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def work() -> None:
        sent = await Visitor(site(tmp_path, subject=subject)).gets(PAGE, query_string=b"lang=en")
        assert sent[0]["status"] == 200
        assert "can't identify you from this browser" in words(sent)

    run(work)


def test_a_sign_in_may_be_awaited(tmp_path: Path) -> None:
    async def subject(scope: Scope) -> str | None:
        await asyncio.sleep(0)
        return "kim"

    async def work() -> None:
        report = await data(Visitor(site(tmp_path, subject=subject)))
        assert (report["known_by"], report["application"]) == (["sign-in"], None)

    run(work)


def test_an_application_in_trouble_is_an_answer_with_retry_after(tmp_path: Path) -> None:
    async def work() -> None:
        members = Members()
        visitor = Visitor(site(tmp_path, subject=signed_in, personal_data=members))
        visitor.signals = [(b"x-user", b"kim")]
        members.broken = True
        for sent in (
            await reads(visitor),
            await asks(visitor, ("action", "correct"), ("item", "name"), ("value", "x")),
        ):
            assert (sent[0]["status"], header(sent, "retry-after")) == (503, "5")

    run(work)


def test_the_example_lets_members_read_correct_and_erase_what_it_holds(tmp_path: Path) -> None:
    for name in ("my_data_app.py", "policy.toml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    example = runpy.run_path(str(tmp_path / "my_data_app.py"))

    async def work() -> None:
        visitor = Visitor(example["app"])
        form: list[Message] = [{"type": "http.request", "body": b"user=kim", "more_body": False}]
        await visitor.gets("/sign-in", method="POST", headers=[FORM], incoming=form)
        assert (await data(visitor))["application"] == {"name": "Kim Minji", "city": "Seoul"}
        await asks(visitor, ("action", "correct"), ("item", "city"), ("value", "Jeju"))
        assert (await data(visitor))["application"]["city"] == "Jeju"
        sent = await asks(visitor, *ERASE)
        await erased(example["app"])
        assert "Erased records:" in words(await reads(visitor, sent))
        assert sorted(example["MEMBERS"]) == ["lee"]
        assert "Hello" not in body(await visitor.gets("/"))
        await example["app"].runtime.drain.stop()

    run(work)
