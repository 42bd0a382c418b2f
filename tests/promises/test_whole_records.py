"""Whoever can write to the store and has no key can delete, and nothing more: what was changed is never believed."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.destroying import destroyed
from tests.support.my_data_site import ERASE, KEYS, PAGE, asks, body, data, erased, reads, records, site, words
from tests.support.visitors import Visitor

from consent_mw import ConsentMiddleware
from consent_mw.cli import main
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.paths import Places
from consent_mw.records import Query, Record, new_id
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.ledger import Erased
from consent_mw.staff.wholeness import examined
from consent_mw.stores.sqlite import SQLiteStore

COLUMNS = ("id", "kind", "purpose", "subject", "ring", "data", "sealed")
KINDS = {"visit", "abuse", "receipt", "request", "answer", "disclosure", "erased", "aggregate", "tally", "certificate"}
ALL = Query(kinds=frozenset(KINDS | {"gap", "undeclared", "link", "pending", "event", "restricts"}))
REASON = ("--reason", "a test")


READERS = (
    ("log", "-n", "100000", "--json"),
    ("log", "-n", "100000", "--json", "--purpose", "abuse", *REASON),
    ("export", "--format", "jsonl"),
    ("requests", "list", "--all", "--json"),
    ("disclose", "list", "--json"),
)


class Lived(NamedTuple):
    """A site that has lived for some months, what one of its visitors was told, and what its readers may say."""

    places: Places
    document: dict[str, Any]
    true: Mapping[tuple[str, ...], set[str]]

    def __repr__(self) -> str:
        return f"the site in {self.places.directory}"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    root = tmp_path_factory.mktemp("lived")
    document = asyncio.run(live(site(root)))
    places = Places(root / "consent-data")
    # To spoil a request or an answer is to delete it: what it covered may be said then, and what it answered is open.
    without = [without_kind(places, root / kind, kind) for kind in ("request", "answer")]
    true: dict[tuple[str, ...], set[str]] = {}
    for reader in READERS:
        true[reader] = set().union(*(said_by(reader, place) for place in (places, *without)))
    return Lived(places, document, true)


def without_kind(places: Places, directory: Path, kind: str) -> Places:
    shutil.copytree(places.directory, directory)
    copy = Places(directory)
    with closing(sqlite3.connect(copy.database)) as database, database:
        database.execute("DELETE FROM records WHERE kind = ?", (kind,))
    return copy


def said_by(command: Sequence[str], places: Places) -> set[str]:
    return set(told_by(*command, "--directory", str(places.directory))[1].splitlines())


async def live(app: ConsentMiddleware) -> dict[str, Any]:
    visitor, gone = Visitor(app), Visitor(app)
    for one in (gone, visitor):
        await one.picks("accept")
        for path in ("/a", "/b", "/abuse", *("/c",) * 6):
            await one.gets(path)
    await asks(visitor, ("action", "dispute"), ("message", "not mine"))
    await asks(gone, *ERASE)
    await erased(app)
    directory = str(app.runtime.places.directory)
    given = ("disclose", "add", "--to", "a court", "--basis", "lawful_demand", "--reference", "7",
             "--purpose", "abuse")  # fmt: skip
    assert (await asyncio.to_thread(told_by, *given, "--directory", directory))[0] == 0
    await data(visitor)  # whose request is in the store then
    (number,) = [record.id for record in await records(app, "request") if record.data["request.kind"] == "correction"]
    answered = ("requests", "answer", str(number), "--directory", directory, *REASON)
    assert (await asyncio.to_thread(told_by, *answered))[0] == 0
    for days in (2, 100):
        await destroyed(app.runtime.destruction, datetime.now(UTC) + timedelta(days=days))
    kinds = {record.kind for record in await records(app, *KINDS)}
    assert kinds == KINDS
    document = await data(visitor)
    await app.runtime.drain.stop()
    return document


def told_by(*command: str) -> tuple[int, str]:
    """Run a command here, and return its exit code and what it printed."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, "utf-8")
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = main(list(command))
    out.flush()
    return code, raw.getvalue().decode()


def rows_of(database: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT * FROM records ORDER BY id").fetchall()


def write(database: Path, row: int, column: int, value: Any) -> bool:
    """Change one field of one row, and return whether the database took it."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.text_factory = bytes
        before = connection.execute("SELECT * FROM records ORDER BY id LIMIT 1 OFFSET ?", (row,)).fetchone()
        kind = "TEXT" if COLUMNS[column] in ("kind", "purpose", "ring", "data") else "BLOB"
        try:
            connection.execute(
                f"UPDATE records SET {COLUMNS[column]} = CAST(? AS {kind}) WHERE id = ?",
                (value, before[0]),
            )
        except sqlite3.IntegrityError:
            return False
    return True


def edited(draw: st.DrawFn, rows: Sequence[tuple[Any, ...]]) -> tuple[int, int, Any]:
    """Draw a row, a column and what it says from now on: other bytes, or what another row says there."""
    row, column = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(COLUMNS) - 1))
    value = rows[row][column]
    raw = value.encode() if isinstance(value, str) else value or b""
    other = rows[draw(st.integers(0, len(rows) - 1))][column]
    if raw and draw(st.booleans()):
        at = draw(st.integers(0, len(raw) - 1))
        return row, column, raw[:at] + bytes([raw[at] ^ draw(st.integers(1, 255))]) + raw[at + 1 :]
    return row, column, other.encode() if isinstance(other, str) else other


async def read(database: Path, sealer: Sealer) -> tuple[list[Record], list[Record], int]:
    """Return what the store gives back, what of it is whole, and how many are counted as changed."""
    store = SQLiteStore(database)
    await store.open()
    stored = list(await store.fetch(ALL, limit=10_000))
    count = (await examined(store, sealer, Erased())).changed
    await store.close()
    return stored, sealer.whole(stored), count


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_no_record_of_which_one_field_or_byte_was_changed_is_whole(
    lived: Lived, tmp_path: Path, data: st.DataObject
) -> None:
    database = tmp_path / "edited.sqlite3"
    shutil.copyfile(lived.places.database, database)
    sealer = Sealer.without_keys(SiteKeys.read(lived.places.site_keys))
    before, whole, count = asyncio.run(read(database, sealer))
    assert (whole, count) == (before, 0)
    if not write(database, *data.draw(st.composite(edited)(rows_of(database)))):
        return
    _, whole, count = asyncio.run(read(database, sealer))
    assert all(record in before for record in whole)
    assert count == len(before) - len(whole)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_nothing_that_was_changed_is_shown_exported_counted_or_proven(
    lived: Lived, tmp_path: Path, data: st.DataObject
) -> None:
    copy = Places(tmp_path / "copy")
    shutil.copytree(lived.places.directory, copy.directory, dirs_exist_ok=True)
    rows = rows_of(copy.database)
    row, column, value = data.draw(st.composite(edited)(rows))
    if rows[row][1] == "restricts" and column == 1:
        return  # as if the mark were deleted, which nobody can see
    if not write(copy.database, row, column, value):
        return
    for reader, true in lived.true.items():
        assert said_by(reader, copy) <= true, reader
    assert counts(copy.directory) <= counts(lived.places.directory)
    changed = asyncio.run(read(copy.database, Sealer.without_keys(SiteKeys.read(copy.site_keys))))[2]
    for verify in (("audit", "verify"), ("store", "check", "--policy", "none")):
        code, said = told_by(*verify, "--directory", str(copy.directory), "--json")
        (store,) = json.loads(said)["records"]
        assert store["changed"] == changed
        assert code == (1 if changed else 0)


async def forget_marks(places: Places) -> None:
    """Sweep the marks as each night does, weeks later."""
    store = SQLiteStore(places.database)
    await store.open()
    sealer = Sealer.without_keys(SiteKeys.read(places.site_keys))
    await Desk(store, sealer, kept_by_store(store)).forget_marks(datetime.now(UTC) + timedelta(days=30))
    await store.close()


@pytest.mark.parametrize("column", ["id", "purpose", "sealed"])
def test_who_alters_the_mark_of_a_restriction_does_not_lift_it(lived: Lived, tmp_path: Path, column: str) -> None:
    copy = Places(tmp_path / "copy")
    shutil.copytree(lived.places.directory, copy.directory)
    rows = rows_of(copy.database)
    (marked,) = [at for at, row in enumerate(rows) if row[1] == "restricts"]
    value = rows[marked][COLUMNS.index(column)]
    raw = value.encode() if isinstance(value, str) else value
    assert write(copy.database, marked, COLUMNS.index(column), raw[:-1] + bytes([raw[-1] ^ 64]))
    asyncio.run(forget_marks(copy))
    for reader, true in lived.true.items():
        assert said_by(reader, copy) <= true, reader


def counts(directory: Path) -> set[tuple[str, str]]:
    """Return each count of the report, with what it says."""
    day = str(datetime.now(UTC).date())
    span = ("--since", day, "--until", day)
    report = json.loads(told_by("report", "--json", "--directory", str(directory), *span)[1])
    return {(name, json.dumps(count, sort_keys=True)) for name, count in report["counts"].items()}


@pytest.mark.parametrize(
    "change",
    [
        """data = json_set(data, '$."consent.choice"', 'reject')""",
        """data = json_set(data, '$."consent.revision"', 2)""",
        """data = json_set(data, '$."consent.text"', 'other words')""",
        """data = json_set(data, '$."consent.language"', 'en')""",
        """data = json_set(data, '$."consent.more"', 'x')""",
        "subject = randomblob(16)",
        "purpose = 'requests'",
        "id = CAST(substr(id, 1, 15) || iif(substr(id, 16) = x'00', x'01', x'00') AS BLOB)",
        "sealed = (SELECT sealed FROM records WHERE kind = 'visit')",
        "sealed = x''",
    ],
)
def test_a_receipt_of_which_anything_was_changed_is_no_proof(lived: Lived, tmp_path: Path, change: str) -> None:
    copy = Places(tmp_path / "copy")
    shutil.copytree(lived.places.directory, copy.directory)
    number = lived.document["receipts"][0]["id"]
    verify = ("receipt", "verify", number, "--directory", str(copy.directory), "--json", *REASON)
    assert json.loads(told_by(*verify)[1])["proven"]
    with closing(sqlite3.connect(copy.database)) as database, database:
        database.execute(f"UPDATE records SET {change} WHERE lower(hex(id)) = ?", (number.replace("-", ""),))
    code, said = told_by(*verify)
    assert code == 1
    verdict = json.loads(said)
    assert (verdict["proven"], verdict["record"]) in ((False, "changed"), (False, "missing"))
    assert "document" not in verdict


def test_records_that_are_moved_to_a_strangers_subject_are_not_opened_for_them(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        victim, thief = Visitor(app), Visitor(app)
        for one in (victim, thief):
            await one.picks("accept")
            await one.gets("/abuse")
            await asks(one, ("action", "dispute"), ("message", f"words of {id(one)}"))
        before = await data(thief)
        for kind in ("visit", "abuse", "request", "receipt"):
            rows = await records(app, kind)
            mine = {row.purpose: row.subject for row in rows if row.subject}
            with closing(sqlite3.connect(app.runtime.places.database)) as database, database:
                for purpose, subject in mine.items():
                    moved = "UPDATE records SET subject = ? WHERE kind = ? AND purpose = ?"
                    database.execute(moved, (subject, kind, purpose))
        after = json.loads(body(await thief.gets(f"{PAGE}.json")))  # never whole
        for of in ("requests", "receipts"):
            assert [entry for entry in after[of] if entry not in before[of]] == []
        shown = {row["id"] for held in after["held"] for row in held["records"]}
        assert shown <= {row["id"] for held in before["held"] for row in held["records"]} | {
            str(row.id) for row in app.runtime.sealer.whole(await records(app, "visit"))
        }
        assert f"words of {id(victim)}" not in json.dumps(after)
        assert (before["complete"], after["complete"]) == (True, False)
        page = words(await reads(thief))
        assert "Some of your records were changed after this site wrote them, so they aren't shown." in page
        assert "everything we hold" not in page

    asyncio.run(work())


def test_what_was_erased_and_put_back_is_not_shown_and_counted(tmp_path: Path) -> None:
    async def work() -> list[tuple[Any, ...]]:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        await visitor.gets("/books")
        await app.runtime.drain.once()
        before = rows_of(app.runtime.places.database)
        await asks(visitor, *ERASE)
        await erased(app)
        await app.runtime.drain.stop()
        return before

    before, places = asyncio.run(work()), Places(tmp_path / "consent-data")
    purpose = ("--purpose", "analytics", "--directory", str(places.directory))
    assert told_by("log", "--json", *purpose)[1] == ""
    with closing(sqlite3.connect(places.database)) as database, database:
        database.executemany("INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", before)
    assert told_by("log", "--json", *purpose)[1] == ""
    code, said = told_by("store", "check", "--policy", "none", "--directory", str(places.directory), "--json")
    assert code == 1
    assert json.loads(said)["records"][0]["brought_back"] >= 1


def test_what_one_host_wrote_another_of_the_same_site_checks_and_a_stranger_cannot_write(tmp_path: Path) -> None:
    hosts = [Sealer.of_site(place) for place in prepared(tmp_path, KEYS, KEYS, ["another secret key of somebody"])]
    record = hosts[0].record(new_id(time.time_ns()), "visit", "necessary", data={"http.route": "/"}, plain=b"personal")
    assert [host.is_whole(record) for host in hosts] == [True, True, False]


def prepared(root: Path, *secrets: Sequence[str]) -> list[Places]:
    all_places = [Places(root / str(number)) for number in range(len(secrets))]
    for places, keys in zip(all_places, secrets, strict=True):
        places.prepare()
        SiteKeys.kept(places.site_keys, [key.encode() for key in keys])
    return all_places
