"""A keyring after another keeps the contract of every keyring, and never gives a place a second key."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.support.renamed import move_away

from consent_mw.crypto.archive_keys import ArchiveKeys, SharedArchiveKeys, archive_keys, archive_label
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.crypto.successive_keys import SuccessiveKeyring
from consent_mw.exceptions import KeyDestroyed
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.paths import Places
from consent_mw.testing.keyring_suite import KeyringSuite, NewKeyring

DAY = 20_780


def two_files(directory: Path) -> SuccessiveKeyring:
    return SuccessiveKeyring(FileKeyring(directory / "new"), FileKeyring(directory / "old"))


def archive_of(directory: Path, key: bytes) -> ArchiveKeys:
    return SharedArchiveKeys(SharedKeyring.of_site(Places(directory), SiteKeys([key])))


class TestSuccessiveKeyring(KeyringSuite):
    @pytest.fixture
    def new_keyring(self, tmp_path: Path) -> NewKeyring:
        return partial(two_files, tmp_path)

    @pytest.fixture
    def break_it(self, tmp_path: Path) -> Callable[[], object]:
        return partial(move_away, tmp_path / "new", tmp_path / "old")


class TestArchiveKeys(KeyringSuite):
    @pytest.fixture
    def new_keyring(self, tmp_path: Path) -> NewKeyring:
        return partial(archive_of, tmp_path, SiteKeys.random().keys[0])

    @pytest.fixture
    def break_it(self, tmp_path: Path) -> Callable[[], object]:
        return partial(move_away, Places(tmp_path).keys)


def test_a_place_keeps_its_key_of_before_and_one_that_was_destroyed_gets_none(tmp_path: Path) -> None:
    old = FileKeyring(tmp_path / "old")
    before = old.key(DAY, "analytics", create=True)
    old.key(DAY - 1, "analytics", create=True)
    old.destroy(DAY - 1, "analytics")
    both = two_files(tmp_path)
    assert both.key(DAY, "analytics", create=True) == before
    assert both.keys(DAY, "analytics") == [before]
    with pytest.raises(KeyDestroyed):
        both.key(DAY - 1, "analytics", create=True)
    both.key(DAY + 1, "analytics", create=True)
    assert old.live() == [(DAY, "analytics")], "it makes no more"
    assert both.destroy(DAY, "analytics")
    assert both.live() == [(DAY + 1, "analytics")]
    assert both.destroyed().keys() == {(DAY - 1, "analytics"), (DAY, "analytics")}


def test_keys_of_log_and_archive_are_apart(tmp_path: Path) -> None:
    keyring = SharedKeyring.of_site(Places(tmp_path), SiteKeys.random())
    archive = archive_keys(keyring)
    assert archive is not None
    assert archive.key(DAY, "abuse", create=True) != keyring.key(DAY, "abuse", create=True)
    assert keyring.live() == archive.live() == [(DAY, "abuse")]
    assert [label for _, label in keyring.all_keys().live] == ["abuse", archive_label("abuse")]
    assert keyring.destroy(DAY, "abuse")
    assert (keyring.live(), archive.live()) == ([], [(DAY, "abuse")])
    assert archive.destroy(DAY, "abuse")
    assert archive.destroyed().keys() == keyring.destroyed().keys() == {(DAY, "abuse")}
