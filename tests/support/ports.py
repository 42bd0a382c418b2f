"""Ports for servers that cannot be given a socket."""

from __future__ import annotations

import random
import socket

#: Below the ports that Linux gives to outgoing connections (from 32768): one of those may be taken again by any client
#: of this machine before the server listens on it.
_SERVERS = range(16_384, 32_768)


def free_port() -> int:
    """Return a port on which nothing listens, and that no connection is given."""
    while True:
        port = random.choice(_SERVERS)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
