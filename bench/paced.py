"""
How long answers take when requests come at random moments, so many a second on average.

Visitors do not know of each other, so the gaps between requests are exponential, and none waits for the answer to
another. A time runs from the moment at which its request was due: a server that falls behind makes all those wait that
come meanwhile, and all are counted. wrk wakes up once a millisecond and then sends what is due, and its times are those
of such bursts; this client never sleeps, and has a core for that.
"""

from __future__ import annotations

import random
import re
import select
import socket
import time
from statistics import quantiles
from typing import NamedTuple

from bench.under_load import request_bytes

__all__ = ["CONNECTIONS", "WARM_UP_SECONDS", "Paced", "paced"]

#: Of a run that is not counted: connections are opened, memories filled, the parser of user agents is loaded.
WARM_UP_SECONDS = 3.0
#: As many as are open at a time; a request that finds none free waits for one, and that counts too.
CONNECTIONS = 200

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Paced(NamedTuple):
    """The median and the 99th percentile of the answers' times, in milliseconds, and requests a second as they came."""

    middle: float
    p99: float
    rate: float


def paced(port: int, rate: float, seconds: float) -> Paced:
    """Ask the server on `port` about `rate` times a second for so many seconds."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    try:
        times = _ask(connections, _due(rate, seconds))
    finally:
        for connection in connections:
            connection.close()
    cuts = quantiles(times, n=100)
    return Paced(cuts[49] * 1_000, cuts[98] * 1_000, len(times) / seconds)


def _due(rate: float, seconds: float) -> list[float]:
    """Return when each request is to be sent, in seconds from the start."""
    due = [random.expovariate(rate)]
    while due[-1] < seconds:
        due.append(due[-1] + random.expovariate(rate))
    return due


def _ask(connections: list[socket.socket], due: list[float]) -> list[float]:
    """Send a request at each of these moments, over whichever connection is free, and return what each took."""
    request = request_bytes()
    poll = select.epoll()
    by_fd = {connection.fileno(): connection for connection in connections}
    for connection in connections:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(connection, select.EPOLLIN)
    free, asked = list(by_fd), dict[int, float]()
    read = dict.fromkeys(by_fd, b"")
    times: list[float] = []
    waiting = iter(due)
    upcoming = next(waiting, None)
    start = time.perf_counter()
    while upcoming is not None or asked:
        if upcoming is not None and free and time.perf_counter() - start >= upcoming:
            fd = free.pop()
            by_fd[fd].sendall(request)
            asked[fd] = upcoming
            upcoming = next(waiting, None)
            continue
        for fd, _ in poll.poll(0):
            read[fd] += by_fd[fd].recv(65_536)
            if _is_whole(read[fd]):
                times.append(time.perf_counter() - start - asked.pop(fd))
                read[fd] = b""
                free.append(fd)
    poll.close()
    return times


def _is_whole(answer: bytes) -> bool:
    """Whether that is all of an answer. Raises RuntimeError for one that is no page."""
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the server answered {answer[:80]!r}")
    end = answer.find(b"\r\n\r\n")
    length = _LENGTH.search(answer, 0, end)
    return end >= 0 and length is not None and len(answer) >= end + 4 + int(length[1])
