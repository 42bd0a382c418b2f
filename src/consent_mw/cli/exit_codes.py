"""The exit codes: those that all commands share, and what `1` means for each command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import click

#: As shells count: 128 and the number of the signal.
INTERRUPTED: Final = 130
HAD_ENOUGH: Final = 141
TERMINATED: Final = 143

#: Of every command.
CODES: Final[Mapping[int, str]] = {
    0: "all is well",
    1: "something is wrong; standard error says what",
    2: "the command was not understood; nothing was done",
    INTERRUPTED: "ended by Ctrl-C",
    HAD_ENOUGH: "the reader of the output closed it (such as head)",
    TERMINATED: "ended by SIGTERM",
}

#: When a command ends with 1, by its path. Anything that keeps it from its work (a file, a store, a key) is meant too.
MEANT_BY_ONE: Final[Mapping[str, str]] = {
    "audit": "verify: an entry was changed, removed or inserted, a disclosure is missing, or a record was changed",
    "backup": "there is nothing to back up, or it could not be written completely; no partial backup is left",
    "check": "the policy cannot be enforced or meant, or contradicts a published revision; "
    "strict: or misses what the law requires",
    "completion": "it could not be written",
    "cookies": "there is no log, or no policy that can be read",
    "demo": "no server is installed (`pip install 'consent-mw[demo]'`), the port is taken, "
    "or its directory cannot be written",
    "disclose add": "it has no basis, names somebody under restriction by consent, or could not be written",
    "disclose list": "there is no ledger that can be read",
    "doctor": "anything that it examined is not as it should be",
    "hosts list": "a host is away, its clock is wrong, or it is late to destroy; or its hosts share nothing",
    "hosts retire": "no such host is known, or it is there",
    "drain": "something could not be moved",
    "export": "the file is there already or cannot be written, personal fields that were asked for cannot be read, or "
    "records were changed",
    "init": "a file is already there, or cannot be written",
    "log": "there is no log or no archive, the access cannot be recorded, or records were changed; "
    "archive: or they could not be opened",
    "policy": "it cannot be read, or has an error",
    "publish": "the revision is rejected: its number, its dates, or an error; nothing was published",
    "purge": "something is overdue, failed or could not be reached, or another process is destroying",
    "receipt verify": "something about the receipt cannot be proven",
    "report": "there is no log, or the file cannot be written",
    "requests add": "it could not be registered",
    "requests answer": "there is no such request, it was answered already, or the site answers it",
    "requests grant": "there is no such request, or none that is granted",
    "requests list": "a request is overdue",
    "requests refuse": "there is no such request, it was answered already, or nobody may refuse it",
    "requests show": "there is no such request, or the access cannot be recorded",
    "restore": "it is no whole backup of this site, the site runs, or something that came after the backup is lost",
    "scan": "the site cannot be visited, time ran out, or the given policy cannot be read",
    "store move": "something is left, or a store is not the site's",
    "store check": "the store cannot be used, something has waited for more than five minutes, or records were changed",
}


#: What `consent-mw --help` ends with.
ALL_EXIT_CODES: Final = "\b\nExit codes:\n" + "\n".join(f"{code:>5}  {meaning}" for code, meaning in CODES.items())


def leaves(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command below `command` that does something, with its path: "log", "store check"."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in sorted(command.list_commands(context)):
        child = command.get_command(context, name)
        if child:
            yield from leaves(child, f"{path} {name}".strip())


def add_exit_codes(command: click.Command) -> None:
    """Let the help of a command, or of each command of a group, end with what exit code 1 means."""
    for path, leaf in leaves(command, command.name or ""):
        if meaning := MEANT_BY_ONE.get(path):
            leaf.epilog = f"{leaf.epilog or ''}\n\nExit code 1: {meaning}. The others: consent-mw --help."
