"""
A wire to a server, as a process of its own: stopped, it passes nothing more, and cuts nothing either. It may also hold
all answers back, or be slow.
"""

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
            [sys.executable, "-m", __name__, str(self.port), str(to)], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout
        self._process.stdout.readline()

    def stop(self) -> None:
        """Pass nothing more: whoever waits for an answer goes on waiting."""
        freeze(self._process.pid)

    def go_on(self) -> None:
        """Pass what was held up, and all that comes."""
        thaw(self._process.pid)

    def hold_answers(self) -> None:
        """Pass what is sent to the server, and nothing that it answers."""
        self._say("hold")

    def slow_down(self) -> None:
        """Pass each piece only after a while."""
        self._say("slow")

    def cut(self) -> None:
        """Cut every connection, with what is held back; new ones work as they should."""
        self._say("cut")

    def _say(self, word: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

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


_SLOW_SECONDS = 0.3


class _Link:
    """What is connected now, and how it is passed on."""

    def __init__(self) -> None:
        self.how = ""
        self.passes = asyncio.Event()
        self.passes.set()
        self.writers: set[asyncio.StreamWriter] = set()

    async def passed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        self.writers.add(writer)
        with suppress(OSError):
            while data := await reader.read(65_536):
                if self.how == "slow":
                    await asyncio.sleep(_SLOW_SECONDS)
                if is_answer:
                    await self.passes.wait()
                if writer.is_closing():
                    break
                writer.write(data)
                await writer.drain()
        self.writers.discard(writer)
        writer.close()

    async def follow(self) -> None:
        commands = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(commands)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        while line := (await commands.readline()).decode().strip():
            if line == "cut":
                for writer in tuple(self.writers):
                    writer.transport.abort()
            self.how = line
            (self.passes.clear if line == "hold" else self.passes.set)()


async def _main(port: int, to: int) -> None:
    link = _Link()

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(
            link.passed(reader, there_writer, is_answer=False), link.passed(there_reader, writer, is_answer=True)
        )

    server = await asyncio.start_server(joined, "127.0.0.1", port)
    following = asyncio.create_task(link.follow())
    print("ready", flush=True)
    await asyncio.gather(server.serve_forever(), following)


if __name__ == "__main__":
    asyncio.run(_main(*map(int, sys.argv[1:])))
