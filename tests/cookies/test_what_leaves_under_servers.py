"""What leaves a real socket, under each server, of a site that goes on writing to what it has sent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.late_site import LATE, ODD
from tests.support.ports import free_port
from tests.support.repository import ROOT

from consent_mw import Choice
from consent_mw.consent.choice import Consent
from consent_mw.cookies.consent_cookie import ConsentCookie

#: Each with the parser and the WebSocket library that it can have: they read a header each in a way of their own.
SERVERS = {
    "uvicorn, h11 and websockets": ["uvicorn", "--http", "h11", "--ws", "websockets", "--port"],
    "uvicorn, httptools and wsproto": ["uvicorn", "--http", "httptools", "--ws", "wsproto", "--port"],
    "uvicorn, websockets without I/O": ["uvicorn", "--http", "h11", "--ws", "websockets-sansio", "--port"],
    "hypercorn": ["hypercorn", "--bind"],
    "granian": ["granian", "--interface", "asgi", "--port"],
}
REFUSED = Consent(choice=Choice.REJECT, revision=1, given_on=datetime.now(UTC).date())
#: A page into which the banner goes, one that is held until its body is seen, and a head alone.
VISITORS = {
    "who has not chosen": ("GET", ""),
    "who refuses": ("GET", "consent=" + ConsentCookie(["the secret key of the tests"]).sign(REFUSED)),
    "who looks at the head alone": ("HEAD", ""),
}


@contextmanager
def started(words: list[str], directory: Path) -> Iterator[int]:
    port = free_port()
    address = f"127.0.0.1:{port}" if words[-1] == "--bind" else str(port)
    program = [sys.executable, "-m", *words, address, "tests.support.late_site:app"]
    with (directory / "said.txt").open("wb") as said:
        environment = {**os.environ, "LATE_SITE": str(directory)}
        process = subprocess.Popen(program, cwd=ROOT, env=environment, stdout=said, stderr=said, start_new_session=True)
    try:
        wait(process, port, directory)
        yield port
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with its workers
            process.wait()


def wait(process: subprocess.Popen[bytes], port: int, directory: Path) -> None:
    while True:
        assert process.poll() is None, (directory / "said.txt").read_text()
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return


def said(port: int, request: str) -> bytes:
    """Return all that comes back, byte for byte: a client's own reading would hide what another makes of it."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request.encode())
        parts: list[bytes] = []
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def asked(method: str, path: str, cookie: str = "", *more: str) -> str:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *more]
    lines += [f"Cookie: {cookie}"] if cookie else []
    return "\r\n".join([*lines, "", ""])


@pytest.mark.parametrize("server", SERVERS)
def test_no_server_sends_what_was_written_after_the_gate_or_spelt_so_that_it_might_miss_it(
    server: str, tmp_path: Path
) -> None:
    with started(SERVERS[server], tmp_path) as port:
        for method, cookie in VISITORS.values():
            for path in (*LATE, *ODD):
                answer = said(port, asked(method, path, cookie, "Connection: close"))
                assert answer.startswith(b"HTTP/1.1 200"), (path, answer)
                assert b"evil" not in answer, (path, answer)
                assert b"whole" in answer or method == "HEAD", (path, answer)
        upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
        for path in ("/", *ODD):
            key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
            answer = shaken(port, asked("GET", path, "", *upgrade, key))
            assert answer.startswith(b"HTTP/1.1 101"), (path, answer)
            assert b"evil" not in answer, (path, answer)


def shaken(port: int, request: str) -> bytes:
    """Return what comes back of a handshake, the closing frame included."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request.encode())
        answer = b""
        while b"\r\n\r\n" not in answer and (part := connection.recv(65_536)):
            answer += part
    return answer
