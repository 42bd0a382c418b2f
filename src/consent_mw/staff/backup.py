"""Back up a site's data directory: complete, readable for its owner only, and never with a key in it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from consent_mw.audit import Audit
from consent_mw.exceptions import ConfigurationError
from consent_mw.paths import Places
from consent_mw.stores import sqlite_copy, without_password
from consent_mw.stores.used import UsedStores
from consent_mw.system.durable import keep, sync_directory
from consent_mw.system.locks import in_turn
from consent_mw.system.ownership import content, make_directory, regular, unlinked

#: Written last, with the digests of all other files. A backup without it is incomplete.
MANIFEST: Final = "backup.json"
_FORMAT: Final = 1
_NAME: Final = re.compile(r"\d{4}-\d{2}-\d{2}-\d{6}")
_UNFINISHED: Final = ".unfinished"


class _Maker(msgspec.Struct):
    format: int
    version: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """
    The content of a backup.

    Attributes:
        format: The format's number. A newer version of the package may write a higher one.
        version: The version of the package that made the backup.
        created: When the backup began (aware, UTC).
        files: The SHA-256 of each file, by its name in the backup.
        elsewhere: The other stores that may have held records of the site at that time, without their passwords.
    """

    format: int
    version: str
    created: datetime
    files: dict[str, str]
    elsewhere: Sequence[str] = ()


def back_up(places: Places, policy: Path, target: Path, now: datetime) -> Path:
    """
    Make a backup in a new directory (mode 0700) below `target`, and return the directory. The site may run.

    The directory is named after `now` (aware). Of several at once below one `target` the others wait.

    Raises:
        ConfigurationError: There is nothing to back up, or `target` cannot be written or is in the data directory.
        StoreError: The store cannot be read completely, so no backup was made.
    """
    real, data = (Path(os.path.realpath(path)) for path in (target, places.directory))  # `resolve` raises at a loop
    if real.is_relative_to(data):
        raise ConfigurationError(f"{target}: would be lost with {places.directory}; name a directory elsewhere")
    place = target / f"{now.astimezone():%Y-%m-%d-%H%M%S}"
    unfinished = place.with_name(f"{place.name}{_UNFINISHED}")
    try:
        make_directory(target)
        with in_turn(target):  # what another one has begun looks like what a stopped one left
            _clear(target)
            if place.exists():
                raise ConfigurationError(f"{place}: is there already; try again in a second")
            _write(places, policy, unfinished, now)
            unfinished.rename(place)
            sync_directory(target)
    except OSError as error:
        if error.filename and not Path(error.filename).is_relative_to(target):
            raise ConfigurationError(
                f"{error.filename}: cannot be read ({error.strerror}); let this user read it"
            ) from error
        raise ConfigurationError(f"{target}: cannot be written ({error.strerror}); see that there is room") from error
    return place


def read_manifest(backup: Path) -> Manifest:
    """
    Return the manifest of a backup, after reading each file and checking its digest.

    Raises:
        ConfigurationError: `backup` is not a backup, is incomplete or changed, or a newer version made it.
    """
    try:
        text = content(backup / MANIFEST)
        maker = msgspec.json.decode(text, type=_Maker)  # first: what else a newer one has may be of another form
        if maker.format > _FORMAT:
            raise ConfigurationError(
                f"{backup}: was made by a newer consent-mw ({maker.version}); upgrade the package to restore it"
            )
        manifest = msgspec.json.decode(text, type=Manifest)
        for name, digest in manifest.files.items():
            if ".." in Path(name).parts or Path(name).is_absolute() or _digest(backup / name) != digest:
                raise ConfigurationError(f"{backup / name}: was cut off or changed since; take another backup")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigurationError(
            f"{error.filename}: is not there: {backup} is no backup, or one that was cut off; take another"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{backup}: cannot be read ({error.strerror}); let this user read it") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigurationError(f"{backup / MANIFEST}: was changed; take another backup") from error
    return manifest


def forget_old(target: Path, number: int) -> list[Path]:
    """Remove all backups below `target` except the latest `number`. Return the removed ones. Raises OSError."""
    old = _backups(target)[:-number]
    for backup in old:
        shutil.rmtree(backup)
    return old


def latest_backup(target: Path) -> datetime | None:
    """
    Return when the latest backup below `target` was made (aware, UTC); None if there is no backup.

    Reads and checks each file of that backup.

    Raises:
        ConfigurationError: The backup was changed since, or cannot be read.
    """
    backups = _backups(target) if target.is_dir() else []
    return read_manifest(backups[-1]).created if backups else None


def copy_file(source: Path, to: Path) -> None:
    """
    Copy a file with its time to a new file `to` (mode 0600). The copy survives a power cut.

    Raises OSError, also if `to` exists.
    """
    with (
        open(source, "rb", opener=regular) as read,
        open(unlinked(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as written,
    ):
        shutil.copyfileobj(read, written)
        written.flush()
        os.fsync(written.fileno())
        status = os.fstat(read.fileno())
        os.utime(written.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))


def _backups(target: Path) -> list[Path]:
    return sorted(path for path in target.iterdir() if _NAME.fullmatch(path.name) and (path / MANIFEST).is_file())


def _write(places: Places, policy: Path, unfinished: Path, now: datetime) -> None:
    """Write everything, the manifest last; where that fails nothing is left."""
    try:
        make_directory(unfinished)
        elsewhere = UsedStores.beside(places.database).others(
            places.database
        )  # before: what moves now counts as moving
        _fill(places, policy, unfinished)
        files = {str(file.relative_to(unfinished)): _digest(file) for file in _files(unfinished)}
        if not files.keys() - {policy.name}:
            raise ConfigurationError(f"{places.directory}: there is nothing to back up; name the data directory")
        manifest = Manifest(
            format=_FORMAT,
            version=version("consent-mw"),
            created=now.astimezone(UTC),
            files=files,
            elsewhere=list(map(without_password, elsewhere)),
        )
        keep(unfinished / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _fill(places: Places, policy: Path, backup: Path) -> None:
    for database in (places.database, places.archive):
        if database.exists():
            to = backup / database.name
            os.close(unlinked(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            sqlite_copy.copy(database, to)
    for directory in (places.revisions, places.wordings):
        for file in sorted(directory.iterdir()) if directory.exists() else ():
            if not file.name.startswith("."):  # such a file is being written at this moment
                make_directory(backup / directory.name)
                copy_file(file, backup / directory.name / file.name)
    # After the store, so that the chain has an entry for each disclosure in the store's copy.
    chain, head = Audit(places.audit, places.audit_head).copied()
    for name, copied in ((places.audit.name, chain), (places.audit_head.name, head)):
        if copied:
            keep(backup / name, copied)
    if policy.exists():
        copy_file(policy, backup / policy.name)


def _clear(target: Path) -> None:
    """Remove the directories that stopped backups left."""
    for path in target.glob(f"*{_UNFINISHED}"):
        shutil.rmtree(path)


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())


def _digest(path: Path) -> str:
    with open(path, "rb", opener=regular) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
