"""A form that broke off on its way is no answer: nothing of it is taken."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.support.asgi import set_cookies
from tests.support.my_data_site import ERASE, FORM, OURS, PAGE, cases, records, signed_in, site
from tests.support.serving import served
from tests.support.visitors import Visitor

from consent_mw._asgi import Header, Message

SAVE = urlencode({"choice": "save", "purpose.analytics": "yes", "purpose.marketing": "no"}).encode()
USER = (b"x-user", b"kim")
CHOICE = "/consent/choice"
GONE: Message = {"type": "http.disconnect"}


def part(content: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}


def long(content: bytes) -> Header:
    return (b"content-length", str(len(content)).encode())


BROKEN_OFF: dict[str, tuple[list[Header], list[Message]]] = {
    "the connection ended at a part": ([], [part(SAVE[:30], more=True), GONE]),
    "the connection ended where the form looks whole": ([], [part(SAVE, more=True), GONE]),
    "the connection ended before anything came": ([], [GONE]),
    "less came than was announced": ([long(SAVE)], [part(SAVE[:30], more=False)]),
    "less came than was announced, in parts": ([long(SAVE)], [part(SAVE[:9], more=True), part(SAVE[9:30], more=False)]),
}


@pytest.mark.parametrize("case", BROKEN_OFF)
@pytest.mark.parametrize("path", [CHOICE, PAGE])
def test_what_broke_off_changes_nothing(tmp_path: Path, case: str, path: str) -> None:
    headers, messages = BROKEN_OFF[case]
    if path == PAGE:
        erase = urlencode(ERASE).encode()
        messages = [{**message, "body": erase} if message.get("body") else message for message in messages]
        headers = [long(erase + b"&message=cut")] if headers else []

    async def run() -> None:
        app = site(tmp_path, subject=signed_in)
        visitor = Visitor(app)
        sent = await visitor.gets(path, method="POST", headers=[FORM, OURS, USER, *headers], incoming=list(messages))
        assert sent[0]["status"] == 400
        assert set_cookies(sent) == []
        assert await records(app, "receipt", "request", "erased") == []
        assert await cases(app) == []
        await app.runtime.drain.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        (b"application/json", SAVE),
        (b"application/x-www-form-urlencoded", b'{"choice": "accept"}'),
        (b"multipart/form-data; boundary=x", SAVE),
        (b"application/json", b'{"choice": "reject", "choice": "accept"}'),
        (b"application/x-www-form-urlencoded", b"choice=accept&choice=reject"),
        (b"application/x-www-form-urlencoded", b"choice=accept&x=" + b"a" * 20_000),
    ],
)
def test_a_body_that_is_not_what_it_says_changes_nothing(tmp_path: Path, content_type: bytes, content: bytes) -> None:
    async def run() -> None:
        app = site(tmp_path)
        headers = [(b"content-type", content_type), OURS, long(content)]
        sent = await Visitor(app).gets(CHOICE, method="POST", headers=headers, incoming=[part(content, more=False)])
        assert sent[0]["status"] in (400, 413, 415, 422)
        assert set_cookies(sent) == []
        assert await records(app, "receipt") == []
        await app.runtime.drain.stop()

    asyncio.run(run())


def test_a_connection_that_is_cut_on_a_real_server_registers_nothing(tmp_path: Path) -> None:
    app = site(tmp_path, subject=signed_in)
    with served(app) as port:
        for path, content in ((CHOICE, SAVE[:30]), (PAGE, urlencode(ERASE).encode())):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                head = (
                    f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
                    "X-User: kim\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 900\r\n\r\n"
                )
                connection.sendall(head.encode() + content)
                time.sleep(0.3)  # so that the part is read before the end is
        time.sleep(0.3)

    async def kept() -> None:
        assert await records(app, "receipt", "request", "erased") == []
        await app.runtime.store.close()

    asyncio.run(kept())
