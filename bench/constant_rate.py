"""
A client that asks at a constant rate, whatever the server does, and tells how long each answer took.

A time runs from the moment at which its request was due, not from when it could be sent: what queued up behind a slow
answer counts as slow too, as it does for visitors, who do not wait for each other (no "coordinated omission").
"""

from __future__ import annotations

import gc
import select
import socket
import time
from collections import deque

from bench.contestants import request_headers
from bench.site import PATH

__all__ = ["latencies"]

#: Requests under way at once; more than these wait, and their time runs.
CONNECTIONS = 64
#: Of a run that is not counted: connections are opened, memories filled, the parser of user agents is loaded.
WARM_UP_SECONDS = 3.0
#: How long the client waits for the last answers.
PATIENCE_SECONDS = 10.0


class _Connection:
    """One connection: idle, or waiting for the answer to a request that was due at `due`."""

    __slots__ = ("due", "seen", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due = 0.0
        self.seen = b""

    def is_answered(self) -> bool:
        """Read what has come, and return whether it is a whole answer. Raises RuntimeError for another than 200."""
        self.seen += self.socket.recv(65_536)
        head, end, body = self.seen.partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the server answered {head[:80]!r}")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        return len(body) >= int(length)


def latencies(port: int, rate: float, seconds: float) -> list[float]:
    """
    Ask the server on `port` `rate` times a second, evenly, and return the seconds that each answer took.

    It never sleeps, so that no request is late for want of a timer: give it a core of its own.

    Raises:
        RuntimeError: The server answered something else, or not within ten seconds.
    """
    request = _request()
    connections = {each.socket.fileno(): each for each in (_Connection(port) for _ in range(CONNECTIONS))}
    poll = select.epoll()
    for fd in connections:
        poll.register(fd, select.EPOLLIN)
    idle = deque(connections.values())
    found: list[float] = []
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter() + 0.01
        counted, ended = began + WARM_UP_SECONDS, began + WARM_UP_SECONDS + seconds
        sent, answered, total = 0, 0, int(rate * (WARM_UP_SECONDS + seconds))
        while answered < total:
            for fd, _ in poll.poll(0):
                connection = connections[fd]
                if connection.is_answered():
                    if connection.due >= counted:
                        found.append(time.perf_counter() - connection.due)
                    connection.seen = b""
                    idle.append(connection)
                    answered += 1
            now = time.perf_counter()
            while sent < total and idle and (due := began + sent / rate) <= now:
                connection = idle.popleft()
                connection.due = due
                connection.socket.send(request)
                sent += 1
            if now > ended + PATIENCE_SECONDS:
                raise RuntimeError(f"{total - answered} of {total} requests were not answered at {rate:,.0f} a second")
    finally:
        gc.enable()
        poll.close()
        for connection in connections.values():
            connection.socket.close()
    return found


def _request() -> bytes:
    lines = [f"GET {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in request_headers().items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
