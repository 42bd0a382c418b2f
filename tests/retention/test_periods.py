"""Choices are told by the day or by several days: they add up to the receipts, and nothing small can be subtracted."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.sites_with_records import DAY, THEN, UTC_POLICY, SiteWithRecords

from consent_mw.cli import main
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.policy.revisions import Revisions
from consent_mw.records import Query, Record, new_id
from consent_mw.retention.aggregates import LANGUAGES, DayCounts, cells_of, days_of
from consent_mw.retention.periods import PERIOD, closing
from consent_mw.retention.reports import Report, report_of
from consent_mw.retention.small_cells import FEWEST, OTHER
from consent_mw.stores.memory import MemoryStore
from consent_mw.system.days import day_of

SEALER = Sealer.without_keys(SiteKeys.random())
FIRST = 20_000
CHOICES = ("accept", "reject", "prompt")


def receipt(
    day: int, second: int, choice: str, language: str = "ko", surface: str = "banner", sealer: Sealer = SEALER
) -> Record:
    record_id = new_id((day * 86_400 + second) * 10**9)
    subject = None if choice == "reject" else second.to_bytes(4) + day.to_bytes(4)
    data = {"consent.choice": choice, "consent.language": language, "consent.surface": surface}
    return sealer.record(record_id, "receipt", "receipts", subject=subject, data=data)


async def counted(days: dict[int, list[Record]]) -> MemoryStore:
    """Count one day after the other, each when it is over, as destruction does."""
    store = MemoryStore()
    await store.open()

    async def pages(day: int) -> AsyncIterator[Sequence[Record]]:
        yield days.get(day, [])

    for day, records in sorted(days.items()):
        if records:
            counts = DayCounts(day, "receipts")
            counts.add(records)
            periods = await closing(store, SEALER, pages, day, counts)
            await store.append(
                [*counts.records(SEALER), *(record for period in periods for record in period.records(SEALER))]
            )
    return store


async def aggregates(store: MemoryStore) -> list[Record]:
    return list(await store.fetch(Query(kinds=frozenset(("aggregate",))), limit=100_000))


def truth(records: Iterable[Record]) -> Counter[str]:
    return Counter(str(record.data["consent.choice"]) for record in records)


def small_site(seed: int = 1, days: int = 20) -> dict[int, list[Record]]:
    """Some thirty choices a day, of which three want to be asked each time."""
    chance = random.Random(seed)
    return {
        FIRST + number: [
            receipt(FIRST + number, second, chance.choices(CHOICES, (46, 44, 10))[0], chance.choice(["ko", "en", "en"]))
            for second in range(chance.randint(25, 40))
        ]
        for number in range(days)
    }


async def report(days: dict[int, list[Record]], first: int, last: int) -> Report:
    return await report_of(await counted(days), SEALER, first, last)


def test_a_small_sites_choices_add_up_to_its_receipts_and_to_its_choices_by_language() -> None:
    days = small_site()
    summary = asyncio.run(report(days, FIRST, FIRST + 19))
    shown = {day for period in summary.choices if period.cells for day in period.days}
    of_these = [row for day, records in days.items() if str(datetime.fromtimestamp(day * 86_400, UTC).date()) in shown
                for row in records]  # fmt: skip
    count = summary.counts["receipt choice"]
    assert count.cells == truth(of_these)
    assert len(shown) >= 18
    assert sum(count.cells.values()) + count.untold == sum(map(len, days.values()))
    by_language = summary.counts["receipt language choice"]
    assert sum(by_language.cells.values()) + by_language.untold == sum(map(len, days.values()))
    assert set(by_language.cells) == {f"{language}: {choice}" for language in ("ko", "en") for choice in CHOICES}


def test_a_day_that_tells_every_choice_is_told_by_itself() -> None:
    records = [receipt(FIRST, n, choice) for n, choice in enumerate(("accept", "reject") * 6)]
    summary = asyncio.run(report({FIRST: records}, FIRST, FIRST))
    assert [(period.days, period.cells) for period in summary.choices] == [(["2024-10-04"], {"accept": 6, "reject": 6})]
    assert summary.days["2024-10-04"].choices == {"accept": 6, "reject": 6}


def test_what_a_day_does_not_tell_is_none_and_not_0() -> None:
    records = [receipt(FIRST, n, choice) for n, choice in enumerate(["accept"] * 9 + ["prompt"])]
    summary = asyncio.run(report({FIRST: records}, FIRST, FIRST))
    (day,) = summary.days.values()
    assert (day.choices, day.receipts, day.exchanges, day.visits, day.events, day.blocked) == (None, 10, *[None] * 4)
    assert [(period.cells, period.receipts) for period in summary.choices] == [(None, 10)]


def test_a_period_of_which_a_day_lies_before_the_span_is_not_told_in_part() -> None:
    days = {FIRST + n: [receipt(FIRST + n, m, choice) for m, choice in enumerate(["accept"] * 9 + ["prompt"] * 3)]
            for n in range(2)}  # fmt: skip
    whole = asyncio.run(report(days, FIRST, FIRST + 1))
    assert whole.counts["receipt choice"].cells == {"accept": 18, "prompt": 6}
    part = asyncio.run(report(days, FIRST + 1, FIRST + 1))
    assert part.counts.get("receipt choice") is None


@pytest.mark.parametrize("length", [6, 7, 8])
def test_surfaces_and_languages_are_told_a_week_at_a_time(length: int) -> None:
    days = {FIRST + n: [receipt(FIRST + n, m, "accept", "en" if m > 6 else "ko") for m in range(9)]
            for n in range(length)}  # fmt: skip
    rows = asyncio.run(aggregates(asyncio.run(counted(days))))
    spans = {str(row.data["aggregate.days"]) for row in rows if row.data["aggregate.by"] == f"{PERIOD}{LANGUAGES}"}
    week = " ".join(str(FIRST + n) for n in range(7))
    assert spans == ({week} if length >= 7 else set())


def test_days_of_four_are_told_once_there_are_enough_of_them() -> None:
    days = {FIRST + n: [receipt(FIRST + n, m, "accept") for m in range(3)] for n in range(3)}
    summary = asyncio.run(report(days, FIRST, FIRST + 2))
    assert [(len(period.days), period.cells) for period in summary.choices] == [(2, {"accept": 6})]


def test_a_choice_that_stays_rare_does_not_keep_the_others_back_for_ever() -> None:
    days = {FIRST + n: [receipt(FIRST + n, m, "accept" if m else "reject") for m in range(9)] for n in range(40)}
    days |= {FIRST: [*days[FIRST], receipt(FIRST, 99, "prompt")]}
    summary = asyncio.run(report(days, FIRST, FIRST + 39))
    (first, *_) = [period for period in summary.choices if period.cells]
    assert (len(first.days), first.cells) == (28, {"accept": 224, OTHER: 29})


drawn_days = st.lists(
    st.lists(st.tuples(st.sampled_from(CHOICES), st.sampled_from(["ko", "en", "fr"])), max_size=25), max_size=40
)


@given(drawn=drawn_days)
@settings(max_examples=60, deadline=None)
def test_what_is_told_are_sums_over_whole_days_that_share_no_day_and_no_cell_of_them_is_small(drawn: Any) -> None:
    days = {FIRST + n: [receipt(FIRST + n, m, *said) for m, said in enumerate(day)] for n, day in enumerate(drawn)}
    records = asyncio.run(_aggregates(days))
    totals = {max(days_of(record)): sum(cells_of(record).values())
              for record in records if record.data["aggregate.by"] == "receipt hour"}  # fmt: skip
    for table in ("receipt choice", "receipt language", "receipt language choice", "receipt surface"):
        parts = [record for record in records if str(record.data["aggregate.by"]).removeprefix("period ") == table]
        seen = [day for record in parts for day in days_of(record)]
        assert len(seen) == len(set(seen)), "a day is told once"
        for record in parts:
            cells, of_these = cells_of(record), [one for day in days_of(record) for one in days[day]]
            assert min(cells.values()) >= FEWEST
            assert sum(cells.values()) == len(of_these)
            rest = len(of_these) - sum(totals.get(day, 0) for day in days_of(record))
            assert rest == 0 or rest >= FEWEST, "the total of days that are not told cannot be subtracted"
            if table == "receipt choice" and OTHER not in cells:
                assert cells == truth(of_these)


@given(drawn=drawn_days)
@settings(max_examples=60, deadline=None)
def test_no_table_tells_what_another_one_hides(drawn: Any) -> None:
    """The finer tables cover whole periods of the choices, and a language is subtracted from no other table."""
    days = {FIRST + n: [receipt(FIRST + n, m, *said) for m, said in enumerate(day)] for n, day in enumerate(drawn)}
    records = asyncio.run(_aggregates(days))
    by: dict[str, list[tuple[frozenset[int], dict[str, int]]]] = {}
    for record in records:
        name = str(record.data["aggregate.by"]).removeprefix("period ")
        by.setdefault(name, []).append((days_of(record), cells_of(record)))
    choices = by.get("receipt choice", [])
    languages = dict(by.get("receipt language", []))
    for about, cells in by.get("receipt language choice", []):
        inside = [(part, counts) for part, counts in choices if part & about]
        assert all(part <= about and OTHER not in counts for part, counts in inside)
        for choice in CHOICES:
            assert sum(n for label, n in cells.items() if label.endswith(choice)) == sum(
                counts.get(choice, 0) for _, counts in inside
            )
        for language, number in languages[about].items():
            row = sum(n for label, n in cells.items() if label.startswith(f"{language}:"))
            assert row in (0, number) or language == OTHER
            assert language != OTHER or row - number == 0 or row > number


async def _aggregates(days: dict[int, list[Record]]) -> list[Record]:
    return await aggregates(await counted(days))


def test_the_report_of_a_running_site_equals_its_receipts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = SiteWithRecords(tmp_path, UTC_POLICY)
    Revisions(site.places.revisions).keep(site.policy, UTC_POLICY)
    chance, first = random.Random(3), day_of(THEN)
    chosen: Counter[str] = Counter()
    for number in range(14):
        choices = [chance.choices(CHOICES, (46, 44, 10))[0] for _ in range(32)]
        records = [receipt(first + number, n, choice, sealer=site.sealer) for n, choice in enumerate(choices)]
        chosen += truth(records)
        site.keeps(*records)
        site.destroys(THEN + (number + 1) * DAY + timedelta(hours=1))
    span = ["--since", "2024-11-23", "--until", "2024-12-06", "--directory", str(site.places.directory)]
    assert main(["report", *span, "--json"]) == 0
    count = json.loads(capsys.readouterr().out)["counts"]["receipt choice"]
    assert sum(count["cells"].values()) + count["untold"] == 14 * 32
    assert sum((chosen - Counter(count["cells"])).values()) == count["untold"] <= 64
    assert main(["report", *span]) == 0
    shown = capsys.readouterr().out
    assert "2024-11-23 to 2024-11-2" in shown
    assert not any(line.split()[1:4].count("0") for line in shown.splitlines() if line.startswith("2024-1"))
