"""The address of a PostgreSQL server: a URL as libpq reads it, with TLS unless the server is this machine."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Set
from itertools import takewhile, zip_longest
from pathlib import Path
from typing import Final, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from consent_mw.exceptions import ConfigurationError

# If a firewall drops the packets, or the server's machine is gone, libpq waits as long as the kernel does: two minutes
# for a connection, a quarter of an hour until what was sent has arrived, two hours for an answer.
_DEFAULTS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
    "application_name": "consent-mw",
}
#: The settings for how a server proves its name, each with the environment variable that sets it too.
_TLS: Final = {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT"}

_Given: TypeAlias = Mapping[str, str | int | None]


def conninfo_of(url: str) -> str:
    """
    Return the connection string. A remote server must prove its name by a certificate (`sslmode=verify-full`, with the
    system's authorities), unless the URL, its service or the environment of libpq says otherwise. A service counts as
    remote, whatever hosts it names.

    Raises:
        ConfigurationError: The URL cannot be read.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error as error:
        # libpq's message repeats the URL, which may hold a password.
        raise ConfigurationError(
            "store 'postgresql://…': cannot be read; write postgresql://user@host/database, with special characters "
            "of the password as %XX"
        ) from error
    said = {*given, *_service(_service_name(given)), *(name for name in _TLS if _TLS[name] in os.environ)}
    wanted: dict[str, str] = {name: value for name, value in _DEFAULTS.items() if name not in said}
    if _is_remote(given) and "sslmode" not in said:
        wanted["sslmode"] = "verify-full"
        if "sslrootcert" not in said and psycopg.pq.version() >= 160_000:
            wanted["sslrootcert"] = "system"
    # Whatever PGCLIENTENCODING, the role or the URL says: every text crosses.
    return make_conninfo(url, client_encoding="UTF8", **wanted)


def place_of(url: str) -> str:
    """Return the URL as an error may show it: no password, no options."""
    given = conninfo_to_dict(url)
    user = f"{given['user']}@" if given.get("user") else ""
    if service := _service_name(given):
        return f"postgresql://{user}/{given.get('dbname') or ''}?service={service}"
    host = _hosts(given)[0] or "localhost"
    port = f":{given['port']}" if given.get("port") else ""
    address = "" if host.startswith("/") else f"{host}{port}"  # the directory of a socket is not a host
    return f"postgresql://{user}{address}/{given.get('dbname') or ''}"


def _is_remote(given: _Given) -> bool:
    # A service fills in what the URL leaves open. This includes `hostaddr`, which wins over a host named here.
    return bool(_service_name(given)) or any(not _is_local(host) for host in _hosts(given))


def _hosts(given: _Given) -> list[str]:
    """Return the hosts to which libpq connects. If an address is given beside the name, it uses the address."""
    names, addresses = (
        str(given.get(name) or os.environ.get(variable) or "").split(",")
        for name, variable in (("host", "PGHOST"), ("hostaddr", "PGHOSTADDR"))
    )
    return [address or name for name, address in zip_longest(names, addresses, fillvalue="")]


def _service_name(given: _Given) -> str:
    return str(given.get("service") or os.environ.get("PGSERVICE") or "")


def _service(name: str) -> Set[str]:
    """
    Return the settings of a service, by name. libpq reads these files as well, in this order. Settings that it finds
    elsewhere (a directory that it was compiled with, LDAP) are not seen here; then the stricter choice is made.
    """
    own, system = os.environ.get("PGSERVICEFILE") or "~/.pg_service.conf", os.environ.get("PGSYSCONFDIR")
    for file in (Path(own).expanduser(), *([Path(system, "pg_service.conf")] if system else [])):
        try:
            lines = [line.strip() for line in file.read_text("utf-8", "replace").splitlines()]
        except OSError:
            continue
        if name and f"[{name}]" in lines:
            section = takewhile(lambda line: not line.startswith("["), lines[lines.index(f"[{name}]") + 1 :])
            return {line.partition("=")[0] for line in section if not line.startswith("#")}
    return frozenset()


def _is_local(host: str) -> bool:
    if not host or host == "localhost" or host.startswith(("/", "@")):
        return True  # without a host libpq takes the socket
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
