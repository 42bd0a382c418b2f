"""Ask a web server for one page, with an end in time and in bytes whatever it does.

Only the `scan` command does, for the address that it is given.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import ssl
import threading
import time
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from consent_mw.exceptions import ConsentError

AGENT: Final = "consent-mw-scan"
_LONGEST_PAGE_BYTES: Final = 2 << 20
#: Of one answer, with its head, what goes before it ("100 Continue") and the sizes of its chunks.
_LONGEST_ANSWER_BYTES: Final = 2 * _LONGEST_PAGE_BYTES


class Unreachable(ConsentError):
    """A site cannot be visited; the message says why, and what to do."""


class Answer(NamedTuple):
    """What a server answered, as far as it was read."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def kind(self) -> str:
        """The type of what it holds; "" if the server does not say."""
        return self.headers.get_content_type() if "content-type" in self.headers else ""


class _Endless(http.client.HTTPException):
    """An answer has more bytes than any page."""


def fetched(url: str, seconds: float) -> Answer:
    """
    Return the answer to GET, whole within `seconds`: no timeout of a socket ends an answer of one byte a second, or a
    name that is never resolved. So a thread asks; one that is late is left behind, and ends with the next byte or with
    the program.

    Raises:
        Unreachable: There is none.
    """
    answers: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()
    until = time.monotonic() + seconds
    threading.Thread(target=lambda: answers.put(_tried(url, until)), name=f"GET {url}", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        answer = TimeoutError()
    if isinstance(answer, Answer):
        return answer
    raise Unreachable(f"{url}: {_failure(answer, seconds)}") from answer


def _tried(url: str, until: float) -> Answer | Exception:
    """Return the answer, or what was raised. `until`: monotonic seconds."""
    try:
        return _fetched(urlsplit(url), until)
    except Exception as error:  # noqa: BLE001 - the waiting thread raises it
        return error


def _fetched(parts: SplitResult, until: float) -> Answer:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=max(until - time.monotonic(), 0.001))
    connection.response_class = partial(_Response, until)  # type: ignore[assignment]  # it makes one
    # "identity": what cannot be read is not asked for. No cookie is ever sent back.
    headers = {"User-Agent": AGENT, "Accept": "text/html,*/*;q=0.5", "Accept-Encoding": "identity"}
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", target, headers=headers)
        with connection.getresponse() as answer:
            return Answer(answer.status, answer.headers, answer.read(_LONGEST_PAGE_BYTES))
    finally:
        connection.close()


class _Response(http.client.HTTPResponse):
    """One that has an end: in time, and in bytes."""

    def __init__(self, until: float, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Metered(sock.makefile("rb", buffering=0), until))


class _Metered(io.RawIOBase):
    """What a socket sends, until it is too late or too much."""

    def __init__(self, source: io.RawIOBase, until: float) -> None:
        self._source = source
        self._until = until
        self._left = _LONGEST_ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if time.monotonic() > self._until:
            raise TimeoutError
        read = self._source.readinto(buffer)
        self._left -= read or 0
        if self._left < 0:
            raise _Endless
        return read

    def close(self) -> None:
        self._source.close()
        super().close()


def _failure(error: Exception, seconds: float) -> str:
    """Return the reason and the fix in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); fix it, or scan the site behind it by http"
    if isinstance(error, ssl.SSLError):
        return f"no TLS there ({error.reason or 'the handshake failed'}); does this port speak https? try http"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused; is the site running, on this port?"
    if isinstance(error, TimeoutError):
        return f"no whole answer within {seconds:.3g} seconds; is the site running?"
    if isinstance(error, socket.gaierror):
        return "no such host; check the name"
    if isinstance(error, _Endless):
        return f"its answer has no end; more than {_LONGEST_ANSWER_BYTES >> 20} MiB were not read"
    if isinstance(error, OSError):
        return f"the connection failed ({error.strerror or error}); is the site running?"
    return f"what answers there is no HTTP server ({type(error).__name__}); does this port speak https?"
