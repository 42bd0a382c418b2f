"""A site that was away while a day ended has destroyed its keys before it answers anybody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.support.policies import POLICY

from consent_mw.crypto.day_parts import of_label
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.system.days import day_of
from consent_mw.system.ownership import regular
from consent_mw.testing.site import LivingSite

START = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def home(_: object) -> PlainTextResponse:
    return PlainTextResponse("hello")


def test_what_ended_while_it_was_away_is_destroyed_before_it_serves(tmp_path: Path) -> None:
    app, keys = Starlette(routes=[Route("/", home)]), tmp_path / "consent-data" / "keys"
    with LivingSite(app, policy=POLICY, directory=tmp_path, at=START) as site:
        site.visitor().get("/")
        site.settle()
    assert {"necessary", "receipts"} <= purposes_of_that_day(keys)
    with LivingSite(app, policy=POLICY, directory=tmp_path, at=START + timedelta(days=92)):
        assert "necessary" not in purposes_of_that_day(keys)
        assert "receipts" in purposes_of_that_day(keys)


def purposes_of_that_day(keys: Path) -> set[str]:
    return {of_label(label)[0] for day, label in FileKeyring(keys).live() if day == day_of(START)}


def test_a_start_reads_no_journal_and_says_afterwards_what_is_strange_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old site has megabytes of them, and nothing depends on it."""
    app, read = Starlette(routes=[Route("/", home)]), list[Path]()
    directory = tmp_path / "consent-data"
    with LivingSite(app, policy=POLICY, directory=tmp_path, at=START) as site:
        site.visitor().get("/")
    (directory / "erasures.jsonl").write_bytes(b"garbage\n")

    def counted(path: str, flags: int) -> int:
        read.append(Path(path))
        return regular(path, flags)

    monkeypatch.setattr("consent_mw.staff.strange_files.regular", counted)
    with LivingSite(app, policy=POLICY, directory=tmp_path, at=START) as site:
        site.visitor().get("/")
        assert read == []
        site.settle()
        assert directory / "erasures.jsonl" in read
        once = len(read)
        site.settle()
        assert len(read) == once
    assert "erasures.jsonl: line 1 is not as the site wrote the file" in caplog.text
