"""The examples as a newcomer starts them, under each server, on real sockets; and what SIGTERM leaves behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from tests.support.commands import run
from tests.support.frameworks import EXAMPLES, FRAMEWORKS, WITHOUT_WEBSOCKET, Talks, scenario, searches
from tests.support.ports import free_port
from websockets.sync.client import connect

from consent_mw.records import Query
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.testing.visitor import Visitor

#: How each server is started, and how it is told what the site is mounted under.
SERVERS = {
    "uvicorn": (["-m", "uvicorn", "--port", "{port}"], "--root-path"),
    "hypercorn": (["-m", "hypercorn", "--bind", "127.0.0.1:{port}"], "--root-path"),
    "granian": (["-m", "granian", "--interface", "asgi", "--port", "{port}"], "--url-path-prefix"),
}
#: One example is enough for them: what they have of their own is the loop, or the way to the worker.
OTHER_SERVERS = {
    "hypercorn on trio": ["-m", "hypercorn", "-k", "trio", "--bind", "127.0.0.1:{port}"],
    "daphne": ["-m", "daphne", "--port", "{port}"],
    "gunicorn": ["-m", "gunicorn", "-k", "asgi", "--bind", "127.0.0.1:{port}"],
    "gunicorn with uvicorn": ["-m", "gunicorn", "-k", "uvicorn_worker.UvicornWorker", "--bind", "127.0.0.1:{port}"],
}


class Server(NamedTuple):
    """A server that runs an example. `folder` is where the copy of the examples is."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def sets_on_accept(self) -> list[str]:
        """Granian (2.8) and Daphne (4.2) send none of the headers with which an application accepts a WebSocket."""
        return [] if self.name in ("granian", "daphne") else ["last_search=typing"]

    def wait(self) -> None:
        """Wait until it takes connections."""
        while True:
            assert self.process.poll() is None, self.said()
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                time.sleep(0.05)
            else:
                return

    def terminate(self) -> str:
        """Ask it to end, as a service manager does, and return all that it said."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) in (0, -signal.SIGTERM), self.said()
        return self.said()

    def said(self) -> str:
        return (self.folder / "said.txt").read_text()


@contextmanager
def started(framework: str, server: str, folder: Path, *options: str) -> Iterator[Server]:
    shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("consent-data", "__pycache__"))
    port = free_port()
    words = OTHER_SERVERS[server] if server in OTHER_SERVERS else SERVERS[server][0]
    program = [sys.executable, "-W", "always", *(word.format(port=port) for word in words), *options]
    program.append(f"examples.{framework}_app:app")
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(program, cwd=folder, stdout=said, stderr=said, start_new_session=True)
    try:
        yield Server(server, process, port, folder)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with its workers
            process.wait()


def talks(visitor: Visitor, framework: str) -> Talks | None:
    def talk(words: str) -> tuple[str, list[str]]:
        url = visitor.base_url.join("suggest").copy_with(scheme="ws")
        cookies = httpx.Request("GET", visitor.base_url)
        visitor.cookies.set_cookie_header(cookies)
        with connect(str(url), additional_headers={"Cookie": cookies.headers.get("cookie", "")}) as websocket:
            websocket.send(words)
            said = websocket.recv(timeout=60)
            assert websocket.response is not None
            lines = websocket.response.headers.get_all("set-cookie")
        return str(said), [line.partition(";")[0] for line in lines]

    return None if framework in WITHOUT_WEBSOCKET else talk


def kept(folder: Path, *kinds: str) -> int:
    async def count() -> int:
        store = SQLiteStore(folder / "examples/consent-data/consent.sqlite3")
        await store.open()
        try:
            return len(await store.fetch(Query(kinds=frozenset(kinds))))
        finally:
            await store.close()

    return asyncio.run(count())


@pytest.mark.parametrize(("framework", "other"), list(zip(FRAMEWORKS, cycle(("hypercorn", "granian")))))
def test_the_scenario_passes_under_each_server(framework: str, other: str, tmp_path: Path) -> None:
    """Half of the examples meet one of the other servers, and half the other one; the plain one meets all."""
    names = SERVERS if framework == "starlette" else ("uvicorn", other)
    with ExitStack() as stack:
        servers = [stack.enter_context(started(framework, name, tmp_path / name)) for name in names]
        for server in servers:
            server.wait()
            with Visitor(base_url=f"http://127.0.0.1:{server.port}/") as visitor:
                scenario(visitor, talks(visitor, framework), server.sets_on_accept)
            assert_all_was_kept(framework, server)


@pytest.mark.parametrize("name", OTHER_SERVERS)
def test_the_scenario_passes_on_another_loop_and_under_other_servers(name: str, tmp_path: Path) -> None:
    with started("starlette", name, tmp_path) as server:
        server.wait()
        with Visitor(base_url=f"http://127.0.0.1:{server.port}/") as visitor:
            scenario(visitor, talks(visitor, "starlette"), server.sets_on_accept)
        assert_all_was_kept("starlette", server)


def assert_all_was_kept(framework: str, server: Server) -> None:
    said = server.terminate()
    if server.name == "daphne":  # speaks no lifespan: what waits when it ends is for the next one, or for this
        assert run("drain", "--once", cwd=server.folder / "examples").returncode == 0
    assert "Warning" not in said
    assert said.count("Traceback") <= 2  # the crash of the scenario, at times with its cause
    events = 1 if framework in WITHOUT_WEBSOCKET else 2
    assert kept(server.folder, "event") == events, said
    assert kept(server.folder, "receipt") == 3  # refused, accepted, asked


@pytest.mark.parametrize("server", SERVERS)
def test_a_site_below_a_mount_links_to_its_own_pages(server: str, tmp_path: Path) -> None:
    with started("starlette", server, tmp_path, SERVERS[server][1], "/shop") as mounted:
        mounted.wait()
        # Uvicorn puts the root path before what it is asked for, the others expect to find it there.
        below = "" if server == "uvicorn" else "/shop"
        with Visitor(base_url=f"http://127.0.0.1:{mounted.port}{below}/") as visitor:
            page, _ = searches(visitor, "ap")
            assert page.count('"/shop/consent/') == page.count("/consent/") > 3
            assert 'name="next" value="/shop/?q=ap"' in page
            visitor.accept()
            assert searches(visitor, "ap")[1] == ["last_search=ap"]
        mounted.terminate()


def test_the_address_in_the_proxy_protocol_is_the_visitors(tmp_path: Path) -> None:
    ends = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
    addresses = bytes([203, 0, 113, 9, 192, 0, 2, 1]) + bytes([0, 80, 0, 80])
    heads = (  # of versions 1 and 2 (haproxy.org, proxy-protocol.txt, 2.1 and 2.2)
        b"PROXY TCP4 198.51.100.9 192.0.2.1 5555 80\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + len(addresses).to_bytes(2, "big") + addresses,
    )
    with started("starlette", "gunicorn", tmp_path, "--proxy-protocol", "auto") as server:
        server.wait()
        for head in heads:
            with socket.create_connection(("127.0.0.1", server.port)) as connection, connection.makefile("rb") as read:
                connection.sendall(head + ends)
                assert read.readline().startswith(b"HTTP/1.1 200")
                read.read()
        server.terminate()
    said = run("log", "--purpose", "necessary", "--reason", "a test", "--json", cwd=tmp_path / "examples").stdout
    assert "198.51.100.0" in said
    assert "203.0.113.0" in said
