"""What waits in the spool until a purpose has ended loses that purpose's record alone, and a gap says so."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.publishing import published

from consent_mw import ConsentMiddleware, get_consent
from consent_mw._asgi import Receive, Scope, Send
from consent_mw.crypto.keyring import MemoryKeyring
from consent_mw.crypto.sealer import names_of
from consent_mw.exceptions import KeyDestroyed, KeyringUnreachable, RecordDamaged, StoreUnavailable
from consent_mw.records import Query, Record, time_of
from consent_mw.spool.bundles import BUNDLE, Bundle, Own, read_frame
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.system.days import day_of
from consent_mw.testing.client import ConsentClient
from consent_mw.testing.clock import Clock

NOON = datetime(2028, 3, 1, 12, tzinfo=UTC)
KEYS = ["a secret key for these tests alone"]
KINDS = frozenset(("visit", "event", "abuse", "receipt", "gap"))

POLICY = """
schema = 1
revision = {revision}
published = {since}
effective = {since}
languages = ["en"]
[controller]
name = "Example Inc."
officer = {{ name = "A. Officer", email = "privacy@example.com" }}
"""
PURPOSE = """
[purposes.{name}]
basis = "{basis}"
retention = "{retention}"
[log.{name}]
"url.path" = "full"
"""
EVENT = '[events.search]\npurpose = "marketing"\nfields = { words = "str" }\n'
ABUSE = '[purposes.abuse]\nbasis = "legitimate_interest"\nretention = "1 year"\n'
RECEIPTS = '[purposes.receipts]\nbasis = "legitimate_interest"\nretention = "10 days"\n'
HELD = '[purposes.necessary.archive]\nretention = "5 years"\nlaw = "a law"\n'


def policy(necessary: str, *marketing: str, more: str = "", revision: int = 1, since: str = "2028-01-01") -> str:
    """A policy with these retentions; the visitor is asked about `marketing`, `marketing2`, ... ."""
    text = POLICY.format(revision=revision, since=since)
    text += PURPOSE.format(name="necessary", basis="necessary", retention=necessary)
    for number, retention in enumerate(marketing, 1):
        name = "marketing" if number == 1 else f"marketing{number}"
        text += PURPOSE.format(name=name, basis="consent", retention=retention)
    return text + more


async def searching(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that records an event on one of its pages, and reports abuse on another."""
    if scope["path"] == "/search":
        get_consent(scope).record_event("search", words="a book")
    if scope["path"] == "/abuse":
        get_consent(scope).report_abuse("too many")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"x"})


class AwayAtTimes(MemoryKeyring):
    """A keyring that can be out of reach."""

    away = False

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        if self.away:
            raise KeyringUnreachable("the keys are away")
        return super().key(day, purpose, create=create)


class Site:
    """A site that only spools, as beside a `consent-mw drain` that is away, and its drain that comes back."""

    def __init__(self, directory: Path, text: str) -> None:
        self.file = directory / "policy.toml"
        self.file.write_text(text)
        self.spool = directory / "consent-data/spool"
        self.clock = Clock(NOON)

    def app(self, **options: Any) -> ConsentMiddleware:
        return ConsentMiddleware(
            searching,
            policy=self.file,
            secret_keys=KEYS,
            clock=self.clock,
            drain=False,
            exclude=("/consent/*",),
            **options,
        )

    def visits(self, *paths: str, at: datetime = NOON) -> None:
        """Have a visitor accept everything, and see these pages."""
        self.clock.set(at)
        with ConsentClient(self.app()) as visitor:
            visitor.accept()
            for path in paths:
                visitor.get(path)

    async def _destroy(self, app: ConsentMiddleware) -> None:
        await app.runtime.store.open()
        outcome = await app.runtime.destruction.once(self.clock.now)
        assert outcome.troubles == []

    async def _later(self, at: datetime) -> list[Record]:
        self.clock.set(at)
        app = self.app()
        await self._destroy(app)
        await app.runtime.drain.once()
        records = await app.runtime.store.fetch(Query(kinds=KINDS))
        assert app.runtime.spool.waiting_bytes == 0
        await app.runtime.drain.stop()
        return list(records)

    def drained(self, at: datetime) -> list[Record]:
        """Destroy what has ended by `at`, hand over what waits then, and return what the store holds."""
        return asyncio.run(self._later(at))

    def destroy(self, at: datetime) -> None:
        """Destroy what has ended by `at`, and hand over nothing."""
        self.clock.set(at)

        async def work() -> None:
            app = self.app()
            await self._destroy(app)
            await app.runtime.drain.stop()

        asyncio.run(work())


def purposes(records: Sequence[Record], kind: str = "visit") -> Counter[str]:
    return Counter(record.purpose for record in records if record.kind == kind)


def gaps(records: Sequence[Record]) -> Counter[str]:
    """Return how many records were lost, by reason."""
    lost: Counter[str] = Counter()
    for record in records:
        if record.kind == "gap":
            lost[str(record.data["gap.reason"])] += int(str(record.data["gap.records"]))
    return lost


def after(days: float) -> datetime:
    return NOON + timedelta(days=days)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, policy("10 days", "13 months"))


def test_a_visit_that_outwaits_its_shortest_purpose_loses_the_record_of_that_one_alone(site: Site) -> None:
    site.visits("/a", "/b", "/c")
    records = site.drained(after(12))
    assert purposes(records) == {"marketing": 3}
    assert gaps(records) == {"ended": 3}


def test_a_gap_of_what_outwaited_its_purpose_tells_when_it_was_collected(site: Site) -> None:
    site.visits("/a")
    (gap,) = [record for record in site.drained(after(12)) if record.kind == "gap"]
    visit = NOON.timestamp() * 1e9
    assert visit <= int(str(gap.data["gap.first_ns"])) <= int(str(gap.data["gap.last_ns"])) < visit + 1e9
    assert time_of(gap.id) >= after(12)  # and is itself kept as long as anything of the day on which it was found


def test_a_gap_of_what_outwaited_its_purpose_is_not_destroyed_with_it(site: Site) -> None:
    site.visits("/a")
    site.drained(after(12))
    assert gaps(site.drained(after(20))) == {"ended": 1}
    assert gaps(site.drained(after(24))) == {}


@pytest.mark.parametrize(
    ("necessary", "marketing", "at", "between", "left"),
    [
        ("30 days", "1 month", datetime(2028, 2, 5, 12, tzinfo=UTC), datetime(2028, 3, 6, 6, tzinfo=UTC), "necessary"),
        ("30 days", "1 month", datetime(2028, 3, 5, 12, tzinfo=UTC), datetime(2028, 4, 5, 6, tzinfo=UTC), "marketing"),
        ("1 month", "30 days", datetime(2028, 2, 5, 12, tzinfo=UTC), datetime(2028, 3, 6, 6, tzinfo=UTC), "marketing"),
        ("1 month", "30 days", datetime(2028, 3, 5, 12, tzinfo=UTC), datetime(2028, 4, 5, 6, tzinfo=UTC), "necessary"),
        ("90 days", "3 months", datetime(2029, 2, 5, 12, tzinfo=UTC), datetime(2029, 5, 6, 6, tzinfo=UTC), "necessary"),
        ("90 days", "3 months", datetime(2028, 3, 5, 12, tzinfo=UTC), datetime(2028, 6, 4, 6, tzinfo=UTC), "marketing"),
    ],
)
def test_which_purpose_ends_last_is_told_by_the_calendar_of_the_day(
    tmp_path: Path, necessary: str, marketing: str, at: datetime, between: datetime, left: str
) -> None:
    site = Site(tmp_path, policy(necessary, marketing))
    site.visits("/a", at=at)
    records = site.drained(between)
    assert purposes(records) == {left: 1}
    assert gaps(records) == {"ended": 1}


def test_one_process_that_serves_two_months_asks_the_calendar_anew_each_day(tmp_path: Path) -> None:
    site = Site(tmp_path, policy("30 days", "1 month"))
    february, march = datetime(2028, 2, 5, 12, tzinfo=UTC), datetime(2028, 3, 5, 12, tzinfo=UTC)
    site.clock.set(february)
    with ConsentClient(site.app()) as visitor:
        visitor.accept()
        for at in (february, march):
            site.clock.set(at)
            visitor.get("/a")
    february_alone = site.drained(datetime(2028, 3, 6, 6, tzinfo=UTC))
    assert purposes(february_alone) == {"necessary": 2, "marketing": 1}

    site.visits("/a", at=march)
    site.destroy(datetime(2028, 4, 5, 6, tzinfo=UTC))
    assert purposes(site.drained(datetime(2028, 4, 5, 6, tzinfo=UTC))) == {"marketing": 2}


def test_of_three_purposes_each_is_lost_at_its_own_end(tmp_path: Path) -> None:
    for number, (days, left) in enumerate({5: 3, 12: 2, 22: 1, 32: 0}.items()):
        directory = tmp_path / str(number)
        directory.mkdir()
        site = Site(directory, policy("20 days", "10 days", "30 days"))
        site.visits("/a", "/b")
        records = site.drained(after(days))
        assert purposes(records).total() == 2 * left
        assert gaps(records) == ({"ended": 2 * (3 - left)} if left < 3 else {})


def test_two_purposes_that_end_together_share_a_seal_and_an_end(tmp_path: Path) -> None:
    site = Site(tmp_path, policy("10 days", "10 days", "13 months"))
    site.visits("/a")
    records = site.drained(after(12))
    assert purposes(records) == {"marketing2": 1}
    assert gaps(records) == {"ended": 2}


def test_who_is_asked_about_the_shorter_purpose_alone_has_a_token_of_it_and_none_beside_it(tmp_path: Path) -> None:
    site = Site(tmp_path, policy("13 months", "10 days"))
    site.visits("/a")
    by_purpose = {record.purpose: record for record in site.drained(after(1)) if record.kind == "visit"}
    assert by_purpose["marketing"].subject is not None
    assert by_purpose["necessary"].subject is None


@pytest.mark.parametrize(("necessary", "marketing"), [("10 days", "13 months"), ("13 months", "10 days")])
def test_nothing_of_a_purpose_opens_after_its_key_is_gone_wherever_a_copy_of_the_spool_lies(
    tmp_path: Path, necessary: str, marketing: str
) -> None:
    text = policy(necessary, marketing).replace('"url.path" = "full"', '"url.query" = "full"', 1)  # of `necessary`
    site = Site(tmp_path, text)
    site.visits("/of-marketing?of=necessary")
    shutil.copytree(site.spool, tmp_path / "copy")
    site.destroy(after(12))
    shutil.rmtree(site.spool)
    shutil.copytree(tmp_path / "copy", site.spool)

    app = site.app()
    sealer, (segment,) = app.runtime.sealer, app.runtime.spool.closed()
    (frame,) = [frame for raw in segment.frames() if (frame := read_frame(raw))]
    sealed = dict(zip([part.purpose for part in Bundle.read(frame.facts).parts], frame.owns, strict=True))

    def opened(purpose: str) -> Own:
        names = names_of(BUNDLE, purpose) + frame.facts
        return Own.read(sealer.open_bytes(frame.id, day_of(NOON), purpose, names, frame.ring, sealed[purpose]))

    longer, shorter = ("marketing", "necessary") if marketing == "13 months" else ("necessary", "marketing")
    own = opened(longer)
    assert own.values == (("/of-marketing",) if longer == "marketing" else ("of=necessary",))
    assert (own.receipt is None) == (longer == "necessary")  # which was asked about under `marketing` alone
    with pytest.raises(KeyDestroyed):
        opened(shorter)
    # Neither do the facts hold anything of them, and they cannot be changed.
    assert b"of" not in frame.facts
    names = names_of(BUNDLE, longer) + frame.facts.replace(b"GET", b"PUT")
    with pytest.raises(RecordDamaged):
        sealer.open_bytes(frame.id, day_of(NOON), longer, names, frame.ring, sealed[longer])
    asyncio.run(app.runtime.drain.stop())


def test_what_was_spooled_as_a_record_of_its_own_is_a_gap_too_once_its_key_is_gone(tmp_path: Path) -> None:
    site = Site(tmp_path, policy("13 months", "10 days", more=EVENT + ABUSE + RECEIPTS))
    site.visits("/search", "/abuse")
    records = site.drained(after(12))
    assert purposes(records, "visit") == {"necessary": 2}
    assert purposes(records, "abuse") == {"abuse": 1}
    assert purposes(records, "event") == purposes(records, "receipt") == {}
    assert gaps(records) == {"ended": 4}  # two visits under marketing, the event, the receipt


def test_what_a_law_holds_waits_for_the_drain_and_no_other_purpose_takes_it_along(tmp_path: Path) -> None:
    site = Site(tmp_path, policy("10 days", "30 days", more=HELD))
    site.visits("/a", "/b")
    site.destroy(after(40))
    records = site.drained(after(40))
    assert purposes(records) == {"necessary": 2}
    assert gaps(records) == {"ended": 2}  # of marketing
    assert purposes(site.drained(after(41))) == {}

    async def archived() -> list[Record]:
        store = SQLiteStore(site.file.parent / "consent-data/archive.sqlite3")
        await store.open()
        records = await store.fetch(Query(kinds=KINDS))
        await store.close()
        return list(records)

    assert purposes(asyncio.run(archived())) == {"necessary": 2}


def test_a_clock_that_steps_back_behind_the_shorter_key_loses_that_record_alone(site: Site) -> None:
    site.clock.set(after(-1))
    with ConsentClient(site.app()) as visitor:
        visitor.accept()
        visitor.get("/a")
    site.drained(after(-1))
    site.destroy(after(12))
    site.visits("/b", "/c")  # the key of `necessary` is gone for that day
    records = site.drained(after(12))
    assert purposes(records) == {"marketing": 3}
    assert gaps(records) == {"key": 2}


def test_on_the_day_on_which_a_revision_begins_each_visit_is_sealed_for_the_promise_in_force(tmp_path: Path) -> None:
    seoul = 'languages = ["en"]\ntime_zone = "Asia/Seoul"'
    site = Site(tmp_path, policy("2 months", "10 days").replace('languages = ["en"]', seoul))
    site.visits("/a", at=after(-2))
    site.drained(after(-2))
    longer = policy("2 months", "3 months", revision=2, since="2028-03-01").replace('languages = ["en"]', seoul)
    published(tmp_path / "consent-data", longer)
    site.file.write_text(longer)
    site.visits("/b", at=datetime(2028, 2, 29, 14, tzinfo=UTC))
    site.visits("/c", at=datetime(2028, 2, 29, 18, tzinfo=UTC))  # the first of March in Seoul, and revision 2 holds
    records = site.drained(after(12))
    assert purposes(records) == {"necessary": 3, "marketing": 1}
    assert gaps(records) == {"ended": 1}  # of the one that was promised ten days


def test_a_revision_that_shortens_the_longer_purpose_while_it_waits_takes_no_other_along(tmp_path: Path) -> None:
    site = Site(tmp_path, policy("2 months", "3 months"))
    site.visits("/a")
    published(tmp_path / "consent-data", policy("2 months", "10 days", revision=2, since="2028-03-02"))
    records = site.drained(after(12))
    assert purposes(records) == {"necessary": 1}
    assert gaps(records) == {"ended": 1}


def test_a_drain_that_was_killed_before_it_let_go_of_a_segment_tells_a_gap_once(site: Site, tmp_path: Path) -> None:
    site.visits("/a", "/b")
    shutil.copytree(site.spool, tmp_path / "copy")
    site.drained(after(12))
    for days in (12, 13, 19):  # whenever it is found again
        for segment in (tmp_path / "copy").glob("*.spool1"):
            shutil.copy(segment, site.spool)
        records = site.drained(after(days))
        assert purposes(records) == {"marketing": 2}
        assert gaps(records) == {"ended": 2}


def test_the_log_of_the_program_says_it_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for day in range(5):
        site.visits("/a", "/b", at=after(day))  # a segment each
    with caplog.at_level(logging.WARNING, "consent_mw"):
        site.drained(after(20))
    said = [record.getMessage() for record in caplog.records if "ended while they waited" in record.getMessage()]
    assert len(said) == 1


AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"
ABUSE_ALONE = Query(kinds=frozenset(("abuse",)))


def _that_keeps_abuse_alone(directory: Path) -> Site:
    """A site whose visits leave no record that could stand before the abuse report in the spool."""
    text = policy("13 months", "13 months", more=ABUSE + '[log.abuse]\n"user_agent.original" = "family"\n')
    for name in ("necessary", "marketing"):
        text = text.replace(f'[log.{name}]\n"url.path" = "full"\n', "")
    return Site(directory, text)


def test_abuse_whose_key_is_out_of_reach_waits_and_its_agent_reaches_no_store(tmp_path: Path) -> None:
    site = _that_keeps_abuse_alone(tmp_path)
    keyring = AwayAtTimes()
    site.clock.set(NOON)
    with ConsentClient(site.app(keyring=keyring)) as visitor:
        visitor.get("/abuse", headers={"user-agent": AGENT})

    async def work() -> None:
        app = site.app(keyring=keyring)
        drain, store = app.runtime.drain, app.runtime.store
        await store.open()
        keyring.away = True
        with pytest.raises(StoreUnavailable):
            await drain.once()
        assert await store.fetch(ABUSE_ALONE) == []
        keyring.away = False
        await drain.once()
        (abuse,) = await store.fetch(ABUSE_ALONE)
        assert abuse.data["user_agent.name"] == "Firefox"
        assert b"to parse" not in app.runtime.sealer.open(abuse)
        await drain.stop()

    asyncio.run(work())


def test_abuse_that_another_keyring_sealed_stays_in_the_spool_with_its_agent_unparsed(tmp_path: Path) -> None:
    site = _that_keeps_abuse_alone(tmp_path)
    site.clock.set(NOON)
    with ConsentClient(site.app(keyring=AwayAtTimes())) as visitor:
        visitor.get("/abuse", headers={"user-agent": AGENT})

    async def work() -> None:
        app = site.app()
        await app.runtime.store.open()
        await app.runtime.drain.once()
        assert app.runtime.spool.waiting_bytes > 0
        assert await app.runtime.store.fetch(ABUSE_ALONE) == []
        await app.runtime.drain.stop()

    asyncio.run(work())
