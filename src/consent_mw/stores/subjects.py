"""The tokens of a person by day and purpose, and the queries with which any store finds the records that carry them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Final, Protocol, TypeAlias, runtime_checkable

from consent_mw.records import Query, Record, time_of
from consent_mw.stores.base import Store
from consent_mw.system.days import day_of, start_of

#: The tokens that a person's records carry, by day (since 1970, UTC) and purpose.
Subjects: TypeAlias = Mapping[tuple[int, str], frozenset[bytes]]

#: The most days, times purposes, in one query, where a store says nothing else: it may look for each token in each of
#: them. A query itself costs as much as some dozen tokens.
_MOST: Final = 96
_PURPOSE: Final = itemgetter(1)


@runtime_checkable
class Searching(Protocol):
    """
    What a store may offer besides the five verbs if it has one index of subjects for all days and purposes, or follows
    `Query.places`.
    """

    @property
    def tokens_at_once(self) -> int:
        """How many subjects one `fetch` may name so that its cost depends only on them and on what is found."""
        ...


def tokens_at_once(store: Store) -> int:
    """Return how many subjects, each of another day and purpose, one query of `store` may name."""
    return store.tokens_at_once if isinstance(store, Searching) else _MOST


def questions(subjects: Subjects, kinds: frozenset[str], most: int = _MOST) -> list[Query]:
    """
    Return the queries that find the records of `kinds` that carry the tokens of their day and purpose. Each query
    covers some days, the oldest first, so that a store of many years reads no other days. A query may also find records
    that carry a token of another of these days or purposes: see `carried_by`.

    Args:
        most: The most days, times purposes, in one query; see `tokens_at_once`.
    """
    return [
        Query(
            kinds=kinds,
            purposes=frozenset(map(_PURPOSE, some)),  # of a sign-in there are hundreds of days: no loop of Python's own
            subjects=frozenset[bytes]().union(*some.values()),
            since=start_of(min(some)[0]),
            until=start_of(max(some)[0] + 1),
            places=some,
        )
        for some in _stretches(subjects, most)
    ]


def carried_by(record: Record, subjects: Subjects) -> bool:
    """
    Whether its token is that of its own day and purpose. A record that was moved from elsewhere belongs to nobody.
    """
    return record.subject in subjects.get((day_of(time_of(record.id)), record.purpose), ())


def _stretches(subjects: Subjects, most: int) -> Iterator[Subjects]:
    """Yield successive whole days of `made`, as many as one query may have, at least one."""
    if len(subjects) <= most:
        if subjects:
            yield subjects
        return
    by_day: dict[int, dict[tuple[int, str], frozenset[bytes]]] = {}
    for key in sorted(subjects):
        by_day.setdefault(key[0], {})[key] = subjects[key]
    some: dict[tuple[int, str], frozenset[bytes]] = {}
    for keys in by_day.values():
        if some and len(some) + len(keys) > most:
            yield some
            some = {}
        some |= keys
    if some:
        yield some
