"""The commands by name. A command's module is imported when the command is called, or when its own help is shown."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final, cast

import click

from consent_mw.cli.exit_codes import add_exit_codes

#: The variable through which a shell asks for completions.
COMPLETING: Final = "_CONSENT_MW_COMPLETE"

#: Each command, defined under its name in the module of that name, and what it does in a line. Importing all of them
#: takes longer than most of them run.
COMMANDS: Final[Mapping[str, str]] = {
    "audit": "Show who read personal fields; verify that chain.",
    "backup": "Back up a site's records, policies and audit.",
    "check": "Check a policy: what it promises, or every error.",
    "completion": "Write the script for a shell's completion.",
    "cookies": "List the undeclared cookies that were seen.",
    "demo": "Run a demonstration site.",
    "disclose": "Record what was given to others, or list it.",
    "doctor": "Examine the whole site.",
    "drain": "Move records from the spool to the store.",
    "export": "Write records to a file, the oldest first.",
    "hosts": "List or retire the hosts that share the keys.",
    "init": "Write a policy.toml and a key.",
    "log": "Show the latest records, the newest last.",
    "policy": "Write a policy as one document.",
    "publish": "Publish a new revision of the policy.",
    "purge": "Destroy what has ended.",
    "receipt": "Prove what a visitor was asked and answered.",
    "report": "Summarise the days, from counts that identify nobody.",
    "requests": "List what visitors asked for, and answer them.",
    "restore": "Put a backup in place.",
    "scan": "Visit a site and propose declarations for its cookies.",
    "store": "Check the store, or move it.",
}


class CommandsByModule(click.Group):
    """A group whose commands are `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, with its exit codes in its help; None if there is no such command."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            command = cast("click.Command", getattr(import_module(f"consent_mw.cli.{cmd_name}"), cmd_name))
            add_exit_codes(command)
            self.add_command(command)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does, without importing it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
