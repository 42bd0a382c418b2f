"""A site that was away while a day ended has destroyed its keys before it answers anybody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.support.policies import POLICY

from consent_mw.crypto.day_parts import of_label
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.system.days import day_of
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
