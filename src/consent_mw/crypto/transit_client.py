"""The few calls that a keyring makes to a key service: OpenBao's or Vault's transit engine, over HTTPS."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple, cast
from urllib.parse import parse_qsl, quote, urlsplit

from consent_mw.exceptions import ConfigurationError, KeyringUnreachable
from consent_mw.system.ownership import content

#: A call takes a millisecond. A service that takes longer than this counts as away.
_TIMEOUT_SECONDS: Final = 2.0
#: After this long no further member is asked: the next call begins with it.
_PATIENCE_SECONDS: Final = 1.9
_TOKEN_VARIABLES: Final = ("BAO_TOKEN", "VAULT_TOKEN")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_OPTIONS: Final = frozenset({"site", "ca", "token_file", "namespace", "tls"})
_PORT: Final = 8200
_EXISTS, _NO_SUCH_KEY, _REFUSED, _NOT_FOUND, _TOO_OLD = range(200, 300), 400, 403, 404, 412
_EXAMPLE: Final = "openbao://bao.example:8200/transit?site=shop"


class Address(NamedTuple):
    """
    What a URL says: `openbao://HOST:PORT,HOST:PORT/MOUNT?site=…`.

    Attributes:
        servers: Host and port of each member of the cluster.
        mount: The path of the transit engine.
        site: What the names of this site's keys begin with.
        ca: A file of certificates to trust instead of the system's.
        token_file: The file that holds the token. Without it the token is in BAO_TOKEN or VAULT_TOKEN.
    """

    servers: tuple[tuple[str, int], ...]
    mount: str = "transit"
    site: str = "consent"
    ca: str = ""
    token_file: str = ""
    namespace: str = ""
    tls: str = "yes"

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse a URL. Raises ConfigurationError, which never repeats the URL: somebody may have put a token in it."""
        scheme, _, _ = url.partition("://")
        if scheme != "openbao":
            raise _wrong(f'its scheme is "{scheme[:20]}"')
        try:
            parts = urlsplit(url)
            servers = tuple(_server(server) for server in parts.netloc.split(","))
            options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        except ValueError as error:
            raise _wrong("it cannot be read") from error
        if "@" in parts.netloc or "token" in options:
            raise ConfigurationError(
                "keyring: a token or a password does not belong in a URL, which logs and process lists show; "
                "give it in the environment variable BAO_TOKEN, or its file with ?token_file="
            )
        if unknown := options.keys() - _OPTIONS:
            raise _wrong(f"{min(unknown)[:40]!r} is none of {', '.join(sorted(_OPTIONS))}")
        address = cls(servers, mount=parts.path.strip("/") or "transit", **options)
        if not address.site.replace("-", "").isalnum() or not address.site.isascii() or len(address.site) > 40:
            raise _wrong("site= has other characters than letters, digits and -, or more than 40")
        if address.tls not in ("yes", "no") or (address.tls == "no" and {host for host, _ in servers} - _LOOPBACK):
            raise _wrong("tls=no is only for a server or an agent on 127.0.0.1")
        return address

    def __str__(self) -> str:
        return f"openbao://{','.join(f'{host}:{port}' for host, port in self.servers)}/{self.mount}"


class Reply(NamedTuple):
    """What the service answered: the HTTP status, and "data" of its JSON."""

    status: int
    data: Mapping[str, Any]

    @property
    def is_there(self) -> bool:
        """Whether there is such a key."""
        return self.status in _EXISTS


class TransitClient:
    """
    One connection, shared by the threads of a process, to the member of the cluster that leads.

    Other members answer too, from what they know, which may be older: a key that was just made is not there, one that
    was just deleted still is. So the leader is looked for at every connection and every two seconds; and each call
    says how new the answer must be (X-Vault-Index), which also a load balancer's member heeds.

    Attributes:
        now: When a member answered last, by its own clock (aware); None if none did.
    """

    def __init__(self, address: Address) -> None:
        """Raises ConfigurationError if the certificates cannot be read."""
        self.address = address
        self._lock = Lock()
        self._pid = os.getpid()
        self._connection: http.client.HTTPConnection | None = None
        self._first = 0
        self._leads_until = 0.0
        self._index = ""
        self.now: datetime | None = None
        self._namespace = {"X-Vault-Namespace": address.namespace} if address.namespace else {}
        try:
            self._tls = ssl.create_default_context(cafile=address.ca or None) if address.tls == "yes" else None
        except OSError as error:
            raise ConfigurationError(f"keyring: ca={address.ca}: {error}; name a file of PEM certificates") from error

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Reply:
        """
        Return the answer to one call; `path` is relative to the engine's mount. No such key is an answer too.

        Raises:
            KeyringUnreachable: No member answers, or the service refuses; the message says why and what to do.
        """
        content = None if body is None else json.dumps(body).encode()
        token, path = {"X-Vault-Token": self._token()}, f"/v1/{quote(self.address.mount)}/{path}"
        trouble, until = "", time.monotonic() + _PATIENCE_SECONDS
        with self._own_lock():
            for _ in self.address.servers:
                if trouble and time.monotonic() > until:
                    break
                try:
                    if not self._leads():
                        trouble = trouble or "no member leads; see that the cluster is whole and unsealed"
                        self._next_member()
                        continue
                    status, answer = self._asked(method, path, content, token)
                except (OSError, http.client.HTTPException, ValueError) as error:
                    trouble = f"{type(error).__name__}: {error}"
                else:
                    trouble = _trouble(status, answer)
                    if not trouble:
                        return Reply(status, answer.get("data") or {})
                    if status == _REFUSED:
                        break
                self._next_member()
        raise KeyringUnreachable(f"{self.address}: {trouble}")

    def close(self) -> None:
        """End the connection; the next call makes another."""
        with self._own_lock():
            self._drop()

    def _own_lock(self) -> Lock:
        # After a fork the parent's connection is not ours, and a thread of it may hold the lock.
        if self._pid != os.getpid():
            self._pid, self._lock, self._connection = os.getpid(), Lock(), None
        return self._lock

    def _leads(self) -> bool:
        """Whether the member that is asked leads; of a single one that is not known, since it may be a balancer."""
        now = time.monotonic()
        if len(self.address.servers) == 1 or (self._connection is not None and now < self._leads_until):
            return True
        status, answer = self._asked("GET", "/v1/sys/health", None, {})
        if answer.get("sealed"):
            raise OSError("it is sealed; unseal it")
        self._leads_until = now + _TIMEOUT_SECONDS
        return status in _EXISTS

    def _asked(
        self, method: str, path: str, content: bytes | None, token: Mapping[str, str]
    ) -> tuple[int, dict[str, Any]]:
        index = {"X-Vault-Index": self._index} if self._index else {}
        headers = {"X-Vault-Request": "true", **self._namespace, **index, **token}
        kept = self._connection is not None
        try:
            response = self._sent(method, path, content, headers)
        except (ConnectionError, http.client.HTTPException):
            if not kept:
                raise
            self._drop()  # the service had ended the idle connection: every call may be repeated
            response = self._sent(method, path, content, headers)
        text = response.read()
        with suppress(ValueError, TypeError):  # what stands between may leave it out
            self.now = parsedate_to_datetime(response.headers["Date"])
        # An older index is none of a cluster that was restored from a snapshot: then the next call begins anew.
        self._index = "" if response.status == _TOO_OLD else response.getheader("X-Vault-Index") or self._index
        answer: Any = json.loads(text) if text else {}
        return response.status, cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}

    def _sent(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = self._new_connection()
        self._connection.request(method, path, content, dict(headers))
        return self._connection.getresponse()

    def _new_connection(self) -> http.client.HTTPConnection:
        host, port = self.address.servers[self._first]
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
        return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=self._tls)

    def _next_member(self) -> None:
        self._drop()
        self._first = (self._first + 1) % len(self.address.servers)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _token(self) -> str:
        # Read for each call: an agent renews the file.
        if file := self.address.token_file:
            try:
                token = content(Path(file)).decode("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise KeyringUnreachable(
                    f"{self.address}: token_file={file}: {error}; let this user read the token there"
                ) from error
        else:
            token = next((os.environ[name] for name in _TOKEN_VARIABLES if os.environ.get(name)), "").strip()
        if not token or not token.isprintable() or not token.isascii():
            raise KeyringUnreachable(
                f"{self.address}: there is no token; set {_TOKEN_VARIABLES[0]}, or name its file with ?token_file="
            )
        return token


def _server(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(text)
    return parts.hostname, parts.port or _PORT


def _wrong(problem: str) -> ConfigurationError:
    return ConfigurationError(f'keyring: the URL of the key service is wrong: {problem}; write "{_EXAMPLE}"')


def _trouble(status: int, answer: Mapping[str, Any]) -> str:
    """Return what is wrong with the service, and what to do; "" if it only knows no such key."""
    errors = answer.get("errors")
    message = "; ".join(str(error)[:200] for error in errors) if isinstance(errors, list) else ""  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - JSON of a service
    if status in _EXISTS:
        return ""
    if status == _REFUSED:
        return f"{message}; give a token whose policy allows what docs/key-service.md lists, and look at its end"
    if status == _NOT_FOUND and "no handler" in message:
        return f"{message}; mount the engine there: bao secrets enable transit"
    if status == _NOT_FOUND or (status == _NO_SUCH_KEY and ("not found" in message or "no existing key" in message)):
        return ""
    return f"HTTP {status}: {message or 'no reason given'}; see that the cluster has a leader and is unsealed"
