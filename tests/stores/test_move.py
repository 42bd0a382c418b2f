"""`consent-mw store move`: everything goes, once, whatever breaks it off, while the site uses both stores."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.support.asgi import drive, scope
from tests.support.commands import refused, run
from tests.support.living_shop import SHOP, START, TEXT
from tests.support.postgres import PostgresServer
from tests.support.repository import ROOT
from tests.support.sites_with_records import THEN, SiteWithRecords

from consent_mw import ConsentMiddleware
from consent_mw._asgi import Receive, Scope, Send
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exceptions import StoreUnavailable
from consent_mw.kinds import KINDS
from consent_mw.records import Query, Record
from consent_mw.staff.existing_site import existing_store
from consent_mw.stores import move, site_store, store_from
from consent_mw.stores.joined import JoinedStore
from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.move import Move
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.stores.used import UsedStores
from consent_mw.testing.site import LivingSite

KEY = "a key of the trials, at least 16 characters"
EVERY = Query(kinds=frozenset(KINDS))
MOMENT = datetime.fromisoformat("2026-11-20T10:00:00+00:00")
_START_NS = int(START.timestamp()) * 10**9


@pytest.fixture
def site(tmp_path: Path) -> SiteWithRecords:
    """A site with records of some days in its file."""
    filled = SiteWithRecords(tmp_path)
    filled.keeps(*(filled.record(MOMENT + timedelta(minutes=7 * n), data={"n": n}, note=n) for n in range(1_500)))
    return filled


def held(*urls: str) -> list[Record]:
    """What the stores hold, each record as often as there is one."""

    async def fetch(url: str) -> Sequence[Record]:
        store = store_from(url)
        await store.open()
        try:
            return await store.fetch(EVERY, limit=100_000)
        finally:
            await store.close()

    return sorted((record for url in urls for record in asyncio.run(fetch(url))), key=lambda record: record.id)


def test_everything_goes_to_a_database_and_back(site: SiteWithRecords, postgres: PostgresServer) -> None:
    file, database = f"sqlite:///{site.places.database}", postgres.database()
    before, used = held(file), UsedStores.beside(site.places.database)
    for source, target in ((file, database), (database, file)):
        used.use(source)
        used.use(target)  # as the site does when it starts
        done = run("store", "move", source, target, "--json", cwd=site.file.parent)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["records"] == len(before)
        assert held(target) == before
        assert held(source) == []
        assert used.earlier == []


@pytest.mark.parametrize("back", [False, True], ids=["to a database", "to a file"])
def test_a_move_that_is_killed_at_any_step_loses_nothing_and_has_nothing_twice(
    tmp_path: Path, postgres: PostgresServer, back: bool
) -> None:
    urls = [f"sqlite:///{tmp_path}/file.sqlite3", postgres.database()]
    words = [sys.executable, "-m", "tests.support.killed_move", str(tmp_path / "move"), *urls[:: -1 if back else 1]]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15  # each step of a page, and some of the next


def test_what_the_site_deletes_meanwhile_counts_once_and_does_not_come_back(site: SiteWithRecords) -> None:
    target = site.places.directory / "other.sqlite3"
    source_url, journal = f"sqlite:///{site.places.database}", site.places.directory / "move"
    records = held(source_url)

    async def work() -> int:
        joined = JoinedStore(SQLiteStore(target), SQLiteStore(site.places.database), journal)
        await joined.open()
        source, other = SQLiteStore(site.places.database), SQLiteStore(target)
        await source.open()
        await other.open()

        async def deletes() -> int:
            ids = [record.id for record in records[::2]]
            return sum(
                [
                    await joined.delete(Query(kinds=EVERY.kinds, ids=frozenset(ids[at : at + 50])))
                    for at in range(0, len(ids), 50)
                ]
            )

        async def moves() -> None:
            async for _ in Move(source, other, journal).run():
                assert len(await joined.fetch(EVERY, limit=100_000)) >= len(records) // 2

        gone, _ = await asyncio.gather(deletes(), moves())
        for store in (joined, source, other):
            await store.close()
        return gone

    assert asyncio.run(work()) == len(records[::2])
    assert held(f"sqlite:///{target}") == records[1::2]
    assert held(source_url) == []


def test_a_move_that_stands_still_holds_no_deletion_up_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move, "_PATIENCE_SECONDS", 0.1)

    async def work() -> None:
        first, second = (Move(MemoryStore(), MemoryStore(), tmp_path / "move") for _ in range(2))
        async with first.alone():
            with pytest.raises(StoreUnavailable, match="was stopped"):
                async with second.alone():
                    pass

    asyncio.run(work())


@pytest.mark.parametrize("left", [0, 15, 24])
def test_a_journal_that_was_cut_off_is_told_and_loses_nothing(tmp_path: Path, left: int) -> None:
    site = SiteWithRecords(tmp_path)
    site.keeps(*(site.record(MOMENT + timedelta(minutes=n)) for n in range(3)))
    file, target = f"sqlite:///{site.places.database}", f"sqlite:///{tmp_path}/new.sqlite3"
    before, used = held(file), UsedStores.beside(site.places.database)
    used.use(file)
    used.use(target)
    journal = used.journal(file)
    journal.write_bytes(before[0].id.bytes[:left] + before[1].id.bytes[: left - 16 if left > 16 else 0])
    assert f"{journal.name}: was cut off or changed" in refused(run("store", "move", file, target, cwd=tmp_path))
    journal.unlink()
    assert run("store", "move", file, target, cwd=tmp_path).returncode == 0
    assert held(target) == before


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})


def test_a_site_that_starts_with_another_store_reads_those_that_it_had(tmp_path: Path) -> None:
    site = SiteWithRecords(tmp_path)
    names = [None, f"sqlite:///{tmp_path / 'second.sqlite3'}", f"sqlite:///{tmp_path / 'third.sqlite3'}", None]
    for url in names:
        middleware = ConsentMiddleware(page, policy=site.file, secret_keys=[KEY], store=url)

        async def visit(middleware: ConsentMiddleware = middleware) -> int:
            await drive(middleware, scope("/"))
            await middleware.runtime.drain.run_once()
            records = await middleware.runtime.store.fetch(Query(kinds=frozenset(("visit",))), limit=100)
            await middleware.runtime.drain.stop()
            return len({record.id for record in records if record.purpose == "necessary"})

        assert asyncio.run(visit()) == names.index(url) + 1 if url else asyncio.run(visit()) >= 1
    assert isinstance(site_store(site.places.database, None), JoinedStore)
    assert len(UsedStores.beside(site.places.database).earlier) == 2


def test_commands_that_name_the_file_a_site_moved_to_mean_its_earlier_one_too(tmp_path: Path) -> None:
    """Or `purge` would destroy the keys of what it leaves in the earlier file, and certify that nothing was there."""
    with LivingSite(SHOP, policy=TEXT, directory=tmp_path, at=START) as site:
        site.visitor().get("/")
        assert len(site.records("visit")) == 1
        site.restart(store=f"sqlite:///{tmp_path}/new.sqlite3", drain=False)
        site.clock.advance(timedelta(days=100))
        assert "1 records" in site.run("purge").stdout
        assert site.records("visit") == []
        copy = f"sqlite:///{tmp_path}/copy.sqlite3"
        shutil.copy(tmp_path / "new.sqlite3", tmp_path / "copy.sqlite3")
        assert isinstance(existing_store(site.app.runtime.places, copy), SQLiteStore), "a copy is read alone"


def test_a_database_under_another_name_or_password_is_the_same_one(tmp_path: Path) -> None:
    used = UsedStores(tmp_path / "stores.json")
    for url in ("postgresql://a:old@db/site", "postgresql://a:new@db/site", "postgresql://a:new@10.0.0.5/site"):
        used.use(url)
        assert (used.store, used.earlier) == (url, [])
    used.use("sqlite:////srv/consent.sqlite3")
    assert used.earlier == ["postgresql://a:new@10.0.0.5/site"]
    used.use("postgresql://a:newest@db/site")
    assert used.earlier == ["sqlite:////srv/consent.sqlite3"]
    assert used.path.stat().st_mode & 0o777 == 0o600


def test_a_data_directory_that_was_copied_or_renamed_keeps_the_store_in_it(tmp_path: Path) -> None:
    directory, other = tmp_path / "here", "sqlite:////srv/log.sqlite3"
    directory.mkdir()
    UsedStores(directory / "stores.json").use(f"sqlite:///{directory}/consent.sqlite3", [other])
    directory.rename(tmp_path / "there")
    used = UsedStores.beside(tmp_path / "there" / "consent.sqlite3")
    assert (used.store, used.logs) == (f"sqlite:///{tmp_path}/there/consent.sqlite3", [other])
    assert used.elsewhere(tmp_path / "there" / "consent.sqlite3") == ""


def test_a_file_that_is_gone_is_missed_only_where_there_was_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "policy.toml").write_text(TEXT)

    def begun() -> ConsentMiddleware:
        return ConsentMiddleware(SHOP, policy=tmp_path / "policy.toml", secret_keys=[KEY], clock=lambda: _START_NS)

    async def serve(shop: ConsentMiddleware) -> None:
        await shop.runtime.drain.begin()
        await drive(shop, scope("/"))
        await shop.runtime.drain.stop()

    begun()  # a program that imports the site without serving it, or a server that was killed at its start
    shop = begun()
    assert "the file is gone" not in caplog.text
    asyncio.run(serve(shop))
    shop.runtime.places.database.unlink()
    assert "restore a backup" in refused(run("log", cwd=tmp_path)), "to run the site first would make an empty one"
    begun()
    assert "the file is gone" in caplog.text


def of_another_site(path: Path) -> None:
    async def fill() -> None:
        store = SQLiteStore(path)
        await store.open()
        other = Sealer.without_keys(SiteKeys.random())
        await store.append([other.record(record.id, "gap", "necessary") for record in held_ids])
        await store.close()

    held_ids = [SiteWithRecords(path.parent / "elsewhere").record(MOMENT) for _ in range(3)]
    asyncio.run(fill())


@pytest.mark.parametrize(
    ("source", "target", "used", "says"),
    [
        ("consent-data/consent.sqlite3", "consent-data/consent.sqlite3", "", "the same store"),
        ("consent-data/consent.sqlite3", "new.sqlite3", "consent-data/consent.sqlite3", "keeps its records in"),
        ("none.sqlite3", "new.sqlite3", "new.sqlite3", "no store here"),
        ("consent-data/consent.sqlite3", "consent-data/../consent-data/consent.sqlite3", "same", "the same store"),
        ("consent-data/consent.sqlite3", "other.sqlite3", "other.sqlite3", "not this site's"),
        ("consent-data/consent.sqlite3", "table.sqlite3", "table.sqlite3", "table.sqlite3"),
    ],
)
def test_a_move_that_would_do_harm_is_one_line_and_moves_nothing(
    source: str, target: str, used: str, says: str, tmp_path: Path
) -> None:
    site = SiteWithRecords(tmp_path)
    site.keeps(*(site.record(MOMENT) for _ in range(3)))
    (tmp_path / "elsewhere").mkdir()
    of_another_site(tmp_path / "other.sqlite3")
    with closing(sqlite3.connect(tmp_path / "table.sqlite3")) as foreign:
        foreign.execute("create table t (x)")
    before = held(f"sqlite:///{site.places.database}")
    urls = [f"sqlite:///{tmp_path / name}" for name in (source, target)]
    UsedStores.beside(site.places.database).use(urls[1] if used == "same" else f"sqlite:///{tmp_path / used}")
    assert says in refused(run("store", "move", *urls, cwd=tmp_path))
    assert held(f"sqlite:///{site.places.database}") == before


def test_a_move_between_two_databases_is_refused(tmp_path: Path) -> None:
    site, urls = SiteWithRecords(tmp_path), ("postgresql://a:secret@old/site", "postgresql://a:secret@new/site")
    UsedStores.beside(site.places.database).use(urls[1])
    said = refused(run("store", "move", *urls, cwd=tmp_path))
    assert "pg_dump" in said
    assert "secret" not in said


@pytest.mark.parametrize("is_log", [False, True])
def test_purge_destroys_nothing_while_the_site_keeps_records_elsewhere(tmp_path: Path, is_log: bool) -> None:
    site, other = SiteWithRecords(tmp_path), f"sqlite:///{tmp_path}/other.sqlite3"
    site.keeps(site.record(THEN, secret="/"))
    live = site.sealer.keyring.live()
    file = f"sqlite:///{site.places.database}"
    UsedStores.beside(site.places.database).use(file if is_log else other, [other] if is_log else [])
    said = refused(run("purge", "--policy", str(site.file)))
    assert f"{'--log-store' if is_log else '--store'} {other}" in said
    assert live
    assert site.sealer.keyring.live() == live
