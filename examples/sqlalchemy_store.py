"""A store over SQLAlchemy's asynchronous engine: store=SQLAlchemyStore("sqlite+aiosqlite:///records.db")"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from consent_mw.exceptions import SchemaError, StoreError, StoreUnavailable
from consent_mw.records import Query, Record
from consent_mw.stores.base import first_id, matches

T = TypeVar("T")
CHUNK = 500  # values in one IN (...), and rows in one INSERT: drivers have limits

RECORDS = sa.Table(
    "consent_records",
    sa.MetaData(),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("kind", sa.String(100), nullable=False),
    sa.Column("purpose", sa.String(100), nullable=False),
    sa.Column("subject", sa.LargeBinary(64)),
    sa.Column("ring", sa.String(100), nullable=False),
    sa.Column("data", sa.Text, nullable=False),  # JSON, which writes NUL as \u0000
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Index("consent_by_purpose", "kind", "purpose", "id"),
    sa.Index("consent_by_subject", "subject", "id"),
)
ID, SUBJECT = RECORDS.c.id, RECORDS.c.subject
AWAY = (OperationalError, InterfaceError, OSError)


class SQLAlchemyStore:
    """Records in one table. Each verb is one serializable transaction, tried again when another was in its way."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: AsyncEngine | None = None

    async def open(self) -> None:
        if self.engine is None:
            # Whatever encoding a role or a database has set for other programs; asyncpg always has this one.
            utf8 = {"client_encoding": "UTF8"} if "+psycopg" in sa.make_url(self.url).drivername else {}
            self.engine = create_async_engine(self.url, isolation_level="SERIALIZABLE", connect_args=utf8)
            if self.engine.dialect.name == "sqlite":
                sa.event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
                sa.event.listen(self.engine.sync_engine, "begin", lambda link: link.exec_driver_sql("BEGIN IMMEDIATE"))
        await self.run(lambda connection: connection.run_sync(_prepare))

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        first = {record.id: record for record in reversed(records)}

        async def work(connection: AsyncConnection) -> None:
            for ids in _chunks(sorted(first)):
                known = set(await connection.scalars(sa.select(ID).where(ID.in_(ids))))
                new = [msgspec.structs.asdict(first[one]) for one in ids if one not in known]
                rows = [fields | {"data": msgspec.json.encode(fields["data"]).decode()} for fields in new]
                if rows:
                    await connection.execute(sa.insert(RECORDS), rows)

        await self.run(work)  # every commit waits for the disk, so `durable` asks for nothing more

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        bookmark = sa.true() if after is None else after > ID if newest_first else after < ID
        return await self.run(lambda connection: _find(connection, query, limit, bookmark, newest_first))

    async def delete(self, query: Query) -> int:
        async def work(connection: AsyncConnection) -> int:
            count = 0
            while records := await _find(connection, query, CHUNK):
                ids = [record.id for record in records]
                count += (await connection.execute(sa.delete(RECORDS).where(ID.in_(ids)))).rowcount
            return count

        return await self.run(work)

    async def close(self) -> None:
        engine, self.engine = self.engine, None
        if engine is not None:
            await _to_its_end(engine.dispose())

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do `work` in one transaction, also if the caller is cancelled meanwhile."""
        return await _to_its_end(self._run(work))

    async def _run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """As `run`, and say what went wrong in the words of the contract."""
        if (engine := self.engine) is None:
            raise StoreError("the store is not open; await its open() first")
        place = engine.url.render_as_string(hide_password=True)
        for attempt in range(50):
            try:
                async with engine.connect() as connection:
                    async with connection.begin():
                        done = await work(connection)
                    if self.engine is not engine:  # closed meanwhile, and nobody closes what goes back into its pool
                        await connection.invalidate()
                    return done
            except (SQLAlchemyError, OSError) as error:
                if not _was_in_the_way(error):
                    kind = StoreUnavailable if isinstance(error, AWAY) else StoreError
                    raise kind(f"{place}: {str(error).splitlines()[0]}") from error
            await asyncio.sleep(0.01 * attempt)
        raise StoreUnavailable(f"{place}: others write all the time; try again later")


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """A driver that is cancelled amid a transaction may leave a connection that keeps the database locked."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    finally:
        await asyncio.wait({task})


def _was_in_the_way(error: Exception) -> bool:
    """Class 40 of SQL's states is a transaction that was rolled back; the others a table that another just made."""
    state = str(getattr(getattr(error, "orig", None), "sqlstate", None))
    return isinstance(error, IntegrityError) or state.startswith("40") or state in ("42P07", "42710")


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # else the driver decides when a transaction begins
    for pragma in ("busy_timeout = 30000", "synchronous = FULL", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _prepare(connection: Any) -> None:
    inspector = sa.inspect(connection)
    if not inspector.has_table(RECORDS.name):
        RECORDS.metadata.create_all(connection)
    elif {column["name"] for column in inspector.get_columns(RECORDS.name)} != set(RECORDS.c.keys()):
        raise SchemaError(f"the table {RECORDS.name} is not one of consent-mw; name another database")


async def _find(
    connection: AsyncConnection, query: Query, limit: int, bookmark: Any = True, newest_first: bool = False
) -> list[Record]:
    records: list[Record] = []
    order = ID.desc() if newest_first else ID.asc()
    for clause in _clauses(query):
        part = sa.select(RECORDS).where(clause, bookmark).order_by(order).limit(max(limit, CHUNK))
        page = map(_record_of, await connection.execute(part))
        records += [record for record in page if matches(query, record)]
        records = sorted(records, key=lambda record: record.id, reverse=newest_first)[:limit]
    return records


def _clauses(query: Query) -> Iterator[sa.ColumnElement[bool]]:
    """Yield conditions that mean parts of `query`, no record in two of them. Beside ids, subjects are left out."""
    meant: list[sa.ColumnElement[bool]] = [RECORDS.c.kind.in_(query.kinds)]
    if query.purposes is not None:
        meant.append(RECORDS.c.purpose.in_(query.purposes))
    meant.extend([first_id(query.since) <= ID] if query.since else [])
    meant.extend([first_id(query.until) > ID] if query.until else [])
    column, values = (ID, query.ids) if query.ids is not None else (SUBJECT, query.subjects)
    parts = [sa.true()] if values is None else (column.in_(chunk) for chunk in _chunks(sorted(values)))
    yield from (sa.and_(*meant, part) for part in parts)


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))


def _record_of(row: Any) -> Record:
    fields = row._asdict()
    return Record(**fields | {"data": msgspec.json.decode(fields["data"])})
