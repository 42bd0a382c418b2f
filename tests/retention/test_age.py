"""Nothing slows with age: an old site reads as much as a young one, and what is remembered for it stays right."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

import pytest
from tests.support.sites_with_records import HELD, UTC_POLICY, SiteWithRecords

from consent_mw.consent.data_subject import Person
from consent_mw.consent.receipt_name import new_name
from consent_mw.crypto.keyring import Keyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.kinds import ANSWER, CERTIFICATE, ERASED, REQUEST, RESTRICTS, TALLY
from consent_mw.policy.loader import loads
from consent_mw.policy.model import RECEIPTS, REQUESTS
from consent_mw.records import Query, Record
from consent_mw.retention.archive import Archive
from consent_mw.retention.calendar import Retention
from consent_mw.retention.destruction import Destruction
from consent_mw.retention.overdue import due
from consent_mw.retention.reports import endings
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.disclosures import Disclosure, Disclosures
from consent_mw.rights.erasure import Erasure
from consent_mw.rights.holdings import Registry
from consent_mw.rights.ledger import entries_at
from consent_mw.rights.people import People, links
from consent_mw.rights.request import REQUEST_KINDS, RESTRICTING, Answer, Request
from consent_mw.rights.restriction import SiteRestrictions, restricted
from consent_mw.stores.base import Store
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.stores.subjects import tokens_at_once
from consent_mw.system.days import day_of, day_text
from consent_mw.testing.commands import run_command

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LOOK = timedelta(seconds=10)
YOUNG, OLD = 10, 100
FEW = 8
PURPOSES = ("analytics", "marketing")
#: Abuse ends within the days of the young site, and is held on.
ARCHIVING = UTC_POLICY.replace('retention = "1 year"', 'retention = "5 days"') + HELD


#: Of an old site something has ended of each purpose, and of a young one not.
SHORT = ARCHIVING.replace('"13 months"', '"60 days"').replace('"6 months"', '"30 days"')


class Counted:
    """A store that counts what is asked of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.tokens_at_once = 96  # as of PostgreSQL
        self.questions = 0
        self.rows = 0
        self.asked: list[Query] = []

    async def open(self) -> None:
        await self._store.open()

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        await self._store.append(records, durable=durable)

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        records = await self._store.fetch(query, after=after, limit=limit, newest_first=newest_first)
        self.questions += 1
        self.asked.append(query)
        self.rows += len(records)
        return records

    async def delete(self, query: Query) -> int:
        return await self._store.delete(query)

    async def close(self) -> None:
        await self._store.close()

    async def during(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[int, int]:
        """Return how many questions some work asks, and how many rows it is given."""
        before = self.questions, self.rows
        await work()
        return self.questions - before[0], self.rows - before[1]


class Living(SiteWithRecords):
    """A site that lives for some days up to `NOW`."""

    def runs(self, work: Callable[[Counted], Coroutine[Any, Any, Any]]) -> Any:
        async def run() -> Any:
            store = Counted(SQLiteStore(self.places.database))
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(run())

    def visits(self, name: str, moment: datetime, purpose: str = "analytics") -> Record:
        subject = self.sealer.token(int(moment.timestamp()) // 86_400, purpose, name.encode())
        return self.record(moment, purpose=purpose, subject=subject, path=f"/{name}")

    def erasure(self, store: Store) -> Erasure:
        return Erasure.of_site([self.policy], self.places, store, self.sealer)

    async def asks(self, store: Store, name: str, moment: datetime, kind: Any = "withdrawal", **more: Any) -> Request:
        request = Request.new(kind, "site", int(moment.timestamp() * 1e9), person=Person((name,)), **more)
        await Desk(store, self.sealer, kept_by_store(store)).register(request)
        return request

    async def requests_of(self, store: Store, days: int) -> None:
        """Let some days go by, with a withdrawal and an erasure on each."""
        erasure = self.erasure(store)
        for number in range(days, 0, -1):
            moment = NOW - number * DAY
            names = f"a{number:021}", f"b{number:021}"
            await store.append([self.visits(name, moment) for name in names])
            await self.asks(store, names[0], moment, purposes=("analytics",))
            await self.asks(store, names[1], moment, "erasure")
            done = await erasure.once(moment + LOOK)
            assert (len(done.done), done.troubles) == (2, [])
        await erasure.close()

    def destruction(self, store: Store) -> Destruction:
        return Destruction.of_site(self.policy, self.places, store, self.sealer, SiteRestrictions(store, self.sealer))

    async def days_of(self, store: Store, days: int) -> None:
        """Let some days go by, each with visits of two purposes, and abuse that a law holds in the archive."""
        destruction = self.destruction(store)
        for number in range(days, 0, -1):
            moment = NOW - number * DAY
            day = [self.visits(f"{visitor:022}", moment, purpose) for visitor in range(6) for purpose in PURPOSES]
            await store.append([*day, self.record(moment, kind="abuse", purpose="abuse", reason="tries passwords")])
            assert (await destruction.once(moment + DAY)).troubles == []
        await destruction.close()


@pytest.fixture
def site(tmp_path: Path) -> Living:
    return Living(tmp_path, UTC_POLICY)


def aged(tmp_path: Path) -> list[tuple[int, Living]]:
    sites: list[tuple[int, Living]] = []
    for age in (YOUNG, OLD):
        (tmp_path / str(age)).mkdir()
        sites.append((age, Living(tmp_path / str(age), UTC_POLICY)))
    return sites


@pytest.fixture(scope="module")
def all_days(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two sites that lived through their days, for all tests of this module: each test has its own copy."""
    roots = [tmp_path_factory.mktemp(f"days-{age}") for age in (YOUNG, OLD)]
    for age, root in zip((YOUNG, OLD), roots, strict=True):
        site = Living(root, SHORT)
        site.runs(partial(site.days_of, days=age))
    return roots


@pytest.fixture(scope="module")
def all_requests(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """As `all_days`, of days of requests."""
    roots = [tmp_path_factory.mktemp(f"requests-{age}") for age in (YOUNG, OLD)]
    for age, root in zip((YOUNG, OLD), roots, strict=True):
        site = Living(root, UTC_POLICY)
        site.runs(partial(site.requests_of, days=age))
    return roots


def _copies(roots: list[Path], tmp_path: Path) -> list[Living]:
    sites: list[Living] = []
    for root in roots:
        shutil.copytree(root, tmp_path / root.name)
        sites.append(Living(tmp_path / root.name, (root / "policy.toml").read_text()))
    return sites


@pytest.fixture
def sites(all_days: list[Path], tmp_path: Path) -> list[Living]:
    """The young site and the old one."""
    return _copies(all_days, tmp_path)


@pytest.fixture
def asked(all_requests: list[Path], tmp_path: Path) -> list[Living]:
    """As `sites`, of days of requests."""
    return _copies(all_requests, tmp_path)


# -- what is to be erased -------------------------------------------------------------------------------------------


def test_a_look_for_what_is_to_be_erased_reads_as_much_in_an_old_site_as_in_a_young_one(asked: list[Living]) -> None:
    async def looked(site: Living, store: Counted) -> list[tuple[int, int]]:
        erasure = site.erasure(store)
        await erasure.once(NOW)
        looks = [await store.during(lambda: erasure.once(NOW)) for _ in range(40)]
        await erasure.close()
        return looks

    young, old = [site.runs(partial(looked, site)) for site in asked]
    assert max(questions for questions, _ in old) <= max(questions for questions, _ in young) + 2
    assert max(rows for _, rows in old) <= 1.5 * max(rows for _, rows in young)


def test_the_first_look_looks_for_each_erased_token_once_in_its_own_day_and_purpose(asked: list[Living]) -> None:
    """PostgreSQL has a table for every day and purpose: thousands of tokens are not to be looked for in each."""

    async def looked(site: Living, store: Counted) -> tuple[int, int]:
        tokens = {token for entry in entries_at(site.places) for token in entry.tokens}
        begin = len(store.asked)
        erasure = site.erasure(store)
        await erasure.once(NOW)
        await erasure.close()
        asked = [query.places for query in store.asked[begin:] if query.places is not None]
        assert sorted(token.hex() for places in asked for some in places.values() for token in some) == sorted(tokens)
        return len(tokens), len(asked)

    (young, once), (old, also_once) = [site.runs(partial(looked, site)) for site in asked]
    assert old == young * OLD // YOUNG
    assert also_once <= once + OLD // 30, "as many questions as there are days, by some dozen days at a time"


def test_what_was_erased_goes_again_within_the_hour_from_a_store_that_is_put_back_while_the_site_runs(
    site: Living,
) -> None:
    async def lives(store: Counted) -> list[int]:
        visit = site.visits("C" * 22, NOW - 60 * DAY)
        await store.append([visit, *(site.visits("C" * 22, NOW - n * DAY) for n in range(59))])
        await site.requests_of(store, 30)
        await site.asks(store, "C" * 22, NOW, "erasure")
        erasure = site.erasure(store)
        assert len((await erasure.once(NOW)).done) == 1
        later = [(await erasure.once(NOW + n * LOOK)).brought_back for n in range(1, 40)]
        await store.append([visit])  # as the backup had it
        later += [(await erasure.once(NOW + n * LOOK)).brought_back for n in range(40, 400)]
        await erasure.close()
        return [count for count in later if count]

    assert site.runs(lives) == [1]


def test_a_request_that_comes_late_is_carried_out_while_the_site_runs(site: Living) -> None:
    """It waited in a spool for as long as the site lived, or for longer; or its host's clock was behind."""

    async def lives(store: Counted) -> list[UUID]:
        await site.requests_of(store, 30)
        erasure = site.erasure(store)
        await erasure.once(NOW)
        late = [
            await site.asks(store, f"{number:022}", NOW - number * DAY, purposes=("analytics",))
            for number in (0, 3, 12, 29, 50)
        ]
        done = [answer.request for n in range(12) for answer in (await erasure.once(NOW + n * LOOK)).done]
        await erasure.close()
        assert sorted(done) == sorted(request.id for request in late)
        return done

    site.runs(lives)


def test_a_request_that_waits_for_the_operator_is_carried_out_once_it_is_granted_however_old(site: Living) -> None:
    async def lives(store: Counted) -> None:
        asked = await site.asks(store, "d" * 22, NOW - 20 * DAY, "erasure", purposes=("abuse",))
        erasure = site.erasure(store)
        assert [(await erasure.once(NOW + n * LOOK)).done for n in range(5)] == [[]] * 5
        granted = Answer.new(asked.id, "granted", int((NOW + DAY).timestamp() * 1e9))
        await Desk(store, site.sealer, kept_by_store(store)).register(answers=[granted])
        (done,) = (await erasure.once(NOW + DAY + LOOK)).done
        assert done.request == asked.id
        assert (await erasure.once(NOW + DAY + 2 * LOOK)).done == []
        await erasure.close()

    site.runs(lives)


def test_what_another_process_has_carried_out_is_not_carried_out_again(site: Living) -> None:
    async def lives(store: Counted) -> None:
        one, other = site.erasure(store), site.erasure(store)
        for number in range(10):
            moment = NOW + number * DAY
            await one.once(moment)
            await other.once(moment)
            await site.asks(store, f"{number:022}", moment, "erasure" if number % 2 else "withdrawal")
            first, second = (one, other) if number % 3 else (other, one)
            assert (len((await first.once(moment + LOOK)).done), len((await second.once(moment + LOOK)).done)) == (1, 0)
        await one.close()
        await other.close()

    site.runs(lives)


def test_a_request_is_carried_out_again_where_a_restored_backup_has_it_open(site: Living) -> None:
    async def lives(store: Counted) -> None:
        asked = await site.asks(store, "e" * 22, NOW, purposes=("analytics",))
        erasure = site.erasure(store)
        assert len((await erasure.once(NOW + LOOK)).done) == 1
        kinds, purposes = frozenset((ANSWER, ERASED)), frozenset((REQUESTS,))
        assert await store.delete(Query(kinds=kinds, purposes=purposes)) == 2
        assert [answer.request for answer in (await erasure.once(NOW + 2 * LOOK)).done] == [asked.id]
        await erasure.close()

    site.runs(lives)


def test_a_store_that_fails_in_the_middle_of_a_look_hides_no_request(site: Living) -> None:
    async def lives(store: Counted) -> None:
        await site.requests_of(store, 20)
        asked = await site.asks(store, "f" * 22, NOW - 15 * DAY, purposes=("analytics",))
        erasure = site.erasure(store)
        await store.close()
        for _ in range(3):
            assert len((await erasure.once(NOW)).troubles) == 1
        await store.open()
        assert [answer.request for answer in (await erasure.once(NOW)).done] == [asked.id]
        await erasure.close()

    site.runs(lives)


def test_whom_a_restriction_meets_is_told_without_looking_at_the_marks_of_what_else_was_asked(site: Living) -> None:
    async def lives(store: Counted) -> None:
        numbers = frozenset[UUID]()
        for number in range(6):
            asked = [await site.asks(store, f"{number}{kind:0>21}", NOW, kind) for kind in REQUEST_KINDS]
            ended = [request for request in asked if number % 2]
            answers = [Answer.new(request.id, "done", int(NOW.timestamp() * 1e9)) for request in ended]
            granted = [Answer.new(request.id, "granted", int(NOW.timestamp() * 1e9)) for request in asked]
            await Desk(store, site.sealer, kept_by_store(store)).register(answers=[*granted, *answers])
            numbers |= {request.id for request in asked if number % 2 == 0 and request.kind in RESTRICTING}
        looking = Looking(site.sealer.keyring, site.sealer.site_keys)
        cases = await Desk(store, looking, kept_by_store(store)).restricting()
        assert {case.request.id for case in cases} == numbers
        assert all(case.granted and case.request.person.is_known for case in cases)
        assert looking.kinds == Counter({ANSWER: 6 * 3 + 3 * 3, REQUEST: 2 * 3 * 3, RESTRICTS: 6 * 3}), (
            "of what restricts once to tell, and once to open it; of each mark whether it is as it was written"
        )

    site.runs(lives)


def test_whom_a_restriction_meets_is_read_from_those_in_force_however_much_was_asked(tmp_path: Path) -> None:
    async def read(site: Living, days: int, store: Counted) -> tuple[int, int]:
        restrictions = SiteRestrictions(store, site.sealer)
        for number in range(days, 0, -1):
            name = new_name((NOW - number * DAY).date())
            asked = await site.asks(store, name, NOW - number * DAY, "restriction")
            if number != days - 5:  # one stays in force: it is as old as the site
                answer = Answer.new(asked.id, "done", int((NOW - number * DAY + LOOK).timestamp() * 1e9))
                await Desk(store, site.sealer, kept_by_store(store)).register(answers=[answer])
            else:
                visit = site.visits(name, NOW)
            await restrictions.forget(NOW - number * DAY)
        desk = Desk(store, site.sealer, kept_by_store(store))
        counts = await store.during(lambda: restricted(desk, People(store, site.sealer), site.sealer))
        assert [case.request.registered for case in await desk.restricting()] == [NOW - (days - 5) * DAY]
        assert (await restrictions.restricts())(visit)
        return counts

    young, old = [site.runs(partial(read, site, days)) for days, site in aged(tmp_path)]
    assert old == young


def test_a_restriction_is_forgotten_when_it_is_answered_and_no_sooner(site: Living) -> None:
    async def lives(store: Counted) -> None:
        restrictions = SiteRestrictions(store, site.sealer)
        desk = Desk(store, site.sealer, kept_by_store(store))
        asked = await site.asks(store, "d" * 22, NOW, "restriction")
        granted = Answer.new(asked.id, "granted", int((NOW + DAY).timestamp() * 1e9))
        await desk.register(answers=[granted])
        await restrictions.forget(NOW + 300 * DAY)
        assert [case.request.id for case in await desk.restricting()] == [asked.id]
        await desk.register(answers=[Answer.new(asked.id, "done", int((NOW + 301 * DAY).timestamp() * 1e9))])
        assert await desk.restricting() == []
        mark = Query(kinds=frozenset((RESTRICTS,)))
        assert len(await store.fetch(mark)) == 1
        await restrictions.forget(NOW + 301 * DAY)
        assert await store.fetch(mark) == []

    site.runs(lives)


def test_the_mark_of_a_restriction_that_somebody_deletes_is_put_back_as_long_as_it_is_in_force(
    site: Living, caplog: pytest.LogCaptureFixture
) -> None:
    async def lives(store: Counted) -> None:
        desk = Desk(store, site.sealer, kept_by_store(store))
        old, late, over = [
            await site.asks(store, f"{number:022}", NOW - days * DAY, "restriction")
            for number, days in enumerate((60, 0, 60))
        ]
        await desk.register(answers=[Answer.new(over.id, "done", int((NOW - DAY).timestamp() * 1e9))])
        erasure = site.erasure(store)
        await erasure.once(NOW)
        assert caplog.records == []
        for minutes in (11, 22):
            assert await store.delete(Query(kinds=frozenset((RESTRICTS,)))) == (3 if minutes == 11 else 2)
            assert await desk.restricting() == []
            await erasure.once(NOW + timedelta(minutes=minutes))
            assert {case.request.id for case in await desk.restricting()} == {old.id, late.id}
        assert [str(old.id) in caplog.text, str(late.id) in caplog.text, str(over.id) in caplog.text] == [1, 1, 0]
        await erasure.close()

    site.runs(lives)


class Looking(Sealer):
    """A sealer that counts the marks it looks at while it sorts out what is whole."""

    def __init__(self, keyring: Keyring, site_keys: SiteKeys) -> None:
        super().__init__(keyring, site_keys)
        self.kinds: Counter[str] = Counter()

    def is_whole(self, record: Record) -> bool:
        self.kinds[record.kind] += 1
        return super().is_whole(record)


# -- what has ended -------------------------------------------------------------------------------------------------


def test_a_look_for_what_has_ended_reads_as_much_in_an_old_site_as_in_a_young_one(sites: list[Living]) -> None:
    async def looked(site: Living, store: Counted) -> list[tuple[int, int]]:
        await site.destruction(store).once(NOW)  # so that nothing is due
        destruction = site.destruction(store)
        looks = [await store.during(lambda: destruction.once(NOW)) for _ in range(3)]
        await destruction.close()
        return looks

    young, old = [site.runs(partial(looked, site)) for site in sites]
    assert old[0][0] <= young[0][0] + 2, "questions of the first look, which reads all tallies and certificates"
    for (questions, rows), (later_questions, later_rows) in zip(young[1:], old[1:], strict=True):
        assert later_questions <= questions + 2
        assert later_rows <= 1.5 * rows


def test_between_two_quarters_of_an_hour_a_look_asks_for_nothing_that_an_old_site_has_more_of(
    sites: list[Living],
) -> None:
    """In PostgreSQL a question is four statements, and one more where a day has ended in part: none in a young one."""

    async def looked(site: Living, store: Counted) -> int:
        destruction = site.destruction(store)
        await destruction.once(NOW)
        questions, _ = await store.during(lambda: destruction.once(NOW + timedelta(minutes=1), between=True))
        await store.append([site.record(NOW - 500 * DAY)])
        assert (await destruction.once(NOW + timedelta(minutes=2), between=True)).records == 0
        assert (await destruction.once(NOW + timedelta(minutes=15))).records == 1
        await destruction.close()
        return questions

    young, old = [site.runs(partial(looked, site)) for site in sites]
    assert old == young <= FEW


def test_a_look_asks_once_for_what_has_ended_of_a_purpose_and_not_for_days_that_are_not_over(site: Living) -> None:
    async def looked(store: Counted) -> None:
        await site.days_of(store, YOUNG)
        destruction = site.destruction(store)
        for _ in range(2):
            await destruction.once(NOW)
        begin = len(store.asked)
        await destruction.once(NOW + timedelta(hours=11))
        asked = [query for query in store.asked[begin:] if query.purposes and not query.purposes.isdisjoint(PURPOSES)]
        assert [sorted(query.purposes or ()) for query in asked] == [[purpose] for purpose in PURPOSES]
        assert all(query.until for query in asked)
        certificates = [query for query in store.asked[begin:] if query.kinds == {CERTIFICATE}]
        assert len(certificates) == 1, "tells that the latest is still there, too"
        assert (await destruction.once(NOW + timedelta(hours=13))).counted == 0, "today has no records yet"
        await store.append([site.visits("a" * 22, NOW)])
        assert (await destruction.once(NOW + timedelta(hours=12, minutes=29))).counted == 0
        assert (await destruction.once(NOW + timedelta(hours=12, minutes=31))).counted == 1
        await destruction.close()

    site.runs(looked)


def test_a_look_for_what_has_ended_works_as_much_in_an_old_site_as_in_a_young_one(sites: list[Living]) -> None:
    async def looked(site: Living, store: Counted) -> int:
        destruction = site.destruction(store)
        for _ in range(2):
            await destruction.once(NOW)
        calls = await calls_during(lambda: destruction.once(NOW))
        await destruction.close()
        return calls

    young, old = [site.runs(partial(looked, site)) for site in sites]
    assert old <= 1.25 * young


async def calls_during(work: Callable[[], Coroutine[Any, Any, Any]]) -> int:
    """Return how many functions of Python are called, and generators resumed, by the event loop's thread."""
    calls = 0

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        await work()
    finally:
        sys.setprofile(None)
    return calls


def test_what_another_process_counted_and_certified_is_neither_counted_nor_certified_again(site: Living) -> None:
    async def lives(store: Counted) -> None:
        one, other = site.destruction(store), site.destruction(store)
        for number in range(40):
            moment = NOW + number * DAY
            await store.append([site.record(moment), site.visits("a" * 22, moment)])
            first, second = (one, other) if number % 3 else (other, one)
            done = await first.once(moment + DAY)
            assert (done.counted, done.troubles) == (2, [])
            again = await second.once(moment + DAY)
            assert (again.counted, again.certificates, again.records, again.troubles) == (0, 0, 0, [])
        late = NOW + 3 * DAY  # a day and purpose that had nothing when the others were counted
        await store.append([site.visits("b" * 22, late, "marketing")])
        later = NOW + 41 * DAY
        fresh = site.destruction(store)
        assert (await fresh.once(later)).counted == 1
        assert ((await one.once(later)).counted, (await other.once(later)).counted) == (0, 0)
        ended = [await destruction.once(NOW + 800 * DAY) for destruction in (one, other, fresh)]
        assert [bool(outcome.certificates) for outcome in ended] == [True, False, False]
        for destruction in (one, other, fresh):
            await destruction.close()

    site.runs(lives)


def test_a_day_whose_tally_went_with_a_restored_backup_is_counted_again(site: Living) -> None:
    async def lives(store: Counted) -> None:
        destruction = site.destruction(store)
        for number in range(5):
            await store.append([site.record(NOW + number * DAY)])
            assert (await destruction.once(NOW + (number + 1) * DAY)).counted == 1
        query = Query(kinds=frozenset((TALLY,)), purposes=frozenset((RECEIPTS,)), since=NOW + 2 * DAY)
        assert await store.delete(query) == 2
        await destruction.once(NOW + 5 * DAY)
        (done,) = [await site.destruction(store).once(NOW + 5 * DAY)]
        assert done.counted == 2, "by the next process"
        await destruction.close()

    site.runs(lives)


def test_what_ends_next_is_worked_out_of_the_oldest_day_of_a_purpose_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    end = Retention.end

    def counted(self: Retention, day: int, *more: Any) -> datetime | None:
        asked.append(day)
        return end(self, day, *more)

    monkeypatch.setattr(Retention, "end", counted)
    today = day_of(NOW)
    live = [(day, label) for day in range(today - 300, today) for label in ("analytics", "analytics 15:00-24:00")]
    (ending,) = endings(Retention([loads(UTC_POLICY)]), live, NOW)
    assert (ending.day, asked) == (day_text(today - 300), [today - 300] * 2)


def test_what_has_ended_and_is_still_there_is_found_without_asking_for_the_end_of_each_living_key(
    sites: list[Living], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    may_hold_ended = Retention.may_hold_ended

    def counted(self: Retention, day: int, *more: Any) -> bool:
        asked.append(day)
        return may_hold_ended(self, day, *more)

    monkeypatch.setattr(Retention, "may_hold_ended", counted)

    async def looked(site: Living, store: Counted) -> tuple[int, int, int]:
        destruction = site.destruction(store)
        asked.clear()
        counts = await store.during(lambda: due(destruction.stages, NOW))
        await destruction.close()
        return (len(asked), *counts)

    young, old = [site.runs(partial(looked, site)) for site in sites]
    assert old[0] <= 1.1 * young[0]
    assert old[1:] == young[1:]


# -- what a person reads --------------------------------------------------------------------------------------------


def test_my_data_reads_as_much_in_an_old_site_as_in_a_young_one(sites: list[Living]) -> None:
    async def read(site: Living, days: int, store: Counted) -> list[tuple[int, int]]:
        for number in range(days, 0, -1):
            given = Disclosure.new(int((NOW - number * DAY).timestamp() * 1e9), to="a court", basis="lawful_demand")
            await Disclosures(store, site.sealer).append(given)
        archive = Archive.of_site([site.policy], site.places, store, site.sealer)
        assert archive is not None
        held = Counted(archive.store)
        registry = Registry([site.policy], store, site.sealer, archive=Archive(held, archive.sealer))
        person = Person((new_name((NOW - DAY).date()),))
        counts: list[tuple[int, int]] = []
        for _ in range(2):
            before = held.rows
            questions, rows = await store.during(partial(registry.of, person, NOW))
            counts.append((questions, rows + held.rows - before))
        await held.close()
        return counts

    young, old = [site.runs(partial(read, site, days)) for days, site in zip((YOUNG, OLD), sites, strict=True)]
    assert old[1][0] <= young[1][0] + 2
    assert old[1][1] <= 1.5 * young[1][1]


def test_a_person_of_some_days_is_looked_for_on_as_many_days_in_an_old_site_as_in_a_young_one(
    sites: list[Living],
) -> None:
    """Each token is looked for in each day of its question: PostgreSQL has a table for every day and purpose."""

    async def read(site: Living, store: Counted) -> int:
        person = Person((new_name((NOW - 2 * DAY).date()),))
        begin = len(store.asked)
        await Registry([site.policy], store, site.sealer).of(person, NOW)
        return sum(looked_at(query) for query in store.asked[begin:] if query.subjects is not None)

    young, old = [site.runs(partial(read, site)) for site in sites]
    assert 0 < old <= young


def test_my_data_asks_a_store_of_one_index_as_often_for_a_year_of_a_visitor_as_for_ten_days(tmp_path: Path) -> None:
    async def read(site: Living, days: int, store: Counted) -> int:
        store.tokens_at_once = tokens_at_once(SQLiteStore(site.places.database))
        born = NOW - days * DAY
        name = new_name(born.date())
        for number in range(days):
            await store.append([site.visits(name, born + number * DAY)])
        registry = Registry([site.policy], store, site.sealer)
        (held,) = (await registry.of(Person((name,)), NOW)).held
        assert (held.records, held.until) == (days, Retention([site.policy]).end(day_of(NOW) - 1, "analytics", NOW))
        questions, _ = await store.during(partial(registry.of, Person((name,)), NOW))
        return questions

    (_, young), (_, old) = aged(tmp_path)
    assert old.runs(partial(read, old, 3 * OLD)) == young.runs(partial(read, young, YOUNG))


def test_a_sign_in_is_looked_for_on_each_day_once_however_many_days_there_are(tmp_path: Path) -> None:
    """It may have been used on any: so twice as many days cost twice as much, and not four times."""

    async def read(site: Living, days: int, store: Counted) -> int:
        for number in range(days):
            await store.append(links(site.sealer, f"{number:022}", "ada", int((NOW - number * DAY).timestamp() * 1e9)))
        begin = len(store.asked)
        assert len((await People(store, site.sealer).of(Person(sign_in="ada"), most=None)).names) == days
        return sum(looked_at(query) for query in store.asked[begin:])

    (_, one), (_, other) = aged(tmp_path)
    assert other.runs(partial(read, other, 2 * OLD)) <= 2.1 * one.runs(partial(read, one, OLD))


def looked_at(query: Query) -> int:
    """Return in how many places a store looks: each token, on each day, for each purpose."""
    assert query.subjects is not None
    assert query.purposes is not None
    assert query.since is not None, "every day that there ever was"
    assert query.until is not None, "every day that there will be"
    return len(query.subjects) * len(query.purposes) * (query.until - query.since).days


# -- what staff ask -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("report", "--days", "7"), ("log",), ("purge", "--dry-run")])
def test_a_command_reads_as_much_in_an_old_site_as_in_a_young_one(
    sites: list[Living], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Others read all of something: `doctor` every record, `purge` the certificates, `requests` what was asked."""
    rows: list[list[int]] = []  # of each site those of each answer
    fetch = SQLiteStore.fetch

    async def counted(self: SQLiteStore, *asked: Any, **more: Any) -> Sequence[Record]:
        records = await fetch(self, *asked, **more)
        rows[-1].append(len(records))
        return records

    monkeypatch.setattr(SQLiteStore, "fetch", counted)
    for site in sites:
        rows.append([])
        done = run_command(words, clock=lambda: int(NOW.timestamp() * 1e9), directory=site.file.parent)
        assert done.exit_code in (0, 1), done.stderr
    young, old = rows
    assert 0 < len(old) <= len(young) + 2
    assert sum(old) <= 1.5 * sum(young)
