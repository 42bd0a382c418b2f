"""Several hosts of one site as real processes: a data directory each, the same policy and secret, one PostgreSQL."""

from __future__ import annotations

import os
import signal
import ssl
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from tests.support import preloaded
from tests.support.policies import POLICY
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer

from consent_mw.hosts.identity import Identity
from consent_mw.paths import Places

SITE = """
import os
import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from consent_mw import ConsentMiddleware, get_consent
from consent_mw.hosts import hosts

hosts._SYNC_SECONDS = 0.5  # every two seconds a host asks for news of the others: most of what a test would wait for


async def home(request):
    response = HTMLResponse("<!doctype html><title>Hello</title><body><h1>Hello</h1></body>")
    response.set_cookie("theme", "dark")
    return response


async def search(request):
    get_consent(request).record_event("search", results=int(request.query_params.get("n", 12)))
    return PlainTextResponse("found")


class Ahead:  # of the machine's clock, by so many seconds as a file says: all hosts of a fleet at once
    invented = True

    def __call__(self):
        return time.time_ns() + int(AHEAD.read_text()) * 10**9


AHEAD = Path("../ahead")
clock = Ahead() if AHEAD.exists() else time.time_ns
inner = Starlette(routes=[Route("/", home), Route("/search", search)])
app = ConsentMiddleware(inner, policy="policy.toml", secret_keys=[os.environ["SECRET"]], store=os.environ["STORE"],
                        log_store=os.environ.get("LOGS", "").split(), keyring=os.environ.get("KEYRING") or None,
                        clock=clock)
"""
SECRET = "a secret of at least 16 bytes"
#: Nothing here speaks TLS, and to read everybody's certificates takes longer than to answer.
_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Host:
    """One host, running or not."""

    def __init__(self, directory: Path, store: str, secret: str = SECRET, policy: str = POLICY) -> None:
        directory.mkdir()
        (directory / "policy.toml").write_text(policy, "utf-8")
        (directory / "fleet_site.py").write_text(SITE)
        self.directory = directory
        self.data = directory / "consent-data"
        self.store = store
        self.secret = secret
        self.logs: list[str] = []
        self.keyring = self.token = ""  # the URL of a key service, and the token for it
        self.port = free_port()
        self._process: preloaded.Process | None = None

    def begin(self) -> None:
        """Start it; `wait` returns when it answers."""
        words = ("-m", "uvicorn", "fleet_site:app", "--port", str(self.port), "--no-access-log")
        said = self.directory / "said.txt"
        self._process = preloaded.begin(*words, cwd=self.directory, env=self.environment, said=said)

    def wait(self) -> None:
        """Return when it answers."""
        assert self._process is not None

        def answers() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, self.said
            try:
                return httpx.get(f"{self.url}/", timeout=30, verify=_PLAIN).status_code == 200
            except httpx.HTTPError:
                return False

        until(answers)

    def begin_again(self) -> None:
        """Start it if it does not run, and return when it answers."""
        if not self.is_running:
            self.begin()
        self.wait()

    def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def end(self) -> None:
        """Ask it to end, and wait for that."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
            self._process = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        path = os.pathsep.join([str(self.directory), *sys.path])
        variables = {"STORE": self.store, "LOGS": " ".join(self.logs), "SECRET": self.secret}
        variables |= {"KEYRING": self.keyring, "BAO_TOKEN": self.token}
        return {**os.environ, "PYTHONPATH": path, **variables}

    @property
    def id(self) -> str:
        """What the other hosts call it."""
        return Identity(Places(self.data).host_identity).id.hex()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        """What it wrote on its outputs."""
        return (self.directory / "said.txt").read_text()


class Front(NamedTuple):
    """What stands before the hosts of a fleet."""

    url: str


class Visitor:
    """Somebody with one browser, whom a load balancer sends to any host."""

    def __init__(self, browser: str = "Mozilla/5.0 Firefox/140.0") -> None:
        self._client = httpx.Client(timeout=60, verify=_PLAIN, headers={"Accept-Language": "en", "User-Agent": browser})

    def get(self, host: Host | Front, path: str, **options: Any) -> httpx.Response:
        return self._client.get(host.url + path, **options)

    def post(self, host: Host | Front, path: str, **options: Any) -> httpx.Response:
        headers = {"Origin": host.url, "Accept": "application/json"}
        return self._client.post(host.url + path, headers=headers, **options)

    def accept(self, host: Host | Front) -> None:
        assert self.post(host, "/consent/choice", data={"choice": "accept"}).status_code in (200, 303)

    def held(self, host: Host | Front) -> dict[str, Any]:
        """My data, as a host tells it."""
        answer = self.get(host, "/consent/my-data.json")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def close(self) -> None:
        self._client.close()


@contextmanager
def fleet(
    directory: Path, postgres: PostgresServer, *names: str, policy: str = POLICY, logs: Sequence[str] = ()
) -> Generator[list[Host]]:
    """Give hosts that run, with a database of their own, each with another first log; at the end they are killed."""
    store = postgres.database()
    hosts = [Host(directory / name, store, policy=policy) for name in names]
    try:
        for number, host in enumerate(hosts):
            host.logs = [*logs[number:], *logs[:number]]
            host.begin()
        for host in hosts:
            host.wait()
        yield hosts
    finally:
        for host in hosts:
            host.kill()


@contextmanager
def another(host: Host, name: str, policy: str = POLICY) -> Generator[Host]:
    """Give one more host of the same site, not yet begun; at the end it is killed."""
    joined = Host(host.directory.parent / name, host.store, policy=policy)
    try:
        yield joined
    finally:
        joined.kill()


def purging(host: Host, ahead: int) -> preloaded.Process:
    """Begin what a host does every minute, on a clock that is so many seconds ahead."""
    words = ("-c", _PURGE, ahead, "purge", "--policy", "policy.toml", "--store", host.store)
    return preloaded.begin(*words, cwd=host.directory, env=host.environment)


_PURGE = """
import sys
from tests.support.commands import AheadClock
from consent_mw.__main__ import main
from consent_mw.cli.clock import by_clock
with by_clock(AheadClock(float(sys.argv.pop(1)))):
    main()
"""


def until(true: Callable[[], bool], seconds: float = 150.0) -> None:
    """Return as soon as something is true; it has to be within `seconds`. Looking leaves the hosts time to work."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if true():
            return
        looked = time.monotonic()
        assert looked < deadline, "it did not come about in time"
        time.sleep(max(0.1, 2 * (looked - began)))
