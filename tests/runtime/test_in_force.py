"""Which revision holds when: the old one to the second before, the new one from that instant, in every worker."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.asgi import drive, scope
from tests.support.destroying import destroyed
from tests.support.site_of_revisions import FORM, KEY, Site, policy, shop, visits

from consent_mw import ConsentMiddleware, PolicyError
from consent_mw._asgi import Receive, Scope, Send
from consent_mw.policy.loader import loads
from consent_mw.policy.timeline import Course, begins
from consent_mw.records import Query
from consent_mw.testing.clock import Clock

SECOND = timedelta(seconds=1)

#: A zone, the effective day, and the first instant of that day there.
DAYS = [
    ("Asia/Seoul", "2026-12-26", "2026-12-25T15:00:00"),
    ("UTC", "2026-12-26", "2026-12-26T00:00:00"),
    ("America/New_York", "2026-03-08", "2026-03-08T05:00:00"),  # the clocks go forward at two on that day
    ("America/New_York", "2026-03-09", "2026-03-09T04:00:00"),
    ("America/New_York", "2026-11-01", "2026-11-01T04:00:00"),  # they go back at two
    ("America/New_York", "2026-11-02", "2026-11-02T05:00:00"),
    ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00:00"),  # forward at midnight: the day begins at one
    ("America/Havana", "2026-11-01", "2026-11-01T04:00:00"),  # back at one: midnight comes twice, the first counts
    ("Pacific/Apia", "2026-12-26", "2026-12-25T11:00:00"),
    ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00"),  # a day that was left out begins with the next
    ("Asia/Kathmandu", "2026-12-26", "2026-12-25T18:15:00"),
]


# -- the calendar ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("zone", "day", "instant"), DAYS)
def test_a_revision_begins_with_the_first_instant_of_its_day_in_its_own_zone(zone: str, day: str, instant: str) -> None:
    beginning = begins(loads(policy(2, "2011-01-01", day, zone)))
    assert beginning == datetime.fromisoformat(instant).replace(tzinfo=UTC)
    local, before = beginning.astimezone(loads(policy(2, day, day, zone)).time_zone), beginning - SECOND
    assert local.date() >= date.fromisoformat(day) > before.astimezone(local.tzinfo).date()


def course(*declared: tuple[int, str, str]) -> Course:
    return Course(loads(policy(*revision, "UTC")) for revision in declared)


def holds(timeline: Course, day: str) -> tuple[int | None, int | None]:
    """The revision in force on that day's first instant, and the one ahead."""
    now = datetime.fromisoformat(day).replace(tzinfo=UTC)
    at, ahead = timeline.at(now), timeline.ahead(now)
    return at.revision if at else None, ahead.revision if ahead else None


def test_the_first_revision_holds_from_the_beginning_whatever_date_it_says() -> None:
    timeline = course((1, "2026-12-01", "2027-01-01"))
    assert holds(timeline, "2026-01-01") == holds(timeline, "2028-01-01") == (1, None)
    assert holds(course(), "2026-01-01") == (None, None)


def test_a_later_one_is_ahead_until_its_day() -> None:
    timeline = course((2, "2026-12-01", "2026-12-31"), (1, "2026-01-01", "2026-01-01"))
    assert holds(timeline, "2026-12-30T23:59:59") == (1, 2)
    assert holds(timeline, "2026-12-31") == (2, None)


def test_what_is_replaced_before_its_day_never_holds_and_notice_counts_anew() -> None:
    timeline = course((1, "2026-01-01", "2026-01-01"), (2, "2026-12-01", "2026-12-31"), (3, "2026-12-30", "2027-01-29"))
    assert [promise.revision for promise in timeline.holding] == [1, 3]
    assert [promise.revision for promise in timeline.published] == [1, 2, 3]
    assert holds(timeline, "2026-12-31") == holds(timeline, "2027-01-28T23:59:59") == (1, 3)
    assert holds(timeline, "2027-01-29") == (3, None)


def test_what_is_replaced_on_its_day_or_later_did_hold() -> None:
    timeline = course((1, "2026-01-01", "2026-01-01"), (2, "2026-12-01", "2026-12-08"), (3, "2026-12-08", "2026-12-15"))
    assert [promise.revision for promise in timeline.holding] == [1, 2, 3]
    assert holds(timeline, "2026-12-08") == (2, 3)


# -- the site -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "third", "instant", "holding"),
    [
        # In force since 7 February 15:00 UTC, when New York still had the day before.
        (("2028-02-08", "Asia/Seoul"), ("2028-02-08", "America/New_York"), "2028-02-08T18:00Z", 2),
        # Begins on 8 February at 05:00 UTC, at two o'clock in the afternoon of the day on which the third is published.
        (("2028-02-08", "America/New_York"), ("2028-02-08", "Asia/Seoul"), "2028-02-08T06:00Z", 2),
        (("2028-02-08", "Asia/Seoul"), ("2028-02-06", "America/New_York"), "2028-02-08T18:00Z", 1),
    ],
)
def test_what_replaced_a_revision_before_its_day_is_told_by_instants_where_their_zones_differ(
    second: tuple[str, str], third: tuple[str, str], instant: str, holding: int
) -> None:
    timeline = Course(
        [
            loads(policy(1, "2028-01-01", "2028-01-01", "UTC")),
            loads(policy(2, "2028-01-20", *second)),
            loads(policy(3, third[0], "2028-03-01", third[1])),
        ]
    )
    in_force = timeline.at(datetime.fromisoformat(instant))
    assert in_force is not None
    assert in_force.revision == holding


@pytest.mark.parametrize(("zone", "day", "instant"), [row for row in DAYS if row[1] > "2026"])
def test_the_old_rules_apply_to_the_second_before_and_the_new_ones_from_the_instant(
    zone: str, day: str, instant: str, tmp_path: Path
) -> None:
    effective = datetime.fromisoformat(instant).replace(tzinfo=UTC)
    clock = Clock(effective - timedelta(days=31))
    site = Site(tmp_path, policy(1, "2026-01-01", "2026-01-01", zone), clock)
    running = site.worker()
    answered = site.accepted(1)
    second = policy(2, (effective - timedelta(days=31)).date().isoformat(), day, zone, functional="200 days")
    site.publish(second)
    running.runtime.poll_published()  # as the drain does, each second
    site.file.write_text(second, "utf-8")
    restarted = site.worker()
    for app in (running, restarted):
        clock.set(effective - SECOND)
        page = visits(app, headers=[answered])
        assert page.announces
        assert not page.asks  # announced is not asked
        assert page.cookies.keys() == {"theme", "session"}
        assert app.runtime.policy.revision == 1
        clock.set(effective)
        page = visits(app, headers=[answered])
        assert not page.announces
        assert page.asks
        assert page.cookies.keys() == {"session"}
        assert app.runtime.policy.revision == 2


def test_a_worker_learns_by_itself_of_what_is_published(tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 12, 1, tzinfo=UTC))
    site = Site(tmp_path, policy(1, "2026-01-01", "2026-01-01"), clock)
    app = site.worker(sync_interval=timedelta(milliseconds=20))

    async def run() -> None:
        await drive(app, scope())
        site.publish(policy(2, "2026-12-01", "2026-12-31", functional="200 days"))
        for _ in range(3_000):
            page = b"".join(message.get("body", b"") for message in await drive(app, scope()))
            if b"consent-mw-notice" in page:
                break
            await asyncio.sleep(0.02)
        assert b"consent-mw-notice" in page
        await app.runtime.drain.stop()

    asyncio.run(run())


def test_a_request_that_began_before_the_instant_ends_under_the_old_rules(tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 12, 30, 14, 59, 59, tzinfo=UTC))
    site = Site(tmp_path, policy(1, "2026-01-01", "2026-01-01"), clock)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        clock.advance(2 * SECOND)
        await shop(scope, receive, send)

    app = site.worker(slow)
    site.publish(policy(2, "2026-12-01", "2026-12-31", functional="200 days"))
    app.runtime.poll_published()
    assert "theme" in visits(app, headers=[site.accepted(1)]).cookies
    assert "theme" not in visits(app, headers=[site.accepted(1)]).cookies


def test_a_consent_that_was_given_before_never_carries_over_to_a_new_purpose(tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 12, 30, 14, 59, 59, tzinfo=UTC))
    site = Site(tmp_path, policy(1, "2026-01-01", "2026-01-01"), clock)
    app = site.worker()
    new = '[purposes.surveys]\nbasis = "consent"\nretention = "1 day"\n'
    site.publish(policy(2, "2026-12-01", "2026-12-31").replace('purpose = "functional"', 'purpose = "surveys"') + new)
    app.runtime.poll_published()
    answered = site.accepted(1)
    before = visits(app, headers=[answered])
    assert "theme" in before.cookies
    assert "Surveys" not in before.body.partition("consent-mw-notice")[0]
    clock.advance(2 * SECOND)
    after = visits(app, headers=[answered])
    assert after.asks
    assert "theme" not in after.cookies


def test_a_form_of_the_old_revision_is_asked_anew_after_the_instant(tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 12, 30, 14, 59, 59, tzinfo=UTC))
    site = Site(tmp_path, policy(1, "2026-01-01", "2026-01-01"), clock)
    app = site.worker()
    site.publish(policy(2, "2026-12-01", "2026-12-31", functional="200 days"))
    app.runtime.poll_published()

    async def post() -> int:
        form = b"choice=accept&revision=1"
        headers = [(b"sec-fetch-site", b"same-origin"), (b"accept", b"application/json"), FORM]
        incoming = [{"type": "http.request", "body": form, "more_body": False}]
        sent = await drive(app, scope("/consent/choice", headers=headers, method="POST"), incoming)
        await app.runtime.drain.stop()
        return int(sent[0]["status"])

    assert asyncio.run(post()) == 200
    clock.advance(2 * SECOND)
    assert asyncio.run(post()) == 409


def test_records_are_kept_and_destroyed_by_the_revision_of_their_time(tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 12, 30, 14, 0, tzinfo=UTC))
    first = policy(1, "2026-01-01", "2026-01-01")
    site = Site(tmp_path, first, clock)
    app = site.worker()
    site.publish(policy(2, "2026-12-01", "2026-12-31").replace('retention = "90 days"', 'retention = "30 days"', 1))
    app.runtime.poll_published()

    async def run() -> None:
        runtime, revision = app.runtime, app.runtime.revision
        await drive(app, scope())
        await runtime.drain.once()
        clock.advance(timedelta(hours=2))  # the second revision holds
        await drive(app, scope())
        await app.runtime.drain.once()
        assert runtime.revision is not revision
        assert runtime.revision.shared.storage.store is revision.shared.storage.store
        visits = Query(kinds=frozenset(("visit",)))
        assert len(await runtime.store.fetch(visits)) == 2
        for now, left in ((clock.now + timedelta(days=29), 2), (clock.now + timedelta(days=31), 0)):
            runtime.destruction.follow()
            await destroyed(runtime.destruction, now)
            assert len(await runtime.store.fetch(visits)) == left
        await app.runtime.drain.stop()

    asyncio.run(run())


def test_a_revision_that_is_only_announced_destroys_nothing_sooner(tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 10, 1, tzinfo=UTC))
    site = Site(tmp_path, policy(1, "2026-01-01", "2026-01-01"), clock)
    app = site.worker()

    async def run() -> None:
        await drive(app, scope())
        await app.runtime.drain.once()
        visits = Query(kinds=frozenset(("visit",)))
        site.publish(policy(2, "2026-11-01", "2026-12-31").replace('retention = "90 days"', 'retention = "30 days"', 1))
        app.runtime.destruction.follow()
        for now, left in (("2026-12-29T23:00:00", 1), ("2026-12-30T16:00:00", 0)):
            at = datetime.fromisoformat(now).replace(tzinfo=UTC)
            await destroyed(app.runtime.destruction, at)
            assert len(await app.runtime.store.fetch(visits)) == left
        await app.runtime.drain.stop()

    # 90 days after 1 October are 30 December: one that is announced for the 31st must not have cut it at 30 days.
    asyncio.run(run())


# -- the start ------------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path: Path) -> Callable[..., Site]:
    def begin(now: datetime = datetime(2026, 12, 1, tzinfo=UTC)) -> Site:
        site = Site(tmp_path, policy(1, "2026-01-01", "2026-01-01"), Clock(now))
        site.worker()
        return site

    return begin


def test_a_site_is_not_started_with_what_was_never_published(begun: Callable[..., Site]) -> None:
    site = begun()
    site.file.write_text(policy(2, "2026-12-01", "2026-12-31"), "utf-8")
    with pytest.raises(PolicyError, match=r"revision 2 was never published, and 1 was; run: consent-mw publish .*toml"):
        site.worker()
    assert {place.name[:4] for place in (site.data / "revisions").iterdir()} == {"0001"}


def test_a_site_is_not_started_with_another_promise_under_the_same_number(
    begun: Callable[..., Site], caplog: pytest.LogCaptureFixture
) -> None:
    site = begun()
    site.file.write_text(policy(1, "2026-01-01", "2026-01-01", functional="3 years"), "utf-8")
    with pytest.raises(
        PolicyError, match=r"revision 1 was published with other content \(retention.longer of functional"
    ):
        site.worker()
    value = loads(site.file.read_text("utf-8"))
    with pytest.raises(PolicyError, match="published with other content"):
        ConsentMiddleware(shop, policy=value, secret_keys=[KEY], directory=site.data, clock=site.clock)
    site.worker(debug=True)  # for development
    assert "published with other content" in caplog.text
    with pytest.raises(PolicyError, match="published with other content"):
        site.worker()
    site.file.write_text("# a comment\n" + policy(1, "2026-01-01", "2026-01-01"), "utf-8")
    site.worker()


@pytest.mark.parametrize("revision", [1, 2])
@pytest.mark.parametrize("copied", [False, True])
def test_a_new_disk_does_not_start_with_what_is_only_announced(tmp_path: Path, revision: int, copied: bool) -> None:
    site = Site(tmp_path, policy(revision, "2026-11-28", "2026-12-29"), Clock(datetime(2026, 11, 28, tzinfo=UTC)))
    if copied:  # the new file alone, of several
        site.publish(site.file.read_text("utf-8"))
    with pytest.raises(
        PolicyError, match=r"effective: revision \d takes effect on 2026-12-29 .*put the revisions of the"
    ):
        site.worker()
    assert copied or not (site.data / "revisions").exists()
    site.clock.set(datetime(2026, 12, 28, 15, tzinfo=UTC))
    assert site.worker().runtime.policy.revision == revision


def test_a_new_disk_starts_with_the_revisions_of_the_running_site(begun: Callable[..., Site], tmp_path: Path) -> None:
    running = begun(datetime(2026, 11, 28, tzinfo=UTC))
    second = policy(2, "2026-11-28", "2026-12-29")
    running.publish(second)
    other = tmp_path / "other"
    shutil.copytree(running.data / "revisions", other / "consent-data/revisions")
    assert Site(other, second, running.clock).worker().runtime.policy.revision == 1


def test_a_new_disk_says_that_it_knows_no_earlier_revision(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Site(tmp_path, policy(7, "2026-01-01", "2026-01-01"), Clock(datetime(2026, 11, 28, tzinfo=UTC))).worker()
    assert "is revision 7, and no earlier one is in" in caplog.text


def test_revisions_that_were_removed_are_noticed(begun: Callable[..., Site], caplog: pytest.LogCaptureFixture) -> None:
    site = begun()
    assert "what it promised is not known" not in caplog.text
    shutil.rmtree(site.data / "revisions")
    site.worker()
    assert "holds no revision: what it promised is not known" in caplog.text


def test_a_value_that_was_never_published_is_refused_as_well(begun: Callable[..., Site]) -> None:
    site = begun()
    with pytest.raises(PolicyError, match="never published"):
        ConsentMiddleware(
            shop, policy=loads(policy(2, "2026-12-01", "2026-12-31")), secret_keys=[KEY], directory=site.data
        )


def test_a_site_that_is_started_with_the_old_file_serves_what_is_in_force(
    begun: Callable[..., Site], caplog: pytest.LogCaptureFixture
) -> None:
    site = begun()
    site.publish(policy(2, "2026-12-01", "2026-12-31"))
    site.clock.set(datetime(2027, 1, 1, tzinfo=UTC))
    assert site.worker().runtime.policy.revision == 2
    assert "which revision 2 replaced on 2026-12-31; that one is in force" in caplog.text


def test_what_holds_until_then_must_be_readable(begun: Callable[..., Site]) -> None:
    site = begun()
    second = policy(2, "2026-12-01", "2026-12-31")
    site.publish(second)
    site.file.write_text(second, "utf-8")
    for kept in (site.data / "revisions").glob("0001-*"):
        kept.write_text("schema = 1\n")
    with pytest.raises(PolicyError, match="0001-"):
        site.worker()


def test_a_published_file_that_cannot_be_read_is_told_and_announces_nothing(
    begun: Callable[..., Site], caplog: pytest.LogCaptureFixture
) -> None:
    site = begun()
    app = site.worker()
    site.publish(policy(2, "2026-12-01", "2026-12-31"))
    for kept in (site.data / "revisions").glob("0002-*"):
        kept.write_text("schema = 1\n")
    app.runtime.poll_published()
    assert not visits(app).announces
    assert "revision 2 cannot be read; restore it" in caplog.text


def test_an_announcement_can_be_replaced_by_another_and_taken_back(begun: Callable[..., Site]) -> None:
    site = begun()
    app = site.worker()
    for revision, effective, announced in ((2, "2026-12-31", True), (3, "2027-01-10", True), (4, "2026-12-01", False)):
        site.publish(policy(revision, "2026-12-01", effective))
        app.runtime.poll_published()
        page = visits(app, headers=[site.accepted(1)])
        assert page.announces == announced
        assert (f'/consent/policy/{revision}"' in page.body) == announced
    assert app.runtime.policy.revision == 4  # the old rules under a higher number, at once
    assert "never took effect" in visits(app, "/consent/policy/3").body
