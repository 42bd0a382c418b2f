"""A group of commands of which one need not be named: `consent-mw requests` is `consent-mw requests list`."""

from __future__ import annotations

import click


class DefaultGroup(click.Group):
    """Takes its first command for the one that is meant where a call names none: it is bare, or has options only."""

    @property
    def default(self) -> str:
        """The name of that command."""
        return next(iter(self.commands))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front, unless a command is named or help is asked for."""
        named = bool(args) and (not args[0].startswith("-") or args[0] in ctx.help_option_names)
        # What completes a line in the shell has to see that commands may follow.
        return super().parse_args(ctx, args if named or ctx.resilient_parsing else [self.default, *args])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they were made."""
        return list(self.commands)
