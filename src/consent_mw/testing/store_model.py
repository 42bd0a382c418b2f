"""Random calls, the same in each run, whose answers a store and a model of it must give alike."""
# ruff: noqa: S101, S311 - a suite asserts, as every test does; and no secret is drawn here

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Final, TypeVar
from uuid import UUID

from consent_mw.records import Query, Record
from consent_mw.stores.base import Store
from consent_mw.stores.memory import MemoryStore
from consent_mw.testing.sample_records import MILLISECOND, exact, make_record

_T = TypeVar("_T")

_KINDS: Final = ("visit", "event", "Visit")
#: `receipts` is one that the package keeps for itself: a store may lay those elsewhere.
_PURPOSES: Final = ("analytics", "necessary", "receipts")
_SUBJECTS: Final = (None, b"", b"\0", b"somebody", b"somebody\0")
_HOUR: Final = timedelta(hours=1)
#: Around them days, months and years end.
_MIDNIGHTS: Final = (datetime(2024, 3, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
_STEPS: Final = (-25 * _HOUR, -_HOUR, -MILLISECOND, timedelta(), MILLISECOND, _HOUR, 12 * _HOUR)
_MOMENTS: Final = tuple(midnight + step for midnight in _MIDNIGHTS for step in _STEPS)
_ZONES: Final = (UTC, timezone(9 * _HOUR), timezone(-3.5 * _HOUR), timezone(timedelta(hours=5, minutes=45)))
_IDS: Final = tuple(make_record(number, at=moment).id for moment in _MOMENTS for number in range(2))
_OFTEN: Final = 0.4
_LIMITS: Final = (1, 2, 3, 7, 1000)
_EVERY: Final = Query(kinds=frozenset(_KINDS))


async def compare(store: Store, seed: int, calls: int) -> None:
    """Make so many calls of an open store with an empty place, and of a model, and raise where they differ."""
    random, model = Random(seed), MemoryStore()
    for number in range(calls):
        step = f"call {number} of seed {seed}"
        act = random.choices(("append", "fetch", "delete"), (3, 5, 2))[0]
        if act == "append":
            batch = [_record(random) for _ in range(random.randrange(7))]
            await store.append(batch, durable=random.random() < _OFTEN)
            await model.append(batch)
        elif act == "delete":
            query = _query(random)
            count, expected = await store.delete(query), await model.delete(query)
            assert (type(count), count) == (int, expected), (
                f"{step}: delete({query}) counted {count}, and it is {expected}"
            )
            await _compare_page(store, model, step, _EVERY, None, 1000, False)
        else:
            after = random.choice((None, random.choice(_IDS)))
            arguments = (_query(random), after, random.choice(_LIMITS), random.random() < _OFTEN)
            await _compare_page(store, model, step, *arguments)
    await _compare_page(store, model, "at the end", _EVERY, None, 1000, False)


async def _compare_page(
    store: Store, model: Store, step: str, query: Query, after: UUID | None, limit: int, newest_first: bool
) -> None:
    page, expected = [
        [exact(record) for record in await one.fetch(query, after=after, limit=limit, newest_first=newest_first)]
        for one in (store, model)
    ]
    assert page == expected, f"{step}: fetch({query}, {after=}, {limit=}, {newest_first=})"


def _record(random: Random) -> Record:
    return make_record(
        random.randrange(2),
        at=random.choice(_MOMENTS),
        kind=random.choice(_KINDS),
        purpose=random.choice(_PURPOSES),
        subject=random.choice(_SUBJECTS),
        data={"drawn": random.randrange(2**53), "half": 0.5},
        sealed=random.randbytes(random.choice((0, 1, 40))),
    )


def _query(random: Random) -> Query:
    since, until = [_instant(random) if random.random() < _OFTEN else None for _ in range(2)]
    people = [subject for subject in _SUBJECTS if subject is not None]
    return Query(
        kinds=frozenset(_KINDS) if random.random() < _OFTEN else _some(random, _KINDS),
        purposes=_some(random, _PURPOSES) if random.random() < _OFTEN else None,
        subjects=_some(random, people) if random.random() < _OFTEN else None,
        ids=_some(random, _IDS) if random.random() < _OFTEN else None,
        since=since,
        until=until,
    )


def _some(random: Random, values: Sequence[_T]) -> frozenset[_T]:
    """Return some of the values, now and then none."""
    share = random.choice((0.5, 0.9, 0.9))
    return frozenset(value for value in values if random.random() < share)


def _instant(random: Random) -> datetime:
    """Return a moment of a record or one beside it by less than a millisecond, as some time zone writes it."""
    beside = random.choice((0, 0, 0, 1, -1)) * timedelta(microseconds=1)
    return (random.choice(_MOMENTS) + beside).astimezone(random.choice(_ZONES))
