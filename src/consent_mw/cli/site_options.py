"""The options by which a command finds its site."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from consent_mw.paths import DATA_DIRECTORY, Places

_Command = TypeVar("_Command", bound=Callable[..., Any])


def by_policy(command: _Command) -> _Command:
    """Give a command that reads the declaration the options that say which site is meant; see `places_of`."""
    command = click.option("--directory", type=click.Path(path_type=Path), help="Another data directory.")(command)
    return click.option(
        "--policy",
        "file",
        type=click.Path(path_type=Path),
        default="policy.toml",
        show_default=True,
        help="The site's declaration; its data directory is consent-data beside it.",
    )(command)


def places_of(file: Path, directory: Path | None) -> Places:
    """Return the places of the site that the options of `by_policy` name."""
    return Places(directory) if directory else Places.beside(file)


def where(command: _Command) -> _Command:
    """Give a command that needs the data alone the options that say which site is meant."""
    return click.option(
        "--directory",
        type=click.Path(path_type=Path),
        default=DATA_DIRECTORY,
        show_default=True,
        help="The site's data directory: its store and its keys.",
    )(other_store(command))


def other_store(command: _Command) -> _Command:
    """Give a command the option that says where the records are, if they are not in the directory."""
    return click.option(
        "--store", "url", help="Another store than the one in the directory, such as postgresql://user@host/db."
    )(command)


def log_store(command: _Command) -> _Command:
    """Give a command that reads visits the option that says where they are."""
    return click.option(
        "--log-store",
        "log_urls",
        multiple=True,
        help="Where visits and events are, if the site has log_store=; may be repeated.",
    )(command)
