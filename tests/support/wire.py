"""A wire to a server, as a process of its own: stopped, it passes nothing more, and cuts nothing either."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

from tests.support.frozen import freeze, thaw
from tests.support.ports import free_port
from tests.support.repository import ROOT


class Wire:
    """From a port of this machine to another one."""

    def __init__(self, to: int) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self.port), str(to)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert self._process.stdout
        self._process.stdout.readline()

    def stop(self) -> None:
        """Pass nothing more: whoever waits for an answer goes on waiting."""
        freeze(self._process.pid)

    def go_on(self) -> None:
        """Pass what was held up, and all that comes."""
        thaw(self._process.pid)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def wire(to: int) -> Generator[Wire]:
    """Give a wire to a port; at the end it is cut."""
    link = Wire(to)
    try:
        yield link
    finally:
        link.close()


async def _passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _main(port: int, to: int) -> None:
    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(_passed(reader, there_writer), _passed(there_reader, writer))

    server = await asyncio.start_server(joined, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(*map(int, sys.argv[1:])))
