"""Doubtful Set-Cookie lines, as bytes on a socket, to a real Chromium: where it stores a name, it is ours or none."""

import asyncio
import re
import threading
from collections.abc import Generator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, sync_playwright

from consent_mw.cookies.cookie_lines import is_deletion, name_of

ARGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--no-first-run", "--disable-gpu"]  # fmt: skip

NAMES = [
    b"plain=1",
    b" leading=1",
    b"\t tab=1",
    b"trailing =1",
    b"nothing",
    b"=hidden=1",
    b"==",
    b"=",
    b"",
    b";a=1",
    b"no; equals=1",
    b'"quoted"=1',
    b'q="a;b"; Path=/',
    b"comma,name=1",
    b"one=1, two=2",
    b"sp ace=1",
    b"in\ttab=1",
    b"nul\x00=1",
    b"val=nul\x00l",
    b"bell\x07=1",
    b"val=\x1b[2J",
    b"del\x7f=1",
    b"val=del\x7f",
    b"cr\r=1",
    b"val=a\rb=2",
    b"latin\xe9=1",
    b"utf\xc3\xa9=1",
    b"zwsp\xe2\x80\x8b=1",
    b"\xc2\xa0nbsp=1",
    b"\x0bvt=1",
    b"\x0cff=1",
    b"[array]=1",
    b"{}=1",
    b"a@b=1",
    b"a:b=1",
    b"%61=1",
    b"long" + b"n" * 4_000 + b"=1",
    b"over" + b"n" * 4_200 + b"=1",
    b"value=" + b"v" * 4_200,
    b"__Host-a=1; Path=/; Secure",
    b"__Host-a=1; Path=/",
    b"__host-b=1; Path=/; Secure",
    b"__HOST-c=1",
    b"__Secure-d=1",
    b"__SECURE-e=1; Secure",
    b"=__Host-f=1",
    b"__Host-g",
    b" __Host-h =1; Secure; Path=/",
    b"two=1; Path=/; Path=/; path=/",
    b"attribute=1; Secure=no; HttpOnly=false; Unknown; =; ;",
    b"Path=/; Path=/",
    b"Secure; Secure",
    b"$Version=1",
    b"consent =1",
    b"consent\t=1",
    b"=consent=1",
    b"CONSENT=1",
]

DELETIONS = [
    b"Max-Age=0",
    b"max-age=-1",
    b"MAX-AGE = 0",
    b"Max-Age=-0",
    b"Max-Age=00",
    b"Max-Age=-99999999999999999999",
    b'Max-Age="0"',
    b"Max-Age=+0",
    b"Max-Age=0x0",
    b"Max-Age=0.0",
    b"Max-Age= 0 ; Secure=",
    b"Max-Age=",
    b"Max-Age",
    b"Max-Age=" + b"0" * 1_025,
    b"Max-Age=0; Max-Age=9",
    b"Max-Age=9; Max-Age=0",
    b"Max-Age=x; Max-Age=0",
    b"Max-Age=0; Max-Age=x",
    b"Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    b"Max-Age=0; Expires=Fri, 01 Jan 2100 00:00:00 GMT",
    b"Max-Age=; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    b"Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    b"Expires=Thu, 01-Jan-1970 00:00:00 GMT",
    b"expires=Wed, 31 Dec 1969 23:59:59 GMT",
    b"Expires=Thu, 01 Jan 1601 00:00:00 GMT",
    b"Expires=Thu, 01 Jan 1600 00:00:00 GMT",
    b"Expires=Thu, 01 Jan 0001 00:00:00 GMT",
    b"Expires=Thu, 01 Jan 0069 00:00:00 GMT",
    b"Expires=Thu, 01 Jan 0070 00:00:00 GMT",
    b"Expires=Thursday, 01-Jan-70 00:00:00 GMT",
    b"Expires=Thu Jan  1 00:00:00 1970",
    b"Expires=0",
    b"Expires=-1",
    b"Expires=yesterday",
    b"Expires=Thu, 31 Feb 1970 00:00:00 GMT",
    b"Expires=Thu, 01 Jan 1970 24:00:00 GMT",
    b"Expires=Fri, 01 Jan 2100 00:00:00 GMT; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    b"Expires=Thu, 01 Jan 1970 00:00:00 GMT; Expires=Fri, 01 Jan 2100 00:00:00 GMT",
    b"Expires=Thu, 01 Jan 1970 00:00:00 GMT; Expires=nonsense",
    b'Expires="Thu, 01 Jan 1970 00:00:00 GMT"',
]


class RawServer:
    """Answers with the bytes that it is told to, and keeps the Cookie header that came back."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.cookie = b""
        self.port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "RawServer":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(server.wait_closed())
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        match = re.search(rb"\r\ncookie: ([^\r]*)", request, re.IGNORECASE)
        self.cookie = match[1] if match else b""
        set_cookies = b"".join(b"Set-Cookie: " + line + b"\r\n" for line in self.lines)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n"
        writer.write(head + set_cookies + b"\r\nok")
        await writer.drain()
        writer.close()


@pytest.fixture(scope="module")
def server() -> Generator[RawServer, None, None]:
    with RawServer() as running:
        yield running


@pytest.fixture(scope="module")
def page(shell: str, server: RawServer) -> Generator[Page, None, None]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shell, args=ARGS)
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/")
        yield page
        browser.close()


def visits(page: Page, server: RawServer, line: bytes) -> bytes:
    """Fetch one answer that sets `line`, then one that sets nothing; return the Cookie header of the second."""
    for server.lines in ([line], []):
        # With a NUL in a header Chromium refuses the answer whole, and stores nothing.
        page.evaluate("fetch('/', {cache: 'no-store'}).then(answer => answer.text()).catch(String)")
    return server.cookie


@pytest.mark.parametrize("line", NAMES, ids=lambda line: repr(line[:30]))
def test_a_name_that_chromium_stores_is_ours_or_none(page: Page, server: RawServer, line: bytes) -> None:
    page.context.clear_cookies()
    cookie = visits(page, server, line)
    stored = [entry.get("name", "") for entry in page.context.cookies()]
    ours = name_of(line)
    assert len(stored) <= 1
    assert bool(stored) == bool(cookie)
    if stored and ours is not None:
        # What comes back is what a server will read; the browser's own tools cut a name that is no UTF-8.
        assert cookie.partition(b"=")[0] == ours.encode("latin-1")
        assert not stored[0].isascii() or ours.startswith(stored[0])
    if stored == [""]:
        assert ours is None, "a cookie without a name comes back as whatever its value looks like"


@pytest.mark.parametrize("attributes", DELETIONS, ids=lambda line: repr(line[:60]))
def test_what_we_take_for_a_deletion_chromium_deletes(page: Page, server: RawServer, attributes: bytes) -> None:
    page.context.clear_cookies()
    line = b"a=2; Path=/; " + attributes
    assert visits(page, server, b"a=1; Path=/") == b"a=1"
    cookie = visits(page, server, line)
    if is_deletion(line, datetime.now(UTC)):
        assert cookie == b"", "a cookie was let pass as a deletion, and is stored"


def test_the_deletions_that_servers_write_are_deletions_to_us_too() -> None:
    now = datetime.now(UTC)
    taken = [text for text in DELETIONS if is_deletion(b"a=; " + text, now)]
    assert b"Max-Age=0" in taken
    assert b"Expires=Thu, 01 Jan 1970 00:00:00 GMT" in taken
    assert b"Expires=Thu, 01-Jan-1970 00:00:00 GMT" in taken
    assert b"Max-Age=0; Expires=Fri, 01 Jan 2100 00:00:00 GMT" in taken
