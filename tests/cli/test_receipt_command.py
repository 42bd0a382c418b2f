"""`consent-mw receipt verify`: proof for a complaint, from a file, a number or a name, and what no longer proves."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.policies import POLICY
from tests.support.visitors import Visitor

from consent_mw import ConsentMiddleware, get_consent
from consent_mw._asgi import Receive, Scope, Send
from consent_mw.cli import main
from consent_mw.crypto.day_parts import of_label
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.paths import Places


async def shop(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/join":
        get_consent(scope).grant("analytics")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"<body>shop</body>"})


class Case(NamedTuple):
    """A visitor who chose on the banner in English, what they downloaded, and where the site keeps its records."""

    file: Path
    document: dict[str, Any]
    places: Places

    def verify(self, *words: str, reason: str = "complaint 12") -> int:
        why = ["--reason", reason] if reason else []
        return main(["receipt", "verify", *words, "--directory", str(self.places.directory), *why])


async def on_the_settings_page(visitor: Visitor) -> None:
    answers = (("choice", "save"), ("purpose.functional", "yes"), ("purpose.analytics", "no"))
    await visitor.posts(*answers, ("surface", "settings"), ("language", "en"))


async def in_the_application(visitor: Visitor) -> None:
    await visitor.gets("/join")


@pytest.fixture
def case(tmp_path: Path, request: pytest.FixtureRequest) -> Case:
    (tmp_path / "policy.toml").write_text(POLICY, "utf-8")
    app = ConsentMiddleware(shop, policy=tmp_path / "policy.toml", secret_keys=["a key of at least 16 bytes"])
    choose = getattr(request, "param", on_the_settings_page)

    async def visit() -> bytes:
        visitor = Visitor(app)
        await choose(visitor)
        sent = await visitor.gets("/consent/receipt.json")
        await app.runtime.drain.stop()
        return b"".join(message.get("body", b"") for message in sent)

    file = tmp_path / "consent-receipt.json"
    file.write_bytes(asyncio.run(visit()))
    (document,) = json.loads(file.read_text())["receipts"]
    return Case(file, document, Places(tmp_path / "consent-data"))


def test_a_downloaded_receipt_is_proven_with_the_words_of_then(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert case.verify(str(case.file)) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert f"receipt {case.document['record_id']}: intact" in shown.out
    assert "functional: yes, analytics: no, marketing: asked each time" in shown.out
    assert "asked on     settings, in en" in shown.out
    words = case.document["consent_mw"]["shown"]["text"]
    assert [line for line in words.splitlines() if f"    | {line}" not in shown.out] == []


@pytest.mark.parametrize("case", [in_the_application], indirect=True)
def test_words_of_the_application_itself_are_not_missed(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert case.verify(str(case.file)) == 0
    assert "words        the application's own, which it keeps itself" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["record_id", "pii_principal_id"])
def test_the_number_and_the_name_find_it_too(case: Case, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert case.verify(case.document[key], "--json") == 0
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["record"], verdict["proven"], verdict["declaration"]) == ("intact", True, True)
    assert verdict["document"]["consent_mw"] == case.document["consent_mw"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda document: document["consent_mw"]["answers"]["purposes"].update(analytics=True), "consent_mw"),
        (lambda document: document["events"][0].update(event_time="2020-01-01T00:00:00+00:00"), "events"),
        (lambda document: document["purposes"][1].update(event_state="consent given"), "purposes"),
        (lambda document: document["privacy_notice"].update(version=7), "privacy_notice.version"),
        (lambda document: document.pop("purposes"), "purposes"),
        (lambda document: document.update(privacy_notice="none"), "privacy_notice.sha256"),
    ],
)
def test_a_file_that_says_something_else_than_the_record_is_told_where(
    case: Case, change: Callable[[dict[str, Any]], object], place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(case.document)
    case.file.write_text(json.dumps(case.document))
    assert case.verify(str(case.file)) == 1
    assert f"the file differs from the record at {place}\n" in capsys.readouterr().err


def test_a_record_that_was_changed_in_the_store_proves_nothing(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(case.places.database)) as database, database:
        changed = database.execute(
            "UPDATE records SET sealed = CAST(sealed || x'00' AS BLOB) WHERE kind = 'receipt'"
        ).rowcount
    assert changed == 1
    assert case.verify(str(case.file)) == 1
    assert "was changed since it was written, or not written by this site; it proves nothing" in capsys.readouterr().err


def test_a_receipt_whose_time_is_over_is_destroyed_for_us_too(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    keyring = FileKeyring(case.places.keys)
    for day, label in keyring.live():
        if of_label(label)[0] == "receipts":
            keyring.destroy(day, label)
    assert case.verify(case.document["record_id"]) == 1
    assert "its key is destroyed and nobody can read it" in capsys.readouterr().err
    assert case.verify(case.document["pii_principal_id"]) == 1
    assert "is not kept here" in capsys.readouterr().err


def test_words_that_were_lost_are_made_again_and_without_the_declaration_they_are_missing(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in case.places.wordings.iterdir():
        file.unlink()
    assert case.verify(str(case.file)) == 0
    capsys.readouterr()
    for file in case.places.revisions.iterdir():
        file.unlink()
    assert case.verify(case.document["record_id"]) == 1
    errors = capsys.readouterr().err
    assert "its declaration is not kept here; restore revisions/ from a backup" in errors
    assert "its words are not kept here" in errors


def test_who_looked_is_recorded_and_without_a_reason_nobody_looks(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert case.verify(str(case.file), reason="") == 2
    assert "say why you read it, with --reason" in capsys.readouterr().err
    assert not case.places.audit.exists()
    assert case.verify(str(case.file)) == 0
    entries = [json.loads(line) for line in case.places.audit.read_text().splitlines()]
    assert "receipt verify" in str(entries[0])
    assert "complaint 12" in str(entries[0])
    assert entries[1]["records"] == 1
    assert case.verify("00000000-0000-7000-8000-000000000000") == 1  # there is no such receipt
    assert json.loads(case.places.audit.read_text().splitlines()[-1])["records"] == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "is no receipt that a visitor downloaded"),
        ("[1]", "is no receipt that a visitor downloaded"),
        ("nothing", "is no receipt that a visitor downloaded"),
        ('{"receipts": [{"record_id": 4}]}', "is no receipt that a visitor downloaded"),
        ('{"receipts": []}', "holds no receipt"),
    ],
)
def test_a_file_that_is_no_receipt_is_one_line(
    case: Case, content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case.file.write_text(content)
    assert case.verify(str(case.file)) == 1
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("words", ["nobody", "missing.json", "00000000-0000-7000-8000-000000000000"])
def test_what_is_not_there_is_one_line(case: Case, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert case.verify(words) == 1
    assert capsys.readouterr().err.count("\n") == 1
