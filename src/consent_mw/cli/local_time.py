"""Instants as commands write them: in this machine's time zone, with its offset."""

from __future__ import annotations

from datetime import datetime


def local(instant: datetime) -> str:
    """Return an instant (aware) for people, to the minute: "2026-11-23 09:00+09:00"."""
    return instant.astimezone().isoformat(sep=" ", timespec="minutes")


def local_json(instant: datetime) -> str:
    """Return it for other programs, to the second: "2026-11-23T09:00:00+09:00"."""
    return instant.astimezone().isoformat(timespec="seconds")
