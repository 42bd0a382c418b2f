"""A real uvicorn for tests, in a thread of this process: its lines count in the coverage too."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn

from consent_mw._asgi import ASGIApp


@contextlib.contextmanager
def served(app: ASGIApp, **config: Any) -> Iterator[int]:
    """Give the port of a real uvicorn that serves `app`; `config` goes to `uvicorn.Config`."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="on", **config))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "uvicorn did not start"
                time.sleep(0.01)
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(60)
