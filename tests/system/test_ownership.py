"""Another user of the machine can put no file into the place of ours: not beside it, not above it, not by a link."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import pytest

from consent_mw.audit import Audit
from consent_mw.cli import main
from consent_mw.consent.wordings import Wordings
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.exceptions import ConfigurationError
from consent_mw.paths import Places
from consent_mw.policy.loader import load
from consent_mw.policy.revisions import Revisions
from consent_mw.rights.ledger import Ledger
from consent_mw.spool.spool import Spool
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.system.locks import alone

SITE, MALLORY = 54_321, 54_322
User: TypeAlias = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def as_user() -> User:
    """Gives what makes this process another user's for a while; needs root."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user: run the tests as root")

    @contextmanager
    def user(uid: int) -> Generator[None]:
        os.setegid(uid)
        os.seteuid(uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    return user


@pytest.fixture
def home() -> Generator[Path]:
    """A directory that every user may enter, which those of pytest are not."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def kept(directory: Path, owner: int) -> Places:
    """The data directory of a site that ran as `owner`."""
    directory.mkdir()
    places = Places(directory)
    places.prepare()
    FileKeyring(places.keys).close()
    FileKeyring(places.archive_keys).close()
    places.spool.mkdir()
    for place in (directory, *directory.iterdir()):
        os.chown(place, owner, owner)
    return places


def refusal(places: Places) -> str:
    with pytest.raises(ConfigurationError) as refused:
        places.prepare()
    return str(refused.value)


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o1777, 0o733])
def test_a_directory_that_every_user_may_write_is_refused_with_the_command_that_ends_it(
    tmp_path: Path, mode: int
) -> None:
    places = Places(tmp_path / "data")
    places.prepare()
    for place in (places.directory, places.spool, places.revisions, places.wordings):
        place.mkdir(exist_ok=True)
        place.chmod(mode)
        assert f"{place}: may be written by every user" in refusal(places)
        command = refusal(places).partition("run: ")[2]
        subprocess.run(command.split(), check=True)
        places.prepare()


FILES = [
    "keys",
    "archive-keys",
    "audit.jsonl",
    "erasures.jsonl",
    "consent.sqlite3",
    "archive.sqlite3-wal",
    "erasure.lock",
]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_a_link_or_that_others_may_write_is_refused(tmp_path: Path, name: str) -> None:
    places = Places(tmp_path / "data")
    places.prepare()
    file, elsewhere = places.directory / name, tmp_path / "elsewhere"
    elsewhere.touch(mode=0o600)
    file.symlink_to(elsewhere)
    assert f"{file}: is a symbolic link" in refusal(places)
    file.unlink()
    file.symlink_to(tmp_path / "nothing")
    assert f"{file}: is a symbolic link" in refusal(places)
    file.unlink()
    file.touch()
    file.chmod(0o622)
    assert f"chmod go-w {file}" in refusal(places)


def test_a_keyring_of_its_own_place_is_judged_like_one_of_the_data_directory(tmp_path: Path) -> None:
    (tmp_path / "keys").touch(mode=0o600)
    (tmp_path / "link").symlink_to(tmp_path / "keys")
    with pytest.raises(ConfigurationError, match="is a symbolic link"):
        FileKeyring(tmp_path / "link")
    assert (tmp_path / "keys").stat().st_size == 0
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigurationError, match=f"chmod go-w {tmp_path}"):
        FileKeyring(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_link_that_comes_later_is_not_followed_either(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("of somebody else")
    for name in ("audit.jsonl", "audit.head", "erasures.jsonl"):
        (tmp_path / name).symlink_to(target)
    with pytest.raises(Exception, match="symbolic links"):
        Audit(tmp_path / "audit.jsonl", tmp_path / "audit.head").append({"command": "log"}, now=datetime.now(UTC))
    with pytest.raises(Exception, match="symbolic links"):
        Ledger(tmp_path / "erasures.jsonl").entries()
    assert target.read_text() == "of somebody else"


@pytest.mark.parametrize("mode", [0o777, 0o722])
def test_a_directory_above_that_every_user_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    places = Places(tmp_path / "above" / "data")
    places.prepare()
    (tmp_path / "above").chmod(mode)
    assert f"{tmp_path / 'above'}: may be written by every user" in refusal(places)
    (tmp_path / "above").chmod(mode | 0o1000)  # as /tmp is
    places.prepare()


def test_what_is_missing_above_is_made_for_no_other_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = os.umask(0)
    try:
        Places(tmp_path / "a" / "b" / "data").prepare()
        assert main(["init", str(tmp_path / "c" / "site")]) == 0
    finally:
        os.umask(before)
    capsys.readouterr()
    for place in ("a", "a/b", "a/b/data", "c", "c/site"):
        assert (tmp_path / place).stat().st_mode & 0o022 == 0
    Places(tmp_path / "a" / "b" / "data").prepare()


def test_init_writes_no_secret_where_every_user_may_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o777)
    assert main(["init", str(tmp_path)]) == 1
    assert f"chmod go-w {tmp_path}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_data_directory_may_be_reached_by_a_link_of_its_user(tmp_path: Path) -> None:
    places = Places(tmp_path / "disk" / "data")
    places.prepare()
    (tmp_path / "site").symlink_to(tmp_path / "disk")
    (tmp_path / "link").symlink_to("site/data")
    for way in ("site/data", "link"):
        Places(tmp_path / way).prepare()
    (tmp_path / "disk").chmod(0o777)  # where the link leads counts
    for way in ("site/data", "link"):
        assert f"{tmp_path / 'disk'}: may be written by every user" in refusal(Places(tmp_path / way)).replace(
            str(tmp_path / "site"), str(tmp_path / "disk")
        )


@pytest.mark.parametrize(
    "command",
    ["log", "export --format csv", "report", "purge", "drain --once", "store check", "cookies",
     "disclose list", "log --archive", "publish policy.toml"],
)  # fmt: skip
def test_a_command_refuses_what_the_site_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    data = Places(Path("consent-data"))
    data.prepare()
    data.database.touch(mode=0o600)
    data.directory.chmod(0o777)
    assert main(command.split()) == 1
    assert "consent-data: may be written by every user" in capsys.readouterr().err


# -- other users, which takes root ---------------------------------------------------------------------------------


def test_a_directory_of_another_user_is_refused_and_one_of_root_is_not(home: Path, as_user: User) -> None:
    places = kept(home / "data", MALLORY)
    with as_user(SITE):
        assert f"{places.directory}: belongs to {MALLORY}" in refusal(places)
        assert f"chown -hR {SITE} {places.directory}" in refusal(places)
    os.chown(places.directory, 0, 0)
    places.directory.chmod(0o755)
    with as_user(SITE):
        assert f"{places.spool}: belongs to {MALLORY}" in refusal(places)
    os.chown(places.spool, SITE, SITE)
    with as_user(SITE):
        assert f"{places.keys}: belongs to {MALLORY}" in refusal(places)
        with pytest.raises(ConfigurationError, match=f"belongs to {MALLORY}"):
            FileKeyring(places.keys)
    for name in (places.keys, places.archive_keys):
        os.chown(name, SITE, SITE)
    with as_user(SITE):
        places.check()
        FileKeyring(places.keys).close()


def test_a_link_of_another_user_is_refused(home: Path, as_user: User) -> None:
    kept(home / "data", SITE)
    (home / "link").symlink_to(home / "data")
    os.chown(home / "link", MALLORY, MALLORY, follow_symlinks=False)
    with as_user(SITE):
        assert f"{home / 'link'}: belongs to {MALLORY}" in refusal(Places(home / "link"))
    (home / "sticky").mkdir()
    (home / "sticky").chmod(0o1777)
    (home / "sticky" / "link").symlink_to(home)
    os.chown(home / "sticky" / "link", MALLORY, MALLORY, follow_symlinks=False)
    with as_user(SITE):
        assert f"{home / 'sticky' / 'link'}: belongs to {MALLORY}" in refusal(Places(home / "sticky" / "link" / "data"))


def test_root_looks_after_the_directory_of_the_site_s_user(home: Path, as_user: User) -> None:
    places = kept(home / "data", SITE)
    places.check()
    FileKeyring(places.keys).close()
    os.chown(places.keys, MALLORY, MALLORY)
    assert f"{places.keys}: belongs to {MALLORY}" in refusal(places)
    os.chown(places.keys, 0, 0)  # as a command of root made it
    with as_user(SITE):
        places.check()


def test_what_root_makes_in_the_directory_of_the_site_s_user_is_that_user_s(home: Path, as_user: User) -> None:
    directory = home / "site"
    directory.mkdir()
    os.chown(directory, SITE, SITE)
    assert main(["init", str(directory)]) == 0
    places = Places(directory / "consent-data")
    places.prepare()
    FileKeyring(places.keys).close()
    Audit(places.audit, places.audit_head).append({"reason": "by root"}, now=datetime.now(UTC))
    Wordings(places.wordings).keep("words")
    policy = directory / "policy.toml"
    Revisions(places.revisions).keep(load(policy), policy.read_text())
    with alone(places.destruction_lock) as mine:
        assert mine
    spool = Spool(places.spool)
    spool.write([b"a frame"])
    store = SQLiteStore(places.database)  # held, as a store that is collected takes its -wal along
    asyncio.run(store.open())
    paths = list(directory.rglob("*"))
    assert {path.name for path in paths} >= {"keys", "audit.jsonl", "audit.head", "destruction.lock", "consent.sqlite3"}
    assert {path: path.stat().st_uid for path in paths} == dict.fromkeys(paths, SITE)
    asyncio.run(store.close())
    spool.close()
    with as_user(SITE):
        places.check()


def test_root_gives_no_file_away_that_the_owner_has_linked_to(home: Path, as_user: User) -> None:
    places = kept(home / "data", SITE)
    secret = home / "of-root"
    secret.write_text("secret")
    os.link(secret, places.destruction_lock)
    with alone(places.destruction_lock) as mine:
        assert mine
    assert secret.stat().st_uid == 0


@pytest.mark.parametrize("part", ["spool", "revisions", "wordings"])
def test_root_trusts_nobody_with_a_part_of_its_directory(home: Path, as_user: User, part: str) -> None:
    places = kept(home / "data", 0)
    directory = places.directory / part
    directory.mkdir(exist_ok=True)
    places.check()
    os.chown(directory, MALLORY, MALLORY)
    assert f"{directory}: belongs to {MALLORY}" in refusal(places)


@pytest.mark.parametrize(("group", "said"), [(SITE, ""), (1, "may be written by the group daemon")])
def test_a_group_may_write_if_no_other_account_is_in_it(home: Path, as_user: User, group: int, said: str) -> None:
    # What Kubernetes does with fsGroup, and Fedora with a group for each user. Group 1 is that of the user daemon.
    places = kept(home / "data", SITE)
    os.chown(places.directory, 0, group)
    places.directory.chmod(0o2775)
    with as_user(SITE):
        if said:
            assert said in refusal(places)
        else:
            places.check()


def test_an_access_list_that_lets_another_user_write_is_refused(home: Path, as_user: User) -> None:
    places = kept(home / "data", SITE)
    # acl(5) as the kernel keeps it: tag, rights and id. Owner, that user, group, mask, others.
    entries = ((1, 7, 0xFFFFFFFF), (2, 7, MALLORY), (4, 5, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(places.directory, "system.posix_acl_access", packed)
    with as_user(SITE):
        assert f"{places.directory}: may be written by whoever is in its access list" in refusal(places)
