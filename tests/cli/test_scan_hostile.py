"""`consent-mw scan` ends in time, on the server that it was given, whatever answers there."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import pytest

import consent_mw.cli.crawl
from consent_mw.cli import main
from consent_mw.cli.crawl import _is_same_server

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: seen=1\r\nConnection: close\r\n"
#: Where the visit begins, so that a server which fails later has been seen.
HOME = b'<a href="/next">x</a>'


def answer(body: bytes, more: bytes = b"") -> bytes:
    return PAGE + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


@contextmanager
def listening(talk: Callable[[socket.socket, bytes], None]) -> Generator[int]:
    """Serve each connection by `talk`, in a thread of its own, with what it asked first; give the port."""

    def handle(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            talk(connection, connection.recv(65_536))

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=handle, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def drip(connection: socket.socket) -> None:
    connection.sendall(PAGE + b"\r\n")
    for _ in range(200):
        connection.sendall(b"a")
        time.sleep(0.2)


def drip_the_head(connection: socket.socket) -> None:
    for _ in range(200):
        connection.sendall(b"H")
        time.sleep(0.2)


def silence(connection: socket.socket) -> None:
    time.sleep(20)


def endless(piece: bytes, first: bytes = b"") -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(piece)

    return talk


CHUNKED = PAGE + b"Transfer-Encoding: chunked\r\n\r\n"
SLOW = {"one byte at a time": drip, "a head of one byte at a time": drip_the_head, "silence": silence}
ENDLESS = {
    "100 Continue": endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
    "a line without end": endless(b"a" * 10_000, PAGE + b"X: "),
    "headers without end": endless(b"X: y\r\n" * 1_000, PAGE),
    "chunks of one byte": endless(b"1\r\na\r\n" * 1_000, CHUNKED),
    "a chunk of a negative size": endless(b"a" * 10_000, CHUNKED + b"-5\r\n"),
    "a chunk of size -1": endless(b"a" * 10_000, CHUNKED + b"-1\r\n"),
    "a chunk larger than any page": endless(b"a" * 10_000, CHUNKED + b"f" * 40 + b"\r\n"),
    "trailers without end": endless(b"X: y\r\n" * 1_000, CHUNKED + b"0\r\n"),
    "a page without end": endless(b"a" * 10_000, PAGE + b"\r\n"),
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has one second here, so that the tests do not take ten for each."""
    monkeypatch.setattr(consent_mw.cli.crawl, "_PAGE_SECONDS", 1)


@pytest.mark.parametrize("way", SLOW)
def test_a_page_that_is_not_whole_in_time_is_left(way: str, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(lambda connection, asked: SLOW[way](connection)) as port:
        assert main(["scan", f"http://127.0.0.1:{port}/", "--ignore-robots"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "no whole answer within 1 seconds" in err


def test_a_handshake_that_does_not_end_is_left(quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    def talk(connection: socket.socket, asked: bytes) -> None:
        for byte in b"\x16\x03\x03\x40\x00" + bytes(200):  # a record of TLS, longer than one waits for
            connection.sendall(bytes((byte,)))
            time.sleep(0.2)

    with listening(talk) as port:
        assert main(["scan", f"https://127.0.0.1:{port}/", "--ignore-robots"]) == 1
    assert "no whole answer within 1 seconds" in capsys.readouterr().err


@pytest.mark.parametrize("way", ENDLESS)
def test_an_answer_without_end_has_one_and_what_was_seen_before_is_told(
    way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def talk(connection: socket.socket, asked: bytes) -> None:
        if b"GET / " in asked:
            connection.sendall(answer(HOME))
        else:
            ENDLESS[way](connection)

    with listening(talk) as port:
        assert main(["scan", f"http://127.0.0.1:{port}/", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [cookie["name"] for cookie in report["cookies"]] == ["seen"]
    assert len(report["pages"]) == 2 or any("/next: " in note for note in report["notes"])


def test_the_visit_ends_in_time_with_what_was_seen_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    def talk(connection: socket.socket, asked: bytes) -> None:
        if b"GET / " in asked:
            connection.sendall(answer(b"".join(b'<a href="/%d">x</a>' % number for number in range(40))))
        else:
            time.sleep(1)
            connection.sendall(answer(b""))

    with listening(talk) as port:
        url = f"http://127.0.0.1:{port}/"
        assert main(["scan", url, "--max-seconds", "5", "--ignore-robots"]) == 1
    out, err = capsys.readouterr()
    assert 'name = "seen"' in out
    assert f"{url}: not all was visited in 5 seconds; raise --max-seconds" in err
    assert "raise --max-seconds to visit them" in err


def test_a_site_that_never_answers_is_told_when_the_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(lambda connection, asked: silence(connection)) as port:
        assert main(["scan", f"http://127.0.0.1:{port}/", "--max-seconds", "1"]) == 1
    assert "no page within 1 seconds; is the site running?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{other}/internal", "//127.0.0.1:{other}/", "https://127.0.0.1:{other}/"]
)
@pytest.mark.parametrize("way", ["redirect", "link"])
def test_another_port_of_the_same_machine_is_another_s(
    target: str, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    visited: list[bytes] = []

    def inside(connection: socket.socket, asked: bytes) -> None:
        visited.append(asked)
        connection.sendall(answer(b"secret"))

    with listening(inside) as other:
        place = target.format(other=other).encode()

        def talk(connection: socket.socket, asked: bytes) -> None:
            if way == "link":
                connection.sendall(answer(b'<a href="%s">x</a><iframe src="%s"></iframe>' % (place, place)))
            else:
                connection.sendall(b"HTTP/1.1 302 x\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % place)

        with listening(talk) as port:
            assert main(["scan", f"http://127.0.0.1:{port}/", "--ignore-robots"]) == (way == "redirect")
    assert visited == []
    assert ("scan that address if it is yours" in capsys.readouterr().err) == (way == "redirect")


@pytest.mark.parametrize(
    ("to", "given", "same"),
    [
        ("https://shop.example/", "http://shop.example/", True),
        ("https://www.shop.example/", "http://shop.example/", True),
        ("http://shop.example/", "https://shop.example/", False),
        ("https://shop.example/", "http://shop.example:8000/", False),
        ("https://shop.example:8443/", "http://shop.example/", False),
        ("http://shop.example:22/", "http://shop.example/", False),
        ("http://shop.example:8000/x", "http://shop.example:8000/", True),
        ("http://shop.example.evil.example/", "http://shop.example/", False),
    ],
)
def test_only_https_in_the_place_of_http_is_another_port(to: str, given: str, same: bool) -> None:
    assert _is_same_server(to, given) == same


GARBAGE = [
    b"<![<![<![",
    b'<base href="http://["><a href="/x">x</a>',
    b'<a href="&#%s;">x</a>' % (b"9" * 5_000),
    b'<base href="/b/"><a href="http://[">x</a><a href="//[::1">x</a><iframe src="http://[x">',
    b"<!--" * 50_000,
    b"<a b='" * 50_000,
    b"<" * 500_000,
]


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("charset", ["utf-8", "punycode", "idna", "windows-1259", "utf-16", "zlib"])
def test_a_page_of_garbage_is_a_page_without_links(
    body: bytes, charset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def talk(connection: socket.socket, asked: bytes) -> None:
        if b"robots.txt" in asked:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
            connection.sendall(head + b"User-agent: *\nDisallow: //[\nDisallow: /no\n" + body)
        else:
            page = b"<a href=/no>x</a>" + body
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=%s\r\nDate: Mon, 1 Jan 2024 0:0:0 +%s\r\n"
            length = b"Set-Cookie: seen=1\r\nContent-Length: %d\r\n\r\n" % len(page)
            connection.sendall(head % (charset.encode(), b"9" * 30) + length + page)

    with listening(talk) as port:
        assert main(["scan", f"http://127.0.0.1:{port}/", "--json", "--max-seconds", "60"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [cookie["name"] for cookie in report["cookies"]] == ["seen"]
