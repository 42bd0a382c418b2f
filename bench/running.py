"""Run one contestant: its lifespan in this process, or a server of its own on its own core."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import uvicorn
from starlette.types import ASGIApp, Message

from bench.contestants import CONTESTANTS, Contestant, log_config, request_headers
from bench.site import PATH
from bench.traffic import new_site

__all__ = ["CLIENT_CORE", "SERVER_CORE", "Server", "lifespan", "pin", "serving", "unpin"]

#: None where the system cannot pin a process, or where there is one core for both.
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
CLIENT_CORE, SERVER_CORE = CORES[:2] if len(CORES) > 1 else (None, None)


def pin(core: int | None) -> None:
    """Keep this process, and those that it starts from now on, on one core."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def unpin() -> None:
    """Let this process, and those that it starts from now on, have every core again."""
    if CORES:
        os.sched_setaffinity(0, CORES)


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """Start the application up, and shut it down on leaving, so that what it left to do is not on another's bill."""
    said: asyncio.Queue[Message] = asyncio.Queue()
    heard: asyncio.Queue[Message] = asyncio.Queue()
    task = asyncio.create_task(_run_lifespan(app, said, heard))
    await _say("startup", said, heard)
    yield
    await _say("shutdown", said, heard)
    await task


async def _run_lifespan(app: ASGIApp, said: asyncio.Queue[Message], heard: asyncio.Queue[Message]) -> None:
    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, said.get, heard.put)


async def _say(word: str, said: asyncio.Queue[Message], heard: asyncio.Queue[Message]) -> None:
    await said.put({"type": f"lifespan.{word}"})
    answer = await heard.get()
    if answer["type"] != f"lifespan.{word}.complete":
        raise RuntimeError(f"{word}: {answer.get('message', answer)}")


class Server(NamedTuple):
    """A server that runs."""

    port: int
    pid: int

    def processor_seconds(self) -> float:
        """Return the time that it has taken of its core so far: what other programs take changes it little."""
        # proc(5): after the command's name, which may hold anything, the 12th and 13th field.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(contestant: Contestant, directory: Path) -> Iterator[Server]:
    """Serve the contestant with uvicorn in a process of its own, and give it, once a request was answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        number = CONTESTANTS.index(contestant)
        # The server inherits the core that this process is kept on, and has to be told its own.
        core = [] if SERVER_CORE is None else [str(SERVER_CORE)]
        server = subprocess.Popen(
            [sys.executable, "-m", "bench.running", str(number), str(fd), str(directory), *core], pass_fds=[fd]
        )
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{PATH}", headers=request_headers())
        urllib.request.urlopen(request, timeout=30).close()
        yield Server(port, server.pid)
    finally:
        server.terminate()
        server.wait(30)


def _serve(number: int, fd: int, directory: Path, core: int | None) -> None:
    pin(core)
    contestant = CONTESTANTS[number]
    app = new_site() if contestant.by_server else contestant.wrap(new_site(), directory)
    config = uvicorn.Config(app, log_config=log_config(directory), access_log=contestant.by_server)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if sys.argv[4:] else None)
