"""The keys that sign every record of a site: the same on all its hosts, kept whole, believed as long as they stay."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.my_data_site import KEYS, site

from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exceptions import ConfigurationError

OLD, NEW = b"an old key of a site", b"a new key of a site!"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "site-keys"


def test_a_site_keeps_them_where_its_commands_find_them(tmp_path: Path) -> None:
    places = site(tmp_path).runtime.places
    assert stat.S_IMODE(places.site_keys.stat().st_mode) == 0o600
    mark = SiteKeys.made_of([KEYS[0].encode()]).mark(b"a record")
    assert SiteKeys.read(places.site_keys).vouches(mark, b"a record")
    assert KEYS[0].encode() not in places.site_keys.read_bytes()


def test_a_new_secret_key_signs_and_what_the_old_one_signed_is_still_believed(path: Path) -> None:
    before = SiteKeys.kept(path, [OLD]).mark(b"a record")
    kept = SiteKeys.kept(path, [NEW])
    assert kept.vouches(before, b"a record")
    assert kept.mark(b"a record") == SiteKeys.made_of([NEW]).mark(b"a record") != before
    assert SiteKeys.read(path).vouches(before, b"a record")
    assert not SiteKeys.made_of([NEW]).vouches(before, b"a record")


def test_the_newest_secret_key_signs_on_every_host_whatever_its_file_held(path: Path, tmp_path: Path) -> None:
    SiteKeys.kept(path)  # a command was there before the site
    first, second = SiteKeys.kept(path, [OLD, NEW]), SiteKeys.kept(tmp_path / "other", [OLD, NEW])
    assert first.mark(b"x") == second.mark(b"x")
    assert SiteKeys.kept(path).mark(b"x") == first.mark(b"x")


def test_workers_that_start_at_once_agree(path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        marks = {kept.mark(b"x") for kept in threads.map(lambda _: SiteKeys.kept(path), range(8))}
    assert len(marks) == 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused_with_the_command_that_ends_it(path: Path, mode: int) -> None:
    SiteKeys.kept(path, [OLD])
    path.chmod(mode)
    for read in (SiteKeys.read, SiteKeys.kept):
        with pytest.raises(ConfigurationError, match=f"could sign what they write; chmod 600 {path}"):
            read(path)


def test_without_a_key_nothing_is_believed_and_nothing_signed(path: Path) -> None:
    none = SiteKeys.read(path)
    assert not path.exists()
    assert not none.vouches(SiteKeys.random().mark(b"x"), b"x")
    assert not none.vouches(b"", b"x")
    with pytest.raises(ConfigurationError, match="no site keys here"):
        none.mark(b"x")


@pytest.mark.parametrize("content", [b"", b"00\n", b"no key\n", b"\xff" * 65])
def test_a_file_that_is_none_is_refused_and_stays_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for opening in (SiteKeys.read, SiteKeys.kept):
        with pytest.raises(ConfigurationError, match=r"holds something else; move it away|its content was cut off"):
            opening(path)
    assert path.read_bytes() == content


def test_a_link_in_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    SiteKeys.kept(tmp_path / "elsewhere", [OLD])
    path.symlink_to(tmp_path / "elsewhere")
    for opening in (SiteKeys.read, SiteKeys.kept):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            opening(path)
