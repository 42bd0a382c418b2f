"""What a member of staff is about to read, and who they are, as the audit trail records it."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Sequence
from typing import NamedTuple


class Errand(NamedTuple):
    """
    What a member of staff is about to read.

    Attributes:
        command: The command line, without the name of the program.
        purposes: The purposes whose personal fields are to be read. If it is empty, no personal field is read.
        reason: Why staff read them; None if no reason was given.
        name: The name that the member of staff gave, or "".
        since, until: ISO 8601, or "".
        basis: The legal basis for opening the archive; "" for the live store.
        laws: For the archive: the laws that demand to keep these records, as the policy declares them.
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
        """Whether the errand reads personal fields and leaves a trace."""
        return self.reason is not None or bool(self.basis)


def staff(name: str) -> str:
    """Return in one line who acts here: the given name, if any, and the account."""
    account = f"{_user()}@{socket.gethostname()}"
    return f"{name}, {account}" if name else account


def who(errand: Errand) -> dict[str, object]:
    """Return the facts about an errand that the audit chain records."""
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
    """Return the account of this process. Not from the environment, which the user can set freely."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
