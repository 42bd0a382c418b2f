"""A proxy before a server of the tests that gives each statement to any of its sessions, transaction or not."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import Protocol

from tests.support.postgres import PostgresServer

_START = b"\0\3\0\0user\0consent\0database\0postgres\0\0"  # version 3.0 of the protocol
_LEAVES = b"X"
_IS_READY = b"Z"
#: A query, or the end of an extended one: the server then answers until it is ready.
_ASKS = b"QS"


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes | None: ...


@contextmanager
def multiplexer(server: PostgresServer, sessions: int) -> Generator[str]:
    """Yield the URL of a proxy whose clients share `sessions` sessions of the server, in turn."""
    free = SimpleQueue[socket.SocketIO]()
    with ExitStack() as stack:
        for _ in range(sessions):
            session = stack.enter_context(socket.socket(socket.AF_UNIX))
            session.connect(f"{server.directory}/.s.PGSQL.{server.port}")
            file = stack.enter_context(session.makefile("rwb", buffering=0))
            file.write((len(_START) + 4).to_bytes(4) + _START)
            greeting = _until(_IS_READY, file)
            free.put(file)

        class Client(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.rfile.read(int.from_bytes(self.rfile.read(4)) - 4)
                self.wfile.write(greeting)
                while not (asked := _until(_ASKS + _LEAVES, self.rfile)).startswith(_LEAVES):
                    session = free.get()
                    session.write(asked)
                    self.wfile.write(_until(_IS_READY, session))
                    free.put(session)

        proxy = stack.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Client))
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"postgresql://consent@127.0.0.1:{proxy.server_address[1]}/postgres?sslmode=disable"
        finally:
            proxy.shutdown()
            thread.join()


def _until(kinds: bytes, file: _Readable) -> bytes:
    """Read messages until one of `kinds`, which comes last, and return them; b"X" at the end of the connection."""
    messages = kind = b""
    while not kind or kind not in kinds:
        kind = file.read(1) or b""
        if not kind:
            return _LEAVES
        length = _whole(file, 4)
        messages += kind + length + _whole(file, int.from_bytes(length) - 4)
    return messages


def _whole(file: _Readable, size: int) -> bytes:
    read = b""
    while len(read) < size:
        read += file.read(size - len(read)) or b""
    return read
