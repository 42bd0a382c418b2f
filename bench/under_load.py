"""Requests a second under uvicorn, sent by wrk, or by a small generator of our own where there is no wrk."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time

from bench.contestants import request_headers
from bench.site import PATH

__all__ = ["CONNECTIONS", "GENERATOR", "request_bytes", "requests_per_second"]

CONNECTIONS = 16
GENERATOR = "wrk" if shutil.which("wrk") else "asyncio"


def requests_per_second(port: int, seconds: float) -> float:
    """Return how many requests a second the server on `port` answers, over sixteen connections."""
    if GENERATOR == "wrk":
        return _wrk(port, seconds)
    return asyncio.run(_asyncio(port, seconds))


def _wrk(port: int, seconds: float) -> float:
    headers = [word for name, value in request_headers().items() for word in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", *headers]
    said = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{PATH}"], capture_output=True, text=True, check=True
    ).stdout
    line = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if line is None or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"wrk met errors: {said}")
    return float(line[1])


async def _asyncio(port: int, seconds: float) -> float:
    started = time.perf_counter()
    until = started + seconds
    counts = await asyncio.gather(*(_ask_until(port, until) for _ in range(CONNECTIONS)))
    return sum(counts) / (time.perf_counter() - started)


async def _ask_until(port: int, until: float) -> int:
    request = request_bytes()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = 0
    while time.perf_counter() < until:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"the server answered {head[:80]!r}")
        await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        answered += 1
    writer.close()
    await writer.wait_closed()
    return answered


def request_bytes() -> bytes:
    """Return the request as it crosses the wire."""
    lines = [f"GET {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in request_headers().items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
