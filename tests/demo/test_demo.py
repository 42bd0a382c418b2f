"""The demo shop as a program: what it prints, writes and refuses, and what its pages answer over a real socket."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from tests.support.ports import free_port
from tests.support.repository import ROOT
from websockets.sync.client import connect

import consent_mw.demo
from consent_mw.cli import main
from consent_mw.consent.permissions import Reason, Verdict
from consent_mw.demo.texts import LANGUAGES, texts
from consent_mw.policy.loader import load

SERVE = "import sys; from consent_mw.demo.server import serve; serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])"
PACKAGE = Path(consent_mw.demo.__file__).parent
PAGES = ("/", "/books", "/books?q=kim", "/contact", "/about")


class Demo(NamedTuple):
    """A running demo: `address` ends with a slash, `lines` is what it printed."""

    process: subprocess.Popen[str]
    address: str
    lines: tuple[str, str]
    directory: Path


def start(directory: Path, port: int = 0) -> subprocess.Popen[str]:
    program = [sys.executable, "-c", SERVE, "127.0.0.1", str(port), str(directory)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def opened(directory: Path) -> Iterator[Demo]:
    process = start(directory)
    assert process.stdout is not None
    lines = process.stdout.readline(), process.stdout.readline()
    address = re.search(r"http://\S+/", lines[0])
    if address is None:
        process.kill()
        pytest.fail(f"the demo did not start: {process.communicate()[1] or lines}")
    demo = Demo(process, address.group(), lines, directory)
    try:
        yield demo
    finally:
        if process.poll() is None:
            closed(demo)


def closed(demo: Demo) -> tuple[str, str]:
    """Press Ctrl-C; return what the demo printed after its two lines."""
    demo.process.send_signal(signal.SIGINT)
    return demo.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with opened(tmp_path_factory.mktemp("demo") / "data") as demo:
        yield demo


@pytest.fixture
def visitor(demo: Demo) -> Iterator[httpx.Client]:
    """A browser without JavaScript: it keeps cookies and says where its forms come from."""
    origin = {"Origin": demo.address.rstrip("/"), "Accept-Language": "en"}
    with httpx.Client(base_url=demo.address, headers=origin, timeout=60) as client:
        yield client


def choose(visitor: httpx.Client, choice: str) -> None:
    answer = visitor.post("/consent/choice", data={"choice": choice, "next": "/"})
    assert answer.status_code == 303, answer.text


# -- the program ---------------------------------------------------------------------------------------------------


def test_it_prints_one_line_with_the_address_and_one_with_where_the_log_is(tmp_path):
    with opened(tmp_path / "data") as demo:
        assert httpx.get(demo.address).status_code == 200
        rest, _ = closed(demo)
    assert str(demo.directory) in demo.lines[1]
    assert f"consent-mw log --directory {demo.directory}" in demo.lines[1]
    assert rest == ""


def test_ctrl_c_closes_it_in_order(tmp_path):
    with opened(tmp_path / "data") as demo, httpx.stream("GET", demo.address + "stream"):
        _, complaints = closed(demo)
    assert demo.process.returncode == 0, complaints
    assert "Traceback" not in complaints


@pytest.mark.parametrize("step", ["__init__", "get_loop_factory"])
def test_ctrl_c_before_the_server_has_begun_is_no_complaint(tmp_path, step):
    interrupted = f"import uvicorn\ndef stop(*given, **more): raise KeyboardInterrupt\nuvicorn.Config.{step} = stop\n"
    program = [sys.executable, "-c", interrupted + SERVE, "127.0.0.1", "0", str(tmp_path / "data")]
    result = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_without_a_server_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    for name in ("uvicorn", "websockets"):
        monkeypatch.setitem(sys.modules, name, None)  # as Python marks a module that is not there
    assert main(["demo", "--directory", str(tmp_path / "data")]) == 1
    assert "uvicorn and websockets cannot be imported; run: pip install 'consent-mw[demo]'" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_busy_port_is_one_clear_line_and_nothing_is_written(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(tmp_path / "data", port)
        printed, complaints = process.communicate(timeout=60)
    assert process.returncode == 1
    assert printed == ""
    assert re.search(rf"ConfigurationError: 127\.0\.0\.1:{port}: .*--port", complaints.splitlines()[-1])
    assert not (tmp_path / "data").exists()


def test_a_directory_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("a file where a directory is wanted")
    process = start(tmp_path / "file" / "data")
    printed, complaints = process.communicate(timeout=60)
    assert process.returncode == 1
    assert printed == ""
    assert re.search(r"ConfigurationError: .*file/data: .*--directory", complaints.splitlines()[-1])


def test_the_secret_key_is_for_its_owner_alone(demo):
    assert stat.S_IMODE((demo.directory / "secret.key").stat().st_mode) == 0o600


def test_a_second_start_keeps_the_policy_the_key_and_the_visitors_choice(tmp_path):
    with httpx.Client() as visitor:
        with opened(tmp_path / "data") as demo:
            visitor.base_url = httpx.URL(demo.address)
            visitor.headers["Origin"] = demo.address.rstrip("/")
            assert 'data-consent="banner"' in visitor.get("/").text
            choose(visitor, "reject")
        policy = tmp_path / "data" / "policy.toml"
        changed = policy.read_text(encoding="utf-8").replace("02-000-0000", "02-111-1111")
        policy.write_text(changed, encoding="utf-8")
        with opened(tmp_path / "data") as demo:
            assert 'data-consent="banner"' not in visitor.get(demo.address).text
    assert policy.read_text(encoding="utf-8") == changed


# -- what is shipped -----------------------------------------------------------------------------------------------


def test_every_text_is_there_in_every_language():
    written = tomllib.loads((PACKAGE / "texts.toml").read_text(encoding="utf-8"))
    entries = [*(value for value in written.values())]
    while entries:
        entry = entries.pop()
        assert isinstance(entry, dict), f"{entry!r} is in one language only"
        if set(entry) & set(LANGUAGES):
            assert set(entry) == set(LANGUAGES), entry
        else:
            entries += entry.values()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_panel_has_words_for_every_verdict_and_reason(language):
    assert set(texts(language)["reason"]) == {reason.name for reason in Reason}
    assert set(texts(language)["verdict"]) == {verdict.value for verdict in Verdict}


def test_its_policy_forgot_one_cookie_alone():
    policy = load(PACKAGE / "policy.toml")
    set_by_the_shop = ("session", "theme", "reader_name", "_shop_visits", "ad_id", "legacy_tracker")
    assert [name for name in set_by_the_shop if policy.cookie(name) is None] == ["legacy_tracker"]


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    for template in PACKAGE.glob("templates/*.html"):
        html = template.read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script[^>]*>\s*[^<\s]", html), template
        assert "//" not in re.sub(r"\{\{.*?\}\}", "", html), template


# -- its pages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", PAGES)
def test_a_page_speaks_the_visitors_language(visitor, path, language):
    page = visitor.get(path, headers={"Accept-Language": language})
    assert page.status_code == 200
    assert f'<html lang="{language}"' in page.text
    assert texts(language)["panel"]["title"] in page.text


def test_the_language_link_beats_the_browser_and_stays_in_the_links(visitor):
    page = visitor.get("/?lang=ko")
    assert '<html lang="ko"' in page.text
    assert 'href="/books?lang=ko"' in page.text


def test_a_page_that_is_missing_is_a_page_too(visitor):
    page = visitor.get("/nowhere")
    assert page.status_code == 404
    assert texts("en")["missing"] in page.text


@pytest.mark.parametrize("path", PAGES)
def test_without_a_choice_a_page_sets_its_necessary_cookie_only(visitor, path):
    visitor.get(path)
    assert set(visitor.cookies) == {"session"}


def test_a_form_leads_back_with_303_and_its_cookie_is_blocked_without_a_choice(visitor):
    visitor.get("/contact")
    answer = visitor.post("/contact", data={"name": "한나", "email": "hanna@example.com"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/contact"
    page = visitor.get("/contact")
    assert texts("en")["contact"]["thanks"] in page.text
    assert 'data-cookie="reader_name" data-verdict="blocked"' in page.text
    assert "reader_name" not in visitor.cookies
    assert "한나" not in page.text


def test_a_form_remembers_the_name_of_who_allows_it(visitor):
    choose(visitor, "accept")
    visitor.get("/contact")
    visitor.post("/contact", data={"name": "한나", "email": "hanna@example.com"})
    page = visitor.get("/contact")
    assert 'data-cookie="reader_name" data-verdict="kept"' in page.text
    assert 'value="한나"' in page.text


def test_the_colours_follow_the_cookie(visitor):
    choose(visitor, "accept")
    visitor.get("/about")
    assert visitor.post("/theme", data={"theme": "night"}).headers["location"] == "/about"
    assert 'data-theme="night"' in visitor.get("/about").text


def test_the_basket_is_kept_whatever_was_chosen(visitor):
    choose(visitor, "reject")
    visitor.get("/books")
    visitor.post("/basket", data={"book": "moby"})
    assert '<b id="basket">1</b>' in visitor.get("/books").text


def test_a_search_says_whether_it_was_counted(visitor):
    assert texts("en")["books"]["uncounted"] in visitor.get("/books?q=kim").text
    choose(visitor, "accept")
    assert texts("en")["books"]["counted"] in visitor.get("/books?q=kim").text


def test_the_stock_is_json(visitor):
    answer = visitor.get("/api/stock")
    assert answer.headers["content-type"] == "application/json"
    assert {"title": "Moby-Dick", "copies": 3} in answer.json()


@pytest.mark.parametrize(("accept", "begin"), [("text/event-stream", "data: There is"), ("text/html", "There is")])
def test_the_poem_arrives_piece_by_piece(visitor, accept, begin):
    with visitor.stream("GET", "/stream", headers={"Accept": accept}) as answer:
        pieces = list(answer.iter_text())
    assert pieces[0].startswith(begin)
    assert len(pieces) >= 4


def test_the_bookseller_answers_over_a_websocket(demo):
    with connect(demo.address.replace("http", "ws", 1) + "ws?lang=en") as socket:
        socket.send("Moby-Dick")
        assert "Moby-Dick" in socket.recv(timeout=60)


@pytest.mark.parametrize("form", ["theme", "contact", "report", "basket"])
@pytest.mark.parametrize("body", [b"", b"theme=%FF&name=%00&book=%0D%0A", b"\xff\xfe", b"a" * 20_000])
def test_a_hostile_form_is_answered_like_any_other(visitor, form, body):
    assert visitor.post(f"/{form}", content=body).status_code == 303


def test_the_partners_frame_has_no_banner_of_its_own(visitor):
    frame = visitor.get("/partner")
    assert texts("en")["partner"]["headline"] in frame.text
    assert "data-consent" not in frame.text
    assert not visitor.cookies


# -- the five lines ------------------------------------------------------------------------------------------------


def test_the_example_runs_with_one_command_and_blocks_its_cookie(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    port = free_port()
    program = [sys.executable, "-m", "uvicorn", "examples.starlette_app:app", "--port", str(port)]
    server = subprocess.Popen(program, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        for line in server.stderr:
            if "Uvicorn running" in line:
                break
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as visitor:
            page = visitor.get("/?q=ap")
            assert "apple, apricot, grape" in page.text
            assert "was not counted" in page.text
            assert 'data-consent="banner"' in page.text
            assert not visitor.cookies
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
