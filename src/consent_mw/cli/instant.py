"""A day or an instant as people write it on the command line."""

from __future__ import annotations

from datetime import datetime

import click


class Instant(click.ParamType[datetime]):
    """A day or an instant in ISO 8601, local where it has no offset."""

    name = "TIME"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the instant (aware). A day is its first moment."""
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(value.strip()).astimezone()
        except (ValueError, OverflowError):
            self.fail(f'"{value}" is not a time; write 2026-11-23 or 2026-11-23T09:00+09:00', param, ctx)
