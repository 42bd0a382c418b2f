"""What somebody of the staff is about to read, and who they are: what the audit trail says of it."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Errand", "staff", "who"]


class Errand(NamedTuple):
    """
    What somebody is about to read.

    Attributes:
        command: As it was called, without the name of the program.
        purposes: Those whose personal fields are meant; none is no personal field at all.
        since, until: ISO 8601, or "".
        reason: Why; None where it was not given.
        basis: Of the archive: on what legal basis it is opened; "" for the live store.
        laws: Of the archive: what demanded that these records are held, as the policy declares it.
    """

    command: str
    purposes: Sequence[str]
    reason: str | None
    name: str = ""
    since: str = ""
    until: str = ""
    basis: str = ""
    laws: Sequence[str] = ()

    @property
    def personal(self) -> bool:
        """Whether personal fields are read, and a trace is left."""
        return self.reason is not None or bool(self.basis)


def staff(name: str) -> str:
    """Return who acts here, in one line: the account, and the name that was given with it."""
    account = f"{_user()}@{socket.gethostname()}"
    return f"{name}, {account}" if name else account


def who(errand: Errand) -> dict[str, object]:
    """Return what the audit chain says of an errand."""
    facts: dict[str, object] = {
        "user": _user(),
        "sudo": os.environ.get("SUDO_USER", ""),
        "as": errand.name,
        "host": socket.gethostname(),
        "command": errand.command,
        "purposes": list(errand.purposes),
        "since": errand.since,
        "until": errand.until,
        "reason": errand.reason,
        "basis": errand.basis,
        "laws": list(errand.laws),
    }
    return {name: value for name, value in facts.items() if value}


def _user() -> str:
    """The account of this process. Not from the environment, which says what one likes."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
