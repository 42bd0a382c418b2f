"""One line of `policy.toml` is changed, and everything that tells it or works by it changes with it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.asgi import drive, scope
from tests.support.policies import POLICY
from tests.support.site_of_revisions import Site, visits

from consent_mw.records import Query
from consent_mw.testing.clock import Clock

RECORDED = datetime(2026, 12, 1, 12, 30, tzinfo=UTC)
ANALYTICS = Query(kinds=frozenset(("visit",)), purposes=frozenset(("analytics",)))


@pytest.mark.parametrize(
    ("retention", "english", "korean", "days"),
    [("13 months", "13 months", "13개월", 396), ("5 weeks", "5 weeks", "5주", 35)],
)
def test_a_changed_retention_changes_the_page_the_cookie_table_the_banner_the_purge_and_the_access_report(
    retention: str, english: str, korean: str, days: int, tmp_path: Path
) -> None:
    declared = POLICY.replace(
        'basis = "consent"\nretention = "13 months"', f'basis = "consent"\nretention = "{retention}"'
    )
    site = Site(tmp_path, declared, Clock(RECORDED))
    app = site.worker()
    # What is promised: the page in each form, the table of cookies, the banner, in both languages.
    for language, words in (("en", english), ("ko", korean)):
        speaks = [(b"accept-language", language.encode())]
        page = visits(app, "/consent/policy", speaks).body
        assert f">{words}</td>" in page.partition('id="section-retention"')[2].partition("</section>")[0]
        assert words in visits(app, "/consent/policy.md", speaks).body
        table = visits(app, "/consent/cookies", speaks).body.partition('id="cookies-analytics"')[2]
        assert words in table.partition("</caption>")[0]
        banner = visits(app, "/", speaks).body.partition("<strong>Analytics</strong>")[2]
        assert words in banner.partition("</li>")[0]
    purposes = json.loads(visits(app, "/consent/policy.json").body)["purposes"]
    assert next(purpose for purpose in purposes if purpose["name"] == "analytics")["retention"] == retention
    cookies = json.loads(visits(app, "/consent/cookies.json").body)["cookies"]
    assert next(cookie for cookie in cookies if cookie["name"] == "_ga*")["retention"] == retention
    # What is done: the record is there to its last day, and gone at the hour.
    asyncio.run(_is_destroyed_after(site, timedelta(days=days)))


async def _is_destroyed_after(site: Site, kept: timedelta) -> None:
    app = site.worker()
    site.clock.set(RECORDED)
    await drive(app, scope(headers=[site.accepted(1), (b"user-agent", b"Mozilla/5.0 Firefox/140.0")]))
    runtime = app.runtime
    await runtime.drain.once()
    assert len(await runtime.store.fetch(ANALYTICS)) == 1
    # What the visitor reads about it.
    sent = await drive(app, scope("/consent/my-data.json", headers=[site.accepted(1)]))
    (held,) = json.loads(b"".join(message.get("body", b"") for message in sent))["held"]
    until = datetime.fromisoformat(held["until"])
    assert RECORDED + kept <= until < RECORDED + kept + timedelta(days=1), "the last hour of that day"
    for late, left in ((-timedelta(hours=1), 1), (timedelta(minutes=30), 0)):
        assert not (await runtime.destruction.once(RECORDED + kept + late)).troubles
        assert len(await runtime.store.fetch(ANALYTICS)) == left
    await runtime.drain.stop()
