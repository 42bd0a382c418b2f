"""Every declaration that was published, kept as a file each: what a visitor agreed to can be read again."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from consent_mw.exceptions import ConfigurationError, Fault, PolicyError
from consent_mw.policy.loader import load, loads
from consent_mw.policy.model import Policy
from consent_mw.policy.timeline import Course, begins
from consent_mw.system import durable
from consent_mw.system.locks import in_turn
from consent_mw.system.ownership import content, make_directory
from consent_mw.system.shelf import Kept

_NAME = re.compile(r"(\d{4,6})-([0-9a-f]{12})\.toml")


class Revisions:
    """
    A directory with one file NNNN-DIGEST.toml (mode 0600) for each declaration that was published.

    The first is published by starting the site with it, each later one by `consent-mw publish`. Any number of processes
    may keep and read at once. A file appears whole or not at all, and is never rewritten; its time of modification is
    when it was last put in force.
    """

    def __init__(self, directory: Path) -> None:
        """`directory` need not exist: it is made when the first declaration is kept."""
        self.directory = directory

    def latest(self) -> int | None:
        """
        Return the highest revision that was published, or None.

        Raises:
            ConfigurationError: The directory cannot be read.
        """
        return max((revision for revision, _ in self._kept()), default=None)

    def names(self) -> frozenset[str]:
        """Return the names of the files: another one says that something was published. Raises as `latest`."""
        return frozenset(path.name for _, path in self._kept())

    def numbers(self) -> frozenset[int]:
        """Return every published revision's number. Raises as `latest`."""
        return frozenset(number for number, _ in self._kept())

    def has(self, policy: Policy) -> bool:
        """Return whether this very declaration was published. Raises as `latest`."""
        return _file_name(policy) in self.names()

    def check(self, policy: Policy, now: datetime) -> list[Fault]:
        """
        Return what forbids starting the site with `policy`: it was never published, though another one was.

        `startup_check` decides whether other content under a number in force may replace it.

        Args:
            now: Aware.

        Raises:
            ConfigurationError: The directory cannot be read.
        """
        latest = self.latest()
        if latest is None or self.has(policy):
            return []
        if policy.revision > latest:
            problem = f"revision {policy.revision} was never published, and {latest} was"
            return [Fault(policy.file, "revision", problem, f"run: consent-mw publish {policy.file}")]
        ahead = self.course().ahead(now)
        if policy.revision == latest and ahead is None:
            return self._begun(policy, now)
        which = "is announced" if ahead else "is in force"
        problem = f"revision {policy.revision} is lower than {latest}, which {which}"
        if policy.revision == latest:
            problem = f"revision {latest} was announced with other content"
        return [Fault(policy.file, "revision", problem, f"write revision = {latest + 1}")]

    def _begun(self, policy: Policy, now: datetime) -> list[Fault]:
        """Return what is wrong with another file of the revision in force: it must not say that it is still ahead."""
        if begins(policy) <= now or self.numbers() <= {policy.revision}:
            return []
        problem = f"revision {policy.revision} is in force, and this says that it begins on {policy.effective}"
        fix = f"write revision = {policy.revision + 1} and run: consent-mw publish {policy.file}"
        return [Fault(policy.file, "effective", problem, fix)]

    def keep(self, policy: Policy, text: str) -> Path:
        """
        Keep a declaration that is published or put in force, and return its file. It survives a power cut then.

        Args:
            text: What `policy` was read from, byte for byte.

        Raises:
            ValueError: `text` is another declaration.
            ConfigurationError: The directory cannot be written.
        """
        if hashlib.sha256(text.encode()).hexdigest() != policy.digest:
            raise ValueError(f"the text is not the one that revision {policy.revision} was read from")
        place = self.directory / _file_name(policy)
        try:
            make_directory(self.directory)
            try:
                os.utime(place)
            except FileNotFoundError:
                durable.keep(place, text.encode())
        except OSError as error:
            raise self._failed(error, "give a directory that this user may write") from error
        return place

    def changed(self) -> list[Path]:
        """Return the files whose content is not what their names say. Raises as `latest`, and OSError."""
        kept = sorted(path for _, path in self._kept())
        return [path for path in kept if not hashlib.sha256(content(path)).hexdigest().startswith(path.stem[-12:])]

    @property
    def label(self) -> str:
        """As `Shelf.label`."""
        return "revision"

    def kept(self, name: str) -> Kept:
        """As `Shelf.kept`."""
        place = self.directory / name
        return Kept(content(place).decode(), place.stat().st_mtime_ns)

    def take(self, name: str, kept: Kept) -> None:
        """As `Shelf.take`."""
        try:
            policy = loads(kept.text)
        except PolicyError as error:
            raise ValueError(f"cannot be read here: {error}") from error
        if _file_name(policy) != name:
            raise ValueError("is another declaration than its name says")
        place = self.keep(policy, kept.text)
        os.utime(place, ns=(kept.at_ns, kept.at_ns))

    def read(self, revision: int) -> Policy:
        """
        Return the declaration of `revision`; of several with that number, the one that was put in force last.

        Raises:
            PolicyError: None was kept, or its file was changed since.
            ConfigurationError: The directory cannot be read.
        """
        files = [path for number, path in self._kept() if number == revision]
        if not files:
            raise PolicyError(
                Fault(str(self.directory), "", f"revision {revision} was never kept", "restore it from a backup")
            )
        newest = max(files, key=lambda path: path.stat().st_mtime_ns)
        status = newest.stat()
        policy = _loaded(newest, status.st_mtime_ns, status.st_size)
        if _file_name(policy) != newest.name:
            raise PolicyError(Fault(str(newest), "", "was changed since it was kept", "restore it from a backup"))
        return policy

    def with_digest(self, revision: int, digest: str) -> Policy:
        """
        Return the very declaration that a receipt names: of several with its number, the one with that digest.

        Raises:
            PolicyError: It was not kept, or its file was changed since.
        """
        place = self.directory / f"{revision:04}-{digest[:12]}.toml"
        policy = load(place)
        if policy.digest != digest or policy.revision != revision:
            raise PolicyError(Fault(str(place), "", "was changed since it was kept", "restore it from a backup"))
        return policy

    def before(self, revision: int) -> dict[int, Policy]:
        """
        Return every declaration with a lower revision that can still be read; one that cannot is left out.

        Raises:
            ConfigurationError: The directory cannot be read.
        """
        return {number: policy for number, policy in self._readable().items() if number < revision}

    def course(self, policy: Policy | None = None) -> Course:
        """
        Return every declaration that was published and can still be read.

        Args:
            policy: Replaces the kept one of its number. One whose number was never published is left out, unless
                nothing was.

        Raises:
            ConfigurationError: The directory cannot be read.
        """
        published = self._readable()
        if policy and (policy.revision in published or not published):
            published[policy.revision] = policy
        return Course(published.values())

    @contextmanager
    def alone(self) -> Generator[None]:
        """
        Let one process at a time compare and publish; the others wait. The directory is made if it is missing.

        Raises:
            ConfigurationError: The directory cannot be written.
        """
        with ExitStack() as turn:
            try:
                make_directory(self.directory)
                turn.enter_context(in_turn(self.directory))
            except OSError as error:
                raise self._failed(error, "give a directory that this user may write") from error
            yield

    def _readable(self) -> dict[int, Policy]:
        readable: dict[int, Policy] = {}
        for number in self.numbers():
            with suppress(PolicyError):
                readable[number] = self.read(number)
        return readable

    def _kept(self) -> list[tuple[int, Path]]:
        try:
            paths = list(self.directory.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._failed(error, "let this user read the directory") from error
        return [(int(match[1]), path) for path in paths if (match := _NAME.fullmatch(path.name))]

    def _failed(self, error: OSError, fix: str) -> ConfigurationError:
        return ConfigurationError(f"{self.directory}: the revisions failed ({error.strerror}); {fix}")


@lru_cache(maxsize=256)
def _loaded(file: Path, modified_ns: int, size_bytes: int) -> Policy:
    """Read a file once for as long as it stays the same: at the start several ask for all of them."""
    return load(file)


def _file_name(policy: Policy) -> str:
    return f"{policy.revision:04}-{policy.digest[:12]}.toml"
