"""The access line: what uvicorn would write, masked, on one line, and of no harm to a request."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.access_lines import NOTHING, console, exchange
from tests.support.policies import POLICY
from tests.support.repository import ROOT

from consent_mw.log.access_line import Console
from consent_mw.log.exchange import Exchange
from consent_mw.testing import strategies

KEPT = '[log.necessary]\n"client.address" = "masked"\n"url.path" = "full"'


@pytest.mark.parametrize(
    ("finished", "line"),
    [
        (exchange(), 'INFO:     203.0.113.0 - "GET /books/1 HTTP/1.1" 200 OK'),
        (exchange("/책 a", status=404), 'INFO:     203.0.113.0 - "GET /%EC%B1%85%20a HTTP/1.1" 404 Not Found'),
        (exchange(query_string=b"q=1"), 'INFO:     203.0.113.0 - "GET /books/1 HTTP/1.1" 200 OK'),
        (exchange(status=799), 'INFO:     203.0.113.0 - "GET /books/1 HTTP/1.1" 799'),
        (exchange(status=0, outcome="gone"), 'INFO:     203.0.113.0 - "GET /books/1 HTTP/1.1" - (gone)'),
        (exchange("/chat", "websocket", 101), 'INFO:     203.0.113.0 - "WebSocket /chat" [accepted]'),
        (exchange("/chat", "websocket", 403), 'INFO:     203.0.113.0 - "WebSocket /chat" 403'),
        (exchange(method="\x1b"), 'INFO:     203.0.113.0 - "_OTHER /books/1 HTTP/1.1" 200 OK'),
        (exchange(client=("2001:db8:1:2::3", 1)), 'INFO:     2001:db8:1:: - "GET /books/1 HTTP/1.1" 200 OK'),
        (exchange(client=None), 'INFO:     - - "GET /books/1 HTTP/1.1" 200 OK'),
    ],
)  # fmt: skip
def test_a_line_is_in_the_style_of_uvicorn(finished: Exchange, line: str) -> None:
    assert console().line(finished) == line


def test_what_the_policy_does_not_keep_is_not_shown() -> None:
    silent = console(POLICY.replace(KEPT, "[log.necessary]"))
    route = SimpleNamespace(path_format="/books/{id}")
    assert silent.line(exchange(route=route)) == 'INFO:     - - "GET /books/{id} HTTP/1.1" 200 OK'
    assert silent.line(exchange()) == 'INFO:     - - "GET - HTTP/1.1" 200 OK'


def test_an_address_is_masked_even_where_the_policy_keeps_it_whole_and_a_query_is_redacted() -> None:
    whole = console(POLICY.replace(KEPT, KEPT.replace("masked", "full") + '\n"url.query" = "full"'))
    line = whole.line(exchange(query_string=b"q=1&token=s3cret"))
    assert line == 'INFO:     203.0.113.0 - "GET /books/1?q=1&token=[redacted] HTTP/1.1" 200 OK'


MOST = console(POLICY.replace(KEPT, KEPT + '\n"url.query" = "full"'))
LEAST = console(POLICY.replace(KEPT, "[log.necessary]"))


@settings(max_examples=100, deadline=None)
@given(asked=strategies.http_scopes() | strategies.websocket_scopes(), template=st.text(st.characters(codec=None)))
def test_whatever_was_sent_a_line_is_one_line_that_steers_nothing(asked: dict[str, Any], template: str) -> None:
    finished = Exchange(asked, asked | {"route": SimpleNamespace(path=template)}, {}, NOTHING, 0)
    assert MOST.line(finished).isprintable()
    assert LEAST.line(finished).isprintable()


def test_lines_arrive_in_order() -> None:
    reader, writer = os.pipe()
    shown = console(fd=writer)
    for number in range(500):
        shown.show(exchange(f"/{number}"))
        while shown._lines.qsize() > 900:
            time.sleep(0.001)
    shown.close()
    os.close(writer)
    with open(reader) as pipe:
        assert [line.split()[4] for line in pipe] == [f"/{number}" for number in range(500)]


def test_after_close_and_in_a_forked_child_lines_still_arrive() -> None:
    reader, writer = os.pipe()
    shown = console(fd=writer)
    shown.show(exchange("/parent"))
    shown.close()
    if (child := os.fork()) == 0:
        shown.show(exchange("/child"))
        shown.close()
        os._exit(0)
    os.waitpid(child, 0)
    shown.show(exchange("/again"))
    shown.close()
    os.close(writer)
    with open(reader) as pipe:
        assert [line.split()[4] for line in pipe] == ["/parent", "/child", "/again"]


PROGRAM = """
import sys
from tests.support.access_lines import console, exchange
shown = console()
for number in range(20_000):
    shown.show(exchange(f"/{number}"))
print("served", file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize("trouble", ["nobody reads", "broken pipe", "closed"])
def test_trouble_with_the_output_stops_no_request_and_no_end(trouble: str) -> None:
    reader, writer = os.pipe()
    if trouble == "broken pipe":
        os.close(reader)
    program = "import os; os.close(1)\n" + PROGRAM if trouble == "closed" else PROGRAM
    done = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60,
                          check=False)  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "served\n")
    if trouble == "nobody reads":
        os.close(reader)


def _end(shown: Console, writer: int) -> None:
    shown.close()
    os.close(writer)


def test_what_a_slow_output_missed_is_told() -> None:
    reader, writer = os.pipe()
    shown = console(fd=writer)
    sent = 5_000
    for number in range(sent):
        shown.show(exchange("/" + "x" * 400 + str(number)))
    with open(reader) as pipe:
        lines = [pipe.readline()]
        while "not shown" not in lines[-1] and "/last" not in lines[-1]:
            if shown._lines.qsize() < 900:
                shown.show(exchange("/last"))
            lines.append(pipe.readline())
        # Its thread must be done with the number of this pipe before another file gets it.
        ending = threading.Thread(target=_end, args=(shown, writer))
        ending.start()
        lines += pipe.read().splitlines()
        ending.join()
        missed = [int(line.split()[1]) for line in lines if "not shown" in line]
        arrived = sum("xxx" in line for line in lines)
    assert missed
    assert arrived + sum(missed) <= sent


SITE = """
import asyncio, sys
from pathlib import Path
from tests.support.asgi import drive, scope
from tests.support.policies import POLICY
from consent_mw import ConsentMiddleware

async def app(scope, receive, send):
    if scope["path"] == "/crash":
        raise RuntimeError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})

async def main():
    Path("policy.toml").write_text(POLICY)
    site = ConsentMiddleware(app, policy="policy.toml", secret_keys=["k" * 32], console=True, exclude=("/health",))
    for path, sent in (("/", b"/"), ("/health", b"/health"), ("/\\x1b[2J", b"/%1B%5B2J"), ("/a/b", b"/a%2Fb")):
        await drive(site, scope(path, raw_path=sent))
    try:
        await drive(site, scope("/crash"))
    except RuntimeError:
        pass

asyncio.run(main())
"""


def test_the_middleware_writes_a_line_for_each_exchange(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}
    done = subprocess.run([sys.executable, "-c", SITE], capture_output=True, text=True, cwd=tmp_path, env=environment,
                          check=True)  # fmt: skip
    assert done.stdout.splitlines() == [
        'INFO:     203.0.113.0 - "GET / HTTP/1.1" 200 OK',
        'INFO:     203.0.113.0 - "GET /health HTTP/1.1" 200 OK',
        'INFO:     203.0.113.0 - "GET /%1B%5B2J HTTP/1.1" 200 OK',
        'INFO:     203.0.113.0 - "GET /a%2Fb HTTP/1.1" 200 OK',
        'INFO:     203.0.113.0 - "GET /crash HTTP/1.1" 500 Internal Server Error (RuntimeError)',
    ]
