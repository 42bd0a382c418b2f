"""Where a PostgreSQL server is: a URL as libpq reads it, with TLS unless it is this machine."""

from __future__ import annotations

import ipaddress
import os
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from consent_mw.exceptions import ConfigurationError

__all__ = ["conninfo_of", "place_of"]

# Past a firewall that drops packets, libpq waits for as long as the kernel does: two minutes.
_DEFAULTS: Final = {"connect_timeout": "10", "application_name": "consent-mw"}


def conninfo_of(url: str) -> str:
    """
    Return what to connect with. A remote server must prove its name by a certificate (`sslmode=verify-full`, with
    the system's authorities), unless the URL or the environment of libpq says otherwise.

    Raises:
        ConfigurationError: The URL cannot be read.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error as error:
        # libpq repeats the URL, and with it a password.
        raise ConfigurationError(
            "store 'postgresql://…': cannot be read; write postgresql://user@host/database, with special characters "
            "of the password as %XX"
        ) from error
    wanted: dict[str, str] = {name: value for name, value in _DEFAULTS.items() if name not in given}
    if _is_remote(given) and "sslmode" not in given and "PGSSLMODE" not in os.environ:
        wanted["sslmode"] = "verify-full"
        if "sslrootcert" not in given and "PGSSLROOTCERT" not in os.environ and psycopg.pq.version() >= 160_000:
            wanted["sslrootcert"] = "system"
    return make_conninfo(url, **wanted)


def place_of(url: str) -> str:
    """Return the URL as an error may show it: no password, no options."""
    given = conninfo_to_dict(url)
    user = f"{given['user']}@" if given.get("user") else ""
    host = _hosts(given)[0] or "localhost"
    port = f":{given['port']}" if given.get("port") else ""
    address = "" if host.startswith("/") else f"{host}{port}"  # a socket's directory is no host
    return f"postgresql://{user}{address}/{given.get('dbname') or ''}"


def _is_remote(given: dict[str, str | int | None]) -> bool:
    return any(not _is_local(host) for host in _hosts(given))


def _hosts(given: dict[str, str | int | None]) -> list[str]:
    named = given.get("hostaddr") or given.get("host") or os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST") or ""
    return str(named).split(",")


def _is_local(host: str) -> bool:
    if not host or host == "localhost" or host.startswith(("/", "@")):
        return True  # without a host libpq takes the socket
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
