"""Ports for servers that cannot be given a socket."""

from __future__ import annotations

import os
import random
import socket

#: Below the ports that Linux gives to outgoing connections (from 32768): one of those may be taken again by any client
#: of this machine before the server listens on it. Each process that runs tests beside others has its own.
_FIRST = 16_384 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8 * 2_048
_SERVERS = range(_FIRST, _FIRST + 2_048)

#: Those that were returned: a cluster of three takes six before the first of its servers listens.
_taken = set[int]()


def free_port() -> int:
    """Return a port on which nothing listens, and that no connection is given; each only once."""
    while True:
        port = random.choice(_SERVERS)
        if port in _taken:
            continue
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            _taken.add(port)
            return port
