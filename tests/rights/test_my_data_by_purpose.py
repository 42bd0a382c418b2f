"""What the application holds for purposes of its own, on My data: read, corrected, taken back, erased."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.support.my_data_site import (
    ERASE,
    JSON,
    OURS,
    asks,
    body,
    data,
    erased,
    reads,
    signed_in,
    site,
    words,
)
from tests.support.policies import POLICY
from tests.support.visitors import Visitor

from consent_mw import ConsentMiddleware, PersonalData
from consent_mw.cli import main
from consent_mw.exceptions import ConfigurationError
from consent_mw.records import Scalar

DECLARED = (
    POLICY
    + """
[purposes.members]
held_by = "application"
basis = "contract"
title = { ko = "회원 관리", en = "Accounts" }
until = { ko = "회원 탈퇴 시까지", en = "until you close your account" }
answered_by = "my_data"

[purposes.letters]
held_by = "application"
basis = "consent"
title = { ko = "소식지", en = "Newsletter" }
retention = "1 year"
answered_by = "my_data"

[purposes.orders]
held_by = "application"
basis = "contract"
title = { ko = "주문", en = "Orders" }
retention = "5 years"
answered_by = "staff"
"""
)
KIM = (b"x-user", b"kim")


class Shop(PersonalData):
    """A shop's own tables, by purpose, and one item that is of none."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Scalar]] = {"members": {"Name": "Kim"}, "letters": {"E-mail": "kim@example.com"}}
        self.note: dict[str, Scalar] = {"Note": "nice"}

    async def read(self, sign_in: str) -> Mapping[str, Scalar | Mapping[str, Scalar]]:
        return {**self.note, **self.held}

    async def correct(self, sign_in: str, item: str, value: str) -> bool:
        purpose, _, name = item.partition(".")
        self.held[purpose][name] = value
        return True

    async def erase(self, sign_in: str, purpose: str | None = None) -> None:
        for name in [purpose] if purpose else list(self.held):
            self.held.pop(name, None)
        if purpose is None:
            self.note = {}


def shop(directory: Path) -> tuple[ConsentMiddleware, Shop]:
    held = Shop()
    return site(directory, DECLARED, subject=signed_in, personal_data=held), held


def test_what_the_application_holds_stands_under_its_purpose_and_what_is_not_shown_is_said(tmp_path: Path) -> None:
    async def work() -> None:
        app, held = shop(tmp_path)
        visitor = Visitor(app)
        page = words(await reads(visitor, headers=[KIM]))
        assert page.index("Note") < page.index("Accounts") < page.index("Name") < page.index("Newsletter")
        assert "Orders : this page does not show it. To read it" in page
        assert "This is what we found about you" in page
        assert (await data(visitor, headers=[KIM]))["application"] == {**held.note, **held.held}
        table = body(await visitor.gets("/consent/my-data.csv", headers=[KIM])).removeprefix("\ufeff")
        rows = [(row["purpose"], row["item"], row["value"]) for row in csv.DictReader(table.splitlines())]
        assert {("", "Note", "nice"), ("members", "Name", "Kim")} <= set(rows)

    asyncio.run(work())


def test_an_item_of_a_purpose_is_corrected_by_its_whole_name(tmp_path: Path) -> None:
    async def work() -> None:
        app, held = shop(tmp_path)
        fields = (("action", "correct"), ("item", "members.Name"), ("value", "Lee"))
        assert (await asks(Visitor(app), *fields, headers=(OURS, KIM)))[0]["status"] == 303
        assert held.held["members"] == {"Name": "Lee"}
        other = await asks(Visitor(app), ("action", "correct"), ("item", "Name"), ("value", "Lee"), headers=(OURS, KIM))
        assert other[0]["status"] == 422

    asyncio.run(work())


@pytest.mark.parametrize("named", ["letters", "all"])
def test_a_purpose_that_rests_on_consent_is_taken_back_alone_and_with_everything(tmp_path: Path, named: str) -> None:
    async def work() -> None:
        app, held = shop(tmp_path)
        visitor = Visitor(app)
        answer = await asks(visitor, ("action", "withdraw"), ("purpose", named), headers=(OURS, KIM))
        assert answer[0]["status"] == 303
        await erased(app)
        assert held.held == {"members": {"Name": "Kim"}}
        assert held.note

    asyncio.run(work())


@pytest.mark.parametrize(
    ("named", "headers"), [("members", (OURS, KIM)), ("letters", (OURS,)), ("orders", (OURS, KIM))]
)
def test_what_cannot_be_taken_back_here_is_refused_and_nothing_is_lost(
    tmp_path: Path, named: str, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    async def work() -> None:
        app, held = shop(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        answer = await asks(visitor, ("action", "withdraw"), ("purpose", named), headers=(*headers, JSON))
        assert answer[0]["status"] == 422
        assert "all" in json.loads(body(answer))["allowed"]
        await erased(app)
        assert set(held.held) == {"members", "letters"}

    asyncio.run(work())


def test_an_erasure_takes_what_every_purpose_holds(tmp_path: Path) -> None:
    async def work() -> None:
        app, held = shop(tmp_path)
        assert (await asks(Visitor(app), *ERASE, headers=(OURS, KIM)))[0]["status"] == 303
        await erased(app)
        assert (held.held, held.note) == ({}, {})

    asyncio.run(work())


def test_a_site_that_answers_for_nothing_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"members.answered_by.*pass both"):
        site(tmp_path, DECLARED, subject=signed_in)


def test_a_purpose_for_which_nobody_is_named_is_said_on_the_page_and_by_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = DECLARED.replace('answered_by = "my_data"\n', "").replace('answered_by = "staff"\n', "")

    async def page(app: ConsentMiddleware) -> str:
        return words(await Visitor(app).gets("/consent/policy", query_string=b"lang=en"))

    assert "This page does not say how to read it, correct it or have it erased." in asyncio.run(
        page(site(tmp_path, text))
    )
    assert main(["check", str(tmp_path / "policy.toml"), "--json"]) == 0
    noted = {note["place"] for note in json.loads(capsys.readouterr().out)["notes"]}
    assert {f"purposes.{name}.answered_by" for name in ("members", "letters", "orders")} <= noted
