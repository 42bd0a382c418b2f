"""A day or an instant as people write it on the command line, and as commands write it back."""

from __future__ import annotations

from datetime import datetime

import click

__all__ = ["Instant", "local", "local_json"]


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
            self.fail(f'"{value}" is no time; write 2026-11-23 or 2026-11-23T09:00+09:00', param, ctx)


def local(instant: datetime) -> str:
    """Return an instant (aware) in this machine's time zone, with its offset, to the minute."""
    return instant.astimezone().isoformat(sep=" ", timespec="minutes")


def local_json(instant: datetime) -> str:
    """Return the same for other programs: ISO 8601, to the second."""
    return instant.astimezone().isoformat(timespec="seconds")
