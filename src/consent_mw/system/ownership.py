"""Detect whether another user of this machine could replace one of our files."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from consent_mw.exceptions import ConfigurationError

_ROOT = 0


def make_directory(directory: Path, mode: int = 0o700) -> None:
    """
    Make the directory, and what is missing above it for no other to write, whatever the umask. What root makes belongs
    to the owner of the directory above. Raises OSError.
    """
    for above in reversed(directory.parents):
        if not above.exists():
            _make(above, 0o755)
    if not directory.exists():
        _make(directory, mode)


def regular(path: str | os.PathLike[str], flags: int) -> int:
    """
    Open a file, for `open(opener=…)` and by itself: never a pipe or a device, which may have no end, or wait for
    somebody.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)  # of a regular file O_NONBLOCK changes nothing
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, os.strerror(number) if stat.S_ISDIR(mode) else "is not a regular file", os.fspath(path))
    return fd


def content(path: Path) -> bytes:
    """Return what is in a file. Raises OSError as `regular`."""
    with open(path, "rb", opener=regular) as file:
        return file.read()


def unlinked(path: str | os.PathLike[str], flags: int) -> int:
    """
    Open a file of ours as `regular`, and never what a symbolic link in its place leads to. What root makes belongs to
    the owner of the directory.
    """
    fd = regular(path, flags | os.O_NOFOLLOW)
    if flags & os.O_CREAT:
        give_to_owner(fd, Path(path).parent)
    return fd


def give_to_owner(fd: int, directory: Path) -> None:
    """
    Give an open file or directory, which root has made in `directory`, to that one's owner: a command run by root
    (`docker exec`, `sudo`) must leave nothing that the site cannot use. Raises OSError; `fd` is closed then.
    """
    if os.geteuid() != _ROOT:
        return
    try:
        status, above = os.fstat(fd), _status(directory)
        # With another name elsewhere it may be a file of root's own that the owner has linked to here.
        alone = stat.S_ISDIR(status.st_mode) or status.st_nlink == 1
        if status.st_uid == _ROOT != above.st_uid and alone:
            os.fchown(fd, above.st_uid, above.st_gid)
    except OSError:
        os.close(fd)
        raise


def _status(directory: Path) -> os.stat_result:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _make(directory: Path, mode: int) -> None:
    directory.mkdir(mode=mode, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    give_to_owner(fd, directory.parent)
    os.close(fd)


def check_directory(directory: Path, within: Path | None = None) -> None:
    """
    Refuse a directory in which another user could replace a file, or that another user could replace.

    It must belong to this user or to root, and only they may write it; a group may that no other account is in. Nobody
    else may write a directory above it, but where it is sticky as /tmp is. A link on the way is followed.

    The owners of the directories above are trusted: they mostly hold the program as well. Root trusts the owner of the
    directory, whose site it looks after.

    Args:
        within: The data directory that it is a part of: nobody else's may it be than that one's.

    Raises:
        ConfigurationError: Another user could; the message has the command that ends it.
        OSError: It is not there, or cannot be looked at.
    """
    status = directory.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(f"{directory}: is not a directory; move it away, and put back the one that was there")
    trusted = _trusted(within.stat() if within else status)
    for owned in (directory.lstat(), status):  # a link, and what it leads to
        _check_owner(directory, owned, trusted)
    _check_writers(directory, status, trusted)
    for entry in _way(directory):
        _check_above(entry, trusted)


def check_file(path: Path) -> None:
    """
    Refuse anything but a regular file (a pipe, a directory, a link), and a file that belongs to another user or may be
    written by one. One that is not there is fine. The directory was checked before.

    Raises:
        ConfigurationError: With the command that ends it.
        OSError: It cannot be looked at.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise ConfigurationError(
            f"{path}: is a symbolic link, which is not followed; put the file here: mv {os.path.realpath(path)} {path}"
        )
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{path}: is not a regular file; move it away, and put back the file that was there")
    trusted = _trusted(path.parent.stat())
    _check_owner(path, status, trusted)
    _check_writers(path, status, trusted)


def _trusted(status: os.stat_result) -> frozenset[int]:
    """Return the users that may own the files in a directory: root and this user; for root, the directory's own
    user."""
    me = os.geteuid()
    if me != _ROOT:
        return frozenset((_ROOT, me))
    if status.st_uid != _ROOT:
        return frozenset((_ROOT, status.st_uid))
    group = _members(status.st_gid) - {_ROOT} if status.st_mode & stat.S_IWGRP else frozenset[int]()
    return frozenset((_ROOT, *group)) if len(group) == 1 else frozenset((_ROOT,))


def _check_owner(path: Path, status: os.stat_result, trusted: frozenset[int]) -> None:
    if status.st_uid not in trusted:
        owner, me = _user(status.st_uid), _user(os.geteuid())
        raise ConfigurationError(
            f"{path}: belongs to {owner}, who could replace the keys; run this as {owner}, or give it to this user: "
            f"chown -hR {me} {path}"
        )


def _check_writers(path: Path, status: os.stat_result, trusted: frozenset[int]) -> None:
    others = ""
    if status.st_mode & stat.S_IWOTH:
        others = "every user"
    elif status.st_mode & stat.S_IWGRP:
        if _members(status.st_gid) - trusted:
            others = f"the group {_group(status.st_gid)}"
        elif _has_access_list(path):
            others = "whoever is in its access list (getfacl)"
    if others:
        raise ConfigurationError(
            f"{path}: may be written by {others}, who could replace the keys; run: chmod go-w {path}"
        )


def _check_above(entry: Path, trusted: frozenset[int]) -> None:
    above = entry.parent
    status = above.stat()
    if not status.st_mode & stat.S_IWOTH:
        return
    if not status.st_mode & stat.S_ISVTX:
        raise ConfigurationError(
            f"{above}: may be written by every user, who could replace {entry}; run: chmod o-w {above}, or give a "
            "directory elsewhere"
        )
    # In a sticky directory only its owner and the entry's may move the entry.
    _check_owner(entry, entry.lstat(), trusted)
    _check_owner(above, status, trusted)


def _way(path: Path) -> Iterator[Path]:
    """Yield each entry that leads to `path`, itself first, and those that links on the way lead through."""
    path = path.absolute()
    for entry in (path, *path.parents[:-1]):
        yield entry
        if entry.is_symlink():
            yield from _way(entry.parent / entry.readlink())


def _members(gid: int) -> frozenset[int]:
    """Return the users that the machine knows to be in a group; of one without a name, as in containers, nobody is."""
    try:
        named = grp.getgrgid(gid).gr_mem
    except KeyError:
        named = []
    members = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == gid or user.pw_name in named}
    return frozenset(members)


def _has_access_list(path: Path) -> bool:
    """Whether single users were let in (acl(5)); the mode's group bits then say what these may at most."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except (AttributeError, OSError):  # not Linux, or a file system without
        return False


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
