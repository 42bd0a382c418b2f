"""What carries the tokens of a person is found by questions about some days each, and nothing is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from consent_mw.records import Query, Record, new_id
from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.subjects import carried_by, questions
from consent_mw.system.days import day_of, start_of

DAY = day_of(datetime(2026, 11, 28, tzinfo=UTC))
PURPOSES = ("abuse", "analytics", "marketing", "necessary", "receipts")
VISITS = frozenset(("visit",))
#: Days with gaps between them, as a keyring has them of which some keys are gone.
DAYS = [*range(DAY - 400, DAY - 300, 7), DAY - 200, *range(DAY - 40, DAY + 1)]
TOKENS = {(day, purpose): frozenset((f"{day} {purpose}".encode(),)) for day in DAYS for purpose in PURPOSES}


def visit(moment: datetime, purpose: str, subject: bytes) -> Record:
    return Record(new_id(int(moment.timestamp() * 1e9)), "visit", purpose, subject, "", {}, b"")


def first_and_last_of_each_day() -> list[Record]:
    moments = [at for day in DAYS for at in (start_of(day), start_of(day + 1) - timedelta(milliseconds=1))]
    return [visit(at, purpose, f"{day_of(at)} {purpose}".encode()) for at in moments for purpose in PURPOSES]


def fetched(records: Sequence[Record], asked: Sequence[Query]) -> list[Record]:
    async def run() -> list[Record]:
        store = MemoryStore()
        await store.open()
        await store.append(records)
        return [record for query in asked for record in await store.fetch(query, limit=10_000)]

    return asyncio.run(run())


def test_every_record_is_found_once_and_the_oldest_first() -> None:
    records = first_and_last_of_each_day()
    assert fetched(records, questions(TOKENS, VISITS)) == sorted(records, key=lambda record: record.id)


def test_no_question_is_about_more_than_a_hundred_days_of_a_purpose() -> None:
    asked = questions(TOKENS, VISITS)
    assert all(query.subjects and len(query.subjects) <= 100 for query in asked)
    assert sum(len(query.subjects or ()) for query in asked) == len(TOKENS)


def test_days_are_asked_for_whole() -> None:
    many = {(DAY + number // 150, f"purpose {number % 150}"): frozenset((b"%d" % number,)) for number in range(300)}
    assert [query.since for query in questions(many, VISITS)] == [start_of(DAY), start_of(DAY + 1)]


def test_what_was_moved_from_another_day_or_purpose_is_nobodys() -> None:
    own = visit(start_of(DAY), "analytics", f"{DAY} analytics".encode())
    other_day = visit(start_of(DAY - 1), "analytics", f"{DAY} analytics".encode())
    other_purpose = msgspec.structs.replace(own, purpose="marketing")
    assert [carried_by(record, TOKENS) for record in (own, other_day, other_purpose)] == [True, False, False]


def test_of_nobody_nothing_is_asked() -> None:
    assert questions({}, VISITS) == []
