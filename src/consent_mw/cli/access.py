"""How a command learns who reads and why, and how it reports what was left out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import click

from consent_mw.cli.clock import utc_now
from consent_mw.cli.keys import keyring_at
from consent_mw.cli.terminal import complain
from consent_mw.crypto.keyring import Keyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError
from consent_mw.paths import Places
from consent_mw.staff.access import Access
from consent_mw.staff.access import accessing as accessing_with
from consent_mw.staff.errand import Errand

_Command = TypeVar("_Command", bound=Callable[..., Any])


def from_whom(command: _Command) -> _Command:
    """Give a command the options that say who reads, and why."""
    command = click.option("--as", "name", default="", help="Your name, if the account does not say it.")(command)
    return click.option("--reason", help="Why personal fields are read. They stay sealed without one.")(command)


def sealer_of(places: Places, ring: str | None) -> Sealer:
    """
    Return what seals and opens the records of the site.

    Raises:
        ConfigurationError: Its keys are not here, or cannot be used.
    """
    keyring = keyring_at(places, ring)
    if keyring is None:
        raise ConfigurationError(
            f"{places.keys}: there is no key file here; run this where the site's keys are, or name its --directory"
        )
    return Sealer.of_site(places, keyring)


def asked(errand: Errand) -> Errand:
    """
    Return the errand with its reason: asked for at a terminal where it is missing.

    Raises:
        click.UsageError: There is a reason and no purpose.
    """
    if errand.reason is not None and not errand.purposes:
        raise click.UsageError("a reason opens the personal fields of a purpose; add --purpose")
    reason = errand.reason
    if reason is None and errand.purposes and sys.stdin.isatty() and sys.stderr.isatty():
        reason = click.prompt(
            "Why do you read personal fields? It is recorded (Enter: they stay sealed)",
            default="",
            show_default=False,
            err=True,
        )
    return errand._replace(reason=(reason or "").strip() or None)


def accessing(places: Places, errand: Errand, keyring: Keyring | None) -> AbstractContextManager[Access]:
    """As `consent_mw.staff.access.accessing`, for who sits at a terminal."""
    return accessing_with(places, errand, keyring, note, utc_now)


def note(text: str) -> None:
    """Say something beside the output."""
    complain(f"note: {text}")
