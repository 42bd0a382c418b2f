"""A key file that is lost, or another in its place, is said: at the start of the site, and by what watches it."""

from __future__ import annotations

import logging
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.my_data_site import site as started
from tests.support.policies import POLICY
from tests.support.postgres import PostgresServer
from tests.support.sites_with_records import SiteWithRecords

from consent_mw.cli import main
from consent_mw.crypto.keyring import FileKeyring, MemoryKeyring
from consent_mw.crypto.known_keyrings import KnownRings
from consent_mw.crypto.sealer import Sealer


@pytest.fixture
def site(tmp_path: Path) -> SiteWithRecords:
    """A site that was started once, with a record."""
    app = started(tmp_path)
    site = SiteWithRecords(tmp_path, POLICY)
    site.keeps(site.record(datetime.now(UTC) - timedelta(hours=1), secret="/"))
    app.runtime.sealer.keyring.close()
    return site


def runs(site: SiteWithRecords, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main([*words, "--policy", str(site.file)])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_the_start_says_that_the_key_file_was_lost(site: SiteWithRecords, caplog: pytest.LogCaptureFixture) -> None:
    started(site.file.parent)
    assert "was used here before" not in caplog.text
    lost = site.sealer.keyring.name
    site.places.keys.unlink()
    for _ in range(2):  # at each start
        caplog.clear()
        app = started(site.file.parent)
        (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert f"{site.places.keys}: the keyring {lost} was used here before" in said
        assert app.runtime.sealer.keyring.name in said
        assert f"consent-mw purge --lost {lost}" in said
    assert stat.S_IMODE(site.places.rings.stat().st_mode) == 0o600


def test_a_key_file_that_cannot_be_opened_is_one_line_of_the_check(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    site.places.keys.chmod(0o644)
    code, said = runs(site, capsys, "store", "check")
    assert code == 1
    assert "may be read by other users" in said
    assert "keyring ," not in said


def test_a_key_file_that_was_cut_to_nothing_is_named_by_the_site_and_left_alone_by_commands(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    started(site.file.parent)
    site.places.keys.write_bytes(b"")
    for words in (
        ["store", "check"],
        ["purge"],
        ["drain", "--once"],
    ):
        code, said = runs(site, capsys, *words)
        assert code == 1, (words, said)
        assert f"{site.places.keys}: is empty (0 bytes)" in said
        assert site.places.keys.stat().st_size == 0, "a new keyring would stand in the place of the lost one"
    caplog.clear()
    started(site.file.parent)
    assert f"{site.places.keys}: is empty (0 bytes)" in caplog.text
    assert "was used here before" in caplog.text


@pytest.mark.parametrize("replaced", [False, True])
def test_the_commands_that_watch_end_with_1_and_name_the_keyring(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str], replaced: bool
) -> None:
    lost = site.sealer.keyring.name
    assert runs(site, capsys, "store", "check")[0] == 0
    assert runs(site, capsys, "purge", "--dry-run")[0] == 0
    site.places.keys.unlink()
    if replaced:
        FileKeyring(site.places.keys)
    code, said = runs(site, capsys, "store", "check")
    assert code == 1
    assert f"1 records or more are sealed by keyring {lost}, whose keys are not here" in said
    assert f"put its key file back, or give it up: consent-mw purge --lost {lost}" in said
    code, said = runs(site, capsys, "purge", "--dry-run")
    assert code == 1
    assert f"{site.places.keys}: the keys of keyring {lost} are not here" in said


def test_a_keyring_that_was_given_up_is_no_fault_any_more(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    lost = site.sealer.keyring.name
    site.places.keys.unlink()
    runs(site, capsys, "purge", "--lost", lost)
    assert runs(site, capsys, "purge", "--dry-run")[0] == 0
    assert runs(site, capsys, "store", "check")[0] == 0
    started(site.file.parent)
    assert "was used here before" not in caplog.text


def test_an_archive_whose_keys_were_lost_is_named_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    held = '[purposes.abuse.archive]\nretention = "5 years"\nlaw = "a law"\n'
    started(tmp_path, POLICY + held)
    site = SiteWithRecords(tmp_path, POLICY + held)
    site.keeps(site.record(datetime.now(UTC), secret="/"))
    lost = FileKeyring(site.places.archive_keys).name
    site.places.archive_keys.unlink()
    started(tmp_path, POLICY + held)
    assert f"{site.places.archive_keys}: the keyring {lost} was used here before" in caplog.text
    code, said = runs(site, capsys, "purge", "--dry-run")
    assert (code, lost in said) == (1, True)


def test_other_hosts_of_a_database_are_told_and_no_fault(
    tmp_path: Path, postgres: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    site, address = SiteWithRecords(tmp_path, POLICY), postgres.database()
    other = Sealer(MemoryKeyring(), site.sealer.site_keys)
    assert runs(site, capsys, "store", "check", "--store", address)[0] == 0

    async def keep(store: object) -> None:
        from consent_mw.stores.postgres import PostgresStore

        elsewhere = PostgresStore(address)
        await elsewhere.open()
        await elsewhere.append([site.record(datetime.now(UTC), sealer=other, secret="/")])
        await elsewhere.close()

    started(tmp_path)  # keeps the revision
    site.using(keep)
    code, said = runs(site, capsys, "store", "check", "--store", address)
    assert code == 0
    assert f"sealed by keyring {other.keyring.name}, whose keys are not here" in said


def test_a_keyring_of_the_site_is_not_taken_for_a_lost_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    given = FileKeyring(tmp_path / "elsewhere")
    for _ in range(2):
        started(tmp_path, keyring=given)
    assert "was used here before" not in caplog.text
    site = SiteWithRecords(tmp_path, POLICY, keyring=given)
    site.keeps(site.record(datetime.now(UTC), secret="/"))
    code, said = runs(site, capsys, "store", "check")
    assert (code, "give it with --keyring" in said) == (0, True)


def test_a_torn_line_hides_no_other_keyring(tmp_path: Path) -> None:
    known = KnownRings(tmp_path / "rings.jsonl")
    first, second = FileKeyring(tmp_path / "one"), FileKeyring(tmp_path / "two")
    known.remember("live", first)
    known.path.write_bytes(known.path.read_bytes() + b'{"where": "li')
    known.remember("live", second)
    assert known.missing("live", second.name) == [first.name]
