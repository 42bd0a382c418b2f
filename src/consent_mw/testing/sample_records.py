"""Records to try a store with: made by number, hostile, or by hypothesis; and how to read them all back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

from hypothesis import strategies as st

from consent_mw.records import Query, Record, Scalar
from consent_mw.stores.base import Store, first_id, is_after
from consent_mw.system.days import DAY_MILLISECONDS

__all__ = [
    "HOSTILE_BYTES",
    "HOSTILE_NAMES",
    "HOSTILE_TEXTS",
    "MILLISECOND",
    "NOON",
    "VISITS",
    "NewStore",
    "everything",
    "exact",
    "in_order",
    "make_record",
    "opened",
    "records_strategy",
]

NewStore: TypeAlias = Callable[[], Store]

NOON: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
VISITS: Final = Query(kinds=frozenset({"visit"}))
MILLISECOND: Final = timedelta(milliseconds=1)

# Everything that a text, a name or a token may be, and that some encoding, quoting or comparison gets wrong.
HOSTILE_TEXTS: Final = (
    "",
    " ",
    "NUL \0 within",
    "'; DROP TABLE records; --",
    '"quoted" \\ and % and _ and \\u0000',
    "tab\tand\r\nlines\x1b[2J\x7f",
    "í (one) í (two code points)",
    "비밀 🍪 \U0010ffff \ufeff \u202e \ufffe",
    "null",
    "x" * 70_000,
)
HOSTILE_NAMES: Final = (
    "'; DROP TABLE records; --",
    '"',
    "%s",
    "$1",
    "분석",
    "🍪",
    "a/b.c-d e",
    "Visit",
    "visit ",
    "null",
    "x" * 100,
    "\N{COOKIE}" * 100,
)
HOSTILE_BYTES: Final = (b"", b"\0", b"\0\0", b"\xff" * 64, b"\\x00", b"a\0b", bytes(range(64)))


def make_record(
    number: int,
    *,
    at: datetime = NOON,
    kind: str = "visit",
    purpose: str = "analytics",
    subject: bytes | None = None,
    ring: str = "2026-11-23/analytics",
    data: Mapping[str, Scalar] | None = None,
    sealed: bytes = b"sealed",
) -> Record:
    """Return a record made at `at`; of those of one millisecond the one with the larger `number` comes later."""
    version_and_variant = 0x7000 << 64 | 1 << 63
    record_id = UUID(int=first_id(at).int | version_and_variant | number)
    return Record(record_id, kind, purpose, subject, ring, {"number": number} if data is None else data, sealed)


def records_strategy() -> st.SearchStrategy[list[Record]]:
    """Return a strategy for batches of records as a store may meet them, some with the same id."""
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    integers = st.integers(-(2**63), 2**63 - 1)
    scalars = st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts
    record = st.builds(
        make_record,
        st.integers(0, 2**62 - 1) | st.integers(0, 3),
        at=st.integers(0, 3 * DAY_MILLISECONDS).map(lambda milliseconds: NOON + milliseconds * MILLISECOND),
        kind=st.sampled_from(["visit", "event"]),
        purpose=st.sampled_from(["analytics", "necessary"]),
        subject=st.none() | st.binary(max_size=64),
        ring=st.sampled_from(["", "2026-11-23/analytics"]),
        data=st.dictionaries(texts, scalars, max_size=5),
        sealed=st.binary(max_size=300),
    )
    return st.lists(record, max_size=30)


@asynccontextmanager
async def opened(new_store: NewStore) -> AsyncGenerator[Store]:
    """Give an open store and close it afterwards."""
    store = new_store()
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def everything(
    store: Store, query: Query = VISITS, *, page: int = 1000, newest_first: bool = False
) -> list[Record]:
    """Return what `query` means, read page by page, in order of id or its reverse."""
    records = list(await store.fetch(query, limit=page, newest_first=newest_first))
    last = len(records)
    while last == page:
        bookmark = records[-1].id
        more = await store.fetch(query, after=bookmark, limit=page, newest_first=newest_first)
        if more and not is_after(more[0].id, bookmark, newest_first):
            raise AssertionError(f"fetch came back to {more[0].id}, which is not after {bookmark}")
        records.extend(more)
        last = len(more)
    return records


def in_order(records: Iterable[Record]) -> list[Record]:
    """Return the records in order of id."""
    return sorted(records, key=lambda record: record.id)


def exact(record: Record) -> tuple[object, ...]:
    """Return all of a record for comparison, with the types of its data: to Python 1, 1.0 and True are equal."""
    data = {name: (type(value), value) for name, value in record.data.items()}
    return (record.id, record.kind, record.purpose, record.subject, record.ring, data, record.sealed)
