"""A store over Django's ORM, in any of its databases: store=DjangoStore("default"). Needs configured settings."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import nlargest, nsmallest
from typing import TypeVar
from uuid import UUID

import msgspec
from asgiref.sync import sync_to_async
from django.db import Error, InterfaceError, OperationalError, connections, models, transaction

from consent_mw.exceptions import SchemaError, StoreError, StoreUnavailable
from consent_mw.records import Query, Record
from consent_mw.stores.base import first_id, matches

T = TypeVar("T")
CHUNK = 500  # values in one IN (...): SQLite may not take more than 999


class Row(models.Model):
    """One record. In an application of yours leave out `app_label` and let `makemigrations` make the table."""

    id = models.UUIDField(primary_key=True)
    kind = models.CharField(max_length=100)
    purpose = models.CharField(max_length=100)
    subject = models.BinaryField(max_length=64, null=True)
    ring = models.CharField(max_length=100)
    data = models.TextField()  # JSON, which writes NUL as \u0000
    sealed = models.BinaryField()

    class Meta:
        app_label = "consent"
        db_table = "consent_records"
        indexes = (
            models.Index(fields=("kind", "purpose", "id"), name="consent_by_purpose"),
            models.Index(fields=("subject", "id"), name="consent_by_subject"),
        )


class DjangoStore:
    """Records in one table. Django's connections belong to a thread, so each store has one of its own."""

    def __init__(self, using: str = "default") -> None:
        self.using = using
        self.thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        self.thread = self.thread or ThreadPoolExecutor(1, "consent store")
        await self.run(self._open)

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        await self.run(self._append, records)  # every commit waits for the disk: all are durable

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        return await self.run(self._fetch, query, after, limit, newest_first)

    async def delete(self, query: Query) -> int:
        return await self.run(self._delete, query)

    async def close(self) -> None:
        if self.thread:
            await self.run(lambda: connections[self.using].close())
            self.thread.shutdown()
            self.thread = None

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Do `work` in the store's thread, and say what went wrong in the words of the contract."""
        if not self.thread:
            raise StoreError("the store is not open; await its open() first")
        try:
            return await sync_to_async(work, thread_sensitive=False, executor=self.thread)(*arguments)
        except (OperationalError, InterfaceError) as error:
            raise StoreUnavailable(f"database {self.using!r}: {error}".splitlines()[0]) from error
        except Error as error:
            raise StoreError(f"database {self.using!r}: {error}".splitlines()[0]) from error

    def _open(self) -> None:
        connection = connections[self.using]
        try:
            if Row._meta.db_table not in connection.introspection.table_names():
                with connection.schema_editor() as editor:
                    editor.create_model(Row)
        except Error:
            if Row._meta.db_table not in connection.introspection.table_names():
                raise  # else another process made it just now
        with connection.cursor() as cursor:
            columns = connection.introspection.get_table_description(cursor, Row._meta.db_table)
        if {column.name for column in columns} != {field.column for field in Row._meta.fields}:
            raise SchemaError(f"the table {Row._meta.db_table} is not one of consent-mw; name another database")

    def _append(self, records: Sequence[Record]) -> None:
        ordered = sorted(records, key=lambda record: record.id)  # stable: of one id the first stays first
        rows = [
            Row(**msgspec.structs.asdict(record) | {"data": msgspec.json.encode(dict(record.data)).decode()})
            for record in ordered
        ]
        Row.objects.using(self.using).bulk_create(rows, ignore_conflicts=True)

    def _fetch(self, query: Query, after: UUID | None, limit: int, newest_first: bool) -> list[Record]:
        first, order, beyond = (nlargest, "-id", "id__lt") if newest_first else (nsmallest, "id", "id__gt")
        records: list[Record] = []
        with transaction.atomic(self.using):
            for rows in self._parts(query):
                page = (rows if after is None else rows.filter(**{beyond: after})).order_by(order)[: max(limit, CHUNK)]
                meant = [record for record in map(_record_of, page) if matches(query, record)]
                records = first(limit, [*records, *meant], key=lambda record: record.id)
        return records

    def _delete(self, query: Query) -> int:
        if query.ids is not None and query.subjects is not None:
            records = self._fetch(query, None, len(query.ids), newest_first=False)
            query = Query(kinds=query.kinds, ids=frozenset(record.id for record in records))
        with transaction.atomic(self.using):
            return sum(rows.delete()[0] for rows in self._parts(query))

    def _parts(self, query: Query) -> Iterator[models.QuerySet[Row]]:
        """Yield querysets that mean parts of `query`, no record in two of them. Beside ids, subjects are left out."""
        rows = Row.objects.using(self.using).filter(kind__in=query.kinds)
        if query.purposes is not None:
            rows = rows.filter(purpose__in=query.purposes)
        if query.since:
            rows = rows.filter(id__gte=first_id(query.since))
        if query.until:
            rows = rows.filter(id__lt=first_id(query.until))
        name, values = ("id__in", query.ids) if query.ids is not None else ("subject__in", query.subjects)
        if values is None:
            yield rows
        else:
            ordered = sorted(values)
            yield from (rows.filter(**{name: ordered[n : n + CHUNK]}) for n in range(0, len(ordered), CHUNK))


def _record_of(row: Row) -> Record:
    subject = None if row.subject is None else bytes(row.subject)  # PostgreSQL gives a memoryview
    data = msgspec.json.decode(row.data)
    return Record(row.id, row.kind, row.purpose, subject, row.ring, data, bytes(row.sealed))
