"""The access line on standard output, which replaces the server's own: masked, escaped, and never waited for."""

from __future__ import annotations

import atexit
import os
import queue
import sys
import threading
import time
from http import HTTPStatus
from typing import Final

from consent_mw.log.exchange import Exchange
from consent_mw.log.masking import mask
from consent_mw.log.redaction import redact_query
from consent_mw.policy.model import NECESSARY, Policy
from consent_mw.proxies import Proxies
from consent_mw.system.escaping import hex_escaped, path_sent, printable, readable, readable_path

#: Lines that may wait for a slow terminal. Further lines are counted and not shown.
_WAITING: Final = 1_000
_GATHERING_SECONDS: Final = 0.02
_LONGEST: Final = 512
_CLOSING_SECONDS: Final = 1.0
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


class Console:
    """
    Shows one line for each finished exchange, in the style of uvicorn's access log.

    Standard output is neither sealed nor destroyed, so it gets less than the log. The address is always masked, even if
    the policy keeps it whole, and shown only if [log.necessary] has it. Path and query are shown only if
    [log.necessary] has them, the query redacted; otherwise the route is shown. `show` never waits and never raises: a
    thread writes, and a closed or slow output loses lines, not requests.
    """

    def __init__(self, policy: Policy, proxies: Proxies, fd: int | None = None) -> None:
        """`fd` is the descriptor that lines are written to; None for a copy of standard output."""
        self.follow(policy)
        self._proxies = proxies
        self._fd = _standard_output() if fd is None else fd
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._hidden = 0

    def follow(self, policy: Policy) -> None:
        """From now on, show what another revision of the policy allows."""
        kept = policy.log.get(NECESSARY, {})
        self._address = kept.get("client.address") in ("full", "masked")
        self._path = kept.get("url.path") == "full"
        self._query = kept.get("url.query") == "full"

    def line(self, exchange: Exchange) -> str:
        """Return the line of one exchange, without a line end; every character is printable."""
        status = exchange.status
        if exchange.scope["type"] == "websocket":
            verb, ended = "WebSocket", "[accepted]" if status == 101 else f"{status or '-'}"
        else:
            verb, ended = exchange.method, f"{status or '-'} {_PHRASES.get(status, '')}".rstrip()
        version = "" if verb == "WebSocket" else f" HTTP/{exchange.scope.get('http_version', '1.1')}"
        outcome = f" ({exchange.outcome})" if exchange.outcome else ""
        return printable(
            f'INFO:     {self._who(exchange)} - "{verb} {self._target(exchange)}{version}" {ended}{outcome}'
        )

    def show(self, exchange: Exchange) -> None:
        """Queue the line of a finished exchange for writing. Safe after a fork."""
        if self._pid != os.getpid():
            self._start()
        if self._lines.qsize() < _WAITING:
            self._lines.put(self.line(exchange))
        else:
            self._hidden += 1

    def close(self) -> None:
        """Write the lines that wait, for a second at most. A new thread writes further lines."""
        if self._thread is not None and self._pid == os.getpid():
            self._lines.put(None)
            self._thread.join(_CLOSING_SECONDS)
        self._pid = 0

    def _who(self, exchange: Exchange) -> str:
        address = self._proxies.address(exchange.from_server) if self._address else None
        return "-" if address is None else mask(address)

    def _target(self, exchange: Exchange) -> str:
        if not self._path:
            return exchange.route or "-"
        path = hex_escaped(path_sent(readable_path(exchange.scope)[:_LONGEST]))
        query: bytes = (exchange.scope.get("query_string") or b"") if self._query else b""
        return f"{path}?{printable(redact_query(readable(query)))[:_LONGEST]}" if query else path

    # -- the thread ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._pid == 0:
            atexit.register(self.close)
        self._pid = os.getpid()
        self._lines = queue.SimpleQueue()  # a fork may have happened while the old one was locked
        # A daemon thread: an output that never takes a line must not keep the server from ending.
        self._thread = threading.Thread(target=self._run, args=(self._lines,), name="consent-mw console", daemon=True)
        self._thread.start()

    def _run(self, lines: queue.SimpleQueue[str | None]) -> None:
        line = lines.get()
        while line is not None:
            # Gather lines first: a thread that wakes for each line would take the GIL from requests.
            time.sleep(_GATHERING_SECONDS)
            batch = [line]
            while len(batch) < _WAITING and not lines.empty() and (line := lines.get()) is not None:
                batch.append(line)
            self._write(batch)
            if line is not None:
                line = lines.get()

    def _write(self, lines: list[str]) -> None:
        hidden, self._hidden = self._hidden, 0
        if hidden:
            lines = [f"INFO:     {hidden} lines are not shown: standard output was too slow", *lines]
        rest = memoryview("".join(f"{line}\n" for line in lines).encode())
        try:
            # Not through sys.stdout: if the interpreter ends while its lock is held here, the process aborts.
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:  # closed, full, or not ready: optional, and no other place to report it
            self._hidden += len(lines)


def _standard_output() -> int:
    """
    Return a copy of descriptor 1, or -1 if there is none. If a program closes descriptor 1 and opens a database that
    gets its number, our lines must not be written into it.
    """
    try:
        return os.dup(sys.stdout.fileno())
    except (AttributeError, OSError, ValueError):  # None in a daemon, replaced by something in memory, or closed
        return -1
