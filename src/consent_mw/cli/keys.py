"""Where a command finds the keys: in the data directory, or in a keyring that the site wrote itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar, cast

import click

from consent_mw.cli.clock import now_ns
from consent_mw.crypto.keyring import FileKeyring, ForeignKeyring, Keyring
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.crypto.transit import TransitKeyring, is_transit
from consent_mw.exceptions import ConfigurationError
from consent_mw.paths import Places, cut_off

_Command = TypeVar("_Command", bound=Callable[..., Any])


def ring_option(command: _Command) -> _Command:
    """Give a command the option that says where the keys are."""
    return click.option(
        "--keyring",
        "ring",
        metavar="MODULE:NAME|URL",
        help="The site's own keyring=, or a function that makes it, if the keys are not in the data directory; or the "
        "URL of its key service, openbao://…",
    )(command)


def keyring_at(places: Places, ring: str | None) -> Keyring | None:
    """
    Return the keyring that is meant; None where there is no key file, which opening would make.

    Raises:
        ConfigurationError: The key file cannot be used, or `ring` names no keyring.
    """
    if ring is None:
        if not places.keys.exists():
            return None
        if line := cut_off(places.keys):  # which opening would fill with a new keyring
            raise ConfigurationError(line)
        if places.host_book.exists():
            from consent_mw.hosts.keyring import SharedKeyring  # a sixth of a command's start, for sites with hosts

            return SharedKeyring.of_site(places, SiteKeys.read(places.site_keys))
        return FileKeyring(places.keys)
    if is_transit(ring):
        service = TransitKeyring(ring, kept=places.keyring_name, clock=now_ns)
        if not places.keys.exists():
            return service
        from consent_mw.hosts.succession import after_own_keys

        return after_own_keys(service, places, SiteKeys.read(places.site_keys))
    module, _, name = ring.partition(":")
    sys.path.insert(0, os.getcwd())  # as servers find an application
    try:
        given: Any = getattr(import_module(module), name)
        return ForeignKeyring(cast("Keyring", given() if callable(given) else given))
    except Exception as error:
        raise ConfigurationError(
            f"--keyring {ring}: {type(error).__name__}: {error}; name what ConsentMiddleware gets as keyring=, "
            "such as my_keyring:keyring"
        ) from error
    finally:
        sys.path.remove(os.getcwd())
