"""Whoever is under restriction is in nothing that staff read, until their request is done; receipts still prove."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.sites_with_visitors import NOW, REASON, Site, visited

from consent_mw.crypto.sealer import Sealer
from consent_mw.records import new_id
from consent_mw.rights.request import Answer, RequestKind


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return visited(tmp_path)


def rows(site: Site, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[list[dict[str, object]], str]:
    """Return what a command shows, one object a line, and what it says besides."""
    capsys.readouterr()
    assert site.runs(*words) == 0
    shown = capsys.readouterr()
    return [json.loads(line) for line in shown.out.splitlines()], shown.err


LOG = ("log", "--json", "-n", "100", "--kind", "visit", "--purpose", "analytics")
EXPORT = ("export", "--format", "jsonl", "--purpose", "analytics")
LEFT_OUT = "records are left out: nobody may use them until a request of their subject is done"


@pytest.mark.parametrize("reason", [(), REASON], ids=["clear", "personal"])
@pytest.mark.parametrize("command", [LOG, EXPORT], ids=["log", "export"])
def test_records_of_who_is_under_restriction_are_left_out_and_counted(
    site: Site, command: Sequence[str], reason: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, said = rows(site, capsys, *command, *reason)
    assert "left out" not in said
    site.registers(site.request(of=0))
    one, said = rows(site, capsys, *command, *reason)
    assert len(one) == len(whole) // 2 > 0
    assert f"note: {len(one)} {LEFT_OUT}" in said
    site.registers(site.request("restriction", of=1))
    none, said = rows(site, capsys, *command, *reason)
    assert none == []
    assert f"note: {len(whole)} {LEFT_OUT}" in said


def test_when_the_request_is_done_the_records_are_back(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    whole, _ = rows(site, capsys, *LOG)
    request = site.request(of=0)
    site.registers(request)
    assert len(rows(site, capsys, *LOG)[0]) < len(whole)
    site.registers(answers=[Answer.new(request.id, "done", int(NOW.timestamp() * 1e9))])
    assert rows(site, capsys, *LOG)[0] == whole


@pytest.mark.parametrize("kind", ["access", "withdrawal", "complaint"])
def test_a_request_that_restricts_nothing_leaves_nobody_out(
    site: Site, kind: RequestKind, capsys: pytest.CaptureFixture[str]
) -> None:
    site.registers(site.request(kind))
    assert "left out" not in rows(site, capsys, *LOG)[1]


def test_where_nobody_can_tell_whose_records_are_meant_no_personal_field_is_read(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    request = site.request()
    site.registers(request, sealer=site.of_another_host)
    shown, said = rows(site, capsys, *LOG)
    assert shown
    assert f"note: request {request.id} cannot be opened here, so nobody can tell whose records" in said
    assert site.runs(*LOG, *REASON) == 1
    refused = capsys.readouterr()
    assert refused.out == ""
    assert "read them where its keyring is, or answer it" in refused.err
    assert site.runs(*EXPORT, *REASON) == 1
    assert site.runs("requests", "refuse", request.id, "--reason", "its keyring is lost") == 0
    assert rows(site, capsys, *LOG, *REASON)[0]


def test_records_of_abuse_stay_open_to_staff_whoever_is_under_restriction(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    sealer = Sealer.of_site(site.places)
    now_ns = int(NOW.timestamp() * 1e9)
    for purpose in ("abuse", "analytics"):
        subject = sealer.token(now_ns // 86_400_000_000_000, purpose, site.names[0].encode())
        site.keeps(sealer.record(new_id(now_ns), "abuse", purpose, subject=subject))
    site.registers(site.request("restriction", of=0))
    shown, said = rows(site, capsys, "log", "--json", "--kind", "abuse")
    assert [row["purpose"] for row in shown] == ["abuse"]
    assert "note: 1 records are left out" in said
    site.registers(site.request(), sealer=site.of_another_host)  # nor does one that cannot be opened close them
    assert len(rows(site, capsys, "log", "--json", "--purpose", "abuse", *REASON)[0]) == 1


def test_without_the_key_file_the_same_is_said(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.registers(site.request())
    site.places.keys.unlink()
    assert "nobody can tell" in rows(site, capsys, *LOG)[1]
    assert site.runs(*LOG, *REASON) == 1
    assert not site.places.keys.exists()


def test_visits_in_a_store_of_their_own_are_left_out_too(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    log = site.places.directory / "log.sqlite3"
    log.write_bytes(site.places.database.read_bytes())  # checkpointed by the last to close it
    with closing(sqlite3.connect(site.places.database)) as main_store, main_store:
        main_store.execute("DELETE FROM records WHERE kind = 'visit'")
    assert rows(site, capsys, *LOG)[0] == []
    whole, _ = rows(site, capsys, *LOG, "--log-store", f"sqlite:///{log}")
    site.registers(site.request(of=0))
    shown, said = rows(site, capsys, *LOG, "--log-store", f"sqlite:///{log}")
    assert len(shown) == len(whole) // 2 > 0
    assert LEFT_OUT in said


def test_the_receipt_of_who_is_under_restriction_still_proves(site: Site) -> None:
    site.registers(site.request(of=0))
    assert site.runs("receipt", "verify", site.names[0], *REASON) == 0


def test_what_was_asked_and_answered_can_be_exported(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    request = site.request("access", of=None, email="a@example.com")
    site.registers(request, answers=[Answer.new(request.id, "refused", int(NOW.timestamp() * 1e9), reason="because")])
    shown, _ = rows(site, capsys, "export", "--format", "jsonl", "--purpose", "requests", *REASON)
    by_kind = {row["kind"]: row for row in shown}
    assert "a@example.com" in str(by_kind["request"]["request.sealed"])
    assert by_kind["answer"]["answer.sealed"] == "because"
