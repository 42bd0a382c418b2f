"""Undeclared cookies: what is noted of them, how much of it, and how `consent-mw cookies` tells it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.support.asgi import drive, scope
from tests.support.repository import ROOT
from tests.support.undeclared_cookies import KEY, application

from consent_mw import ConsentMiddleware
from consent_mw.cli import main
from consent_mw.policy.loader import load
from consent_mw.spool.backlog import waiting_records


@pytest.fixture
def policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["init", str(tmp_path)]) == 0
    capsys.readouterr()
    return tmp_path / "policy.toml"


async def bare(scope, receive, send):
    headers = [(b"set-cookie", b"bare=1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def asked(app, *paths: str, cookie: bytes = b"") -> None:
    async def all_of_them() -> None:
        for path in paths:
            await drive(app, scope(path, headers=[(b"cookie", cookie)] if cookie else []))
        await app.runtime.drain.stop()

    asyncio.run(all_of_them())


def undeclared(policy: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert main(["cookies", "--policy", str(policy), "--json", *more]) == 0
    return {cookie["name"]: cookie for cookie in json.loads(capsys.readouterr().out)["cookies"]}


def test_an_undeclared_cookie_is_told_with_its_route_and_what_became_of_it(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(application(policy), "/books/1", "/books/2", cookie=b"stray=1; theme=dark")
    seen = undeclared(policy, capsys)
    assert set(seen) == {"surprise", "_fbp", "stray"}
    assert (seen["surprise"]["places"], seen["surprise"]["fates"]) == (["/books/{number}"], ["blocked"])
    assert seen["surprise"]["records"] == 1  # once for the route, whatever the path
    assert (seen["stray"]["set_by_application"], seen["stray"]["fates"]) == (False, ["taken out of requests"])


def test_each_process_adds_its_own_and_a_restart_forgets_nothing(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        asked(application(policy), "/books/1")
    assert undeclared(policy, capsys)["surprise"]["records"] == 3


def test_what_the_policy_declares_by_now_is_left_out(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked(application(policy), "/books/1")
    capsys.readouterr()
    assert main(["cookies", "--policy", str(policy)]) == 0
    printed = capsys.readouterr().out
    with policy.open("a") as file:
        file.write(printed.partition("[[cookies")[1] + printed.partition("[[cookies")[2])
    assert main(["check", str(policy), "--directory", str(policy.parent / "elsewhere")]) == 0
    declared = load(policy).cookie("_fbp")
    assert declared is not None
    assert declared.purpose == "marketing"
    assert undeclared(policy, capsys) == {}
    assert main(["cookies", "--policy", str(policy)]) == 0
    assert "does not declare" in capsys.readouterr().out


def test_only_reported_cookies_are_told_as_kept(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked(application(policy, report_only=True), "/books/1")
    assert undeclared(policy, capsys)["surprise"]["fates"] == ["kept, only reported"]


def test_a_path_without_a_route_is_sealed_and_not_shown(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = ConsentMiddleware(bare, policy=policy, secret_keys=[KEY])
    asked(app, "/users/kim")
    assert undeclared(policy, capsys)["bare"]["places"] == ["(a sealed path)"]
    stored = b"".join(file.read_bytes() for file in (policy.parent / "consent-data").rglob("*") if file.is_file())
    assert b"bare" in stored
    assert b"kim" not in stored


def test_a_policy_that_keeps_no_paths_keeps_none_of_these(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.write_text(policy.read_text().replace('"url.path" = "full"\n', ""))
    asked(ConsentMiddleware(bare, policy=policy, secret_keys=[KEY]), "/users/kim")
    assert undeclared(policy, capsys)["bare"]["places"] == ["(no route)"]


def test_what_of_a_name_belongs_to_one_visitor_is_not_kept(
    policy: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    sent = (
        b"id_0123456789abcdef0123456789abcdef=1; kim@example.com=1; kim%40b.example=1; _ga_ABC123DEF4=1; u4711000123=1"
    )
    asked(application(policy), "/none", cookie=sent)
    assert set(undeclared(policy, capsys)) == {"id_[redacted]", "[redacted]", "_ga_ABC123DEF4", "u[redacted]"}
    for file in (policy.parent / "consent-data").rglob("*"):
        assert not file.is_file() or not re.search(rb"0123456789abcdef|kim|4711000123", file.read_bytes())
    assert not re.search("0123456789abcdef|kim|4711000123", caplog.text)


def test_no_value_of_a_cookie_is_kept(policy: Path) -> None:
    asked(application(policy), "/books/1", cookie=b"stray=another-secret")
    for file in (policy.parent / "consent-data").rglob("*"):
        assert not file.is_file() or b"secret" not in file.read_bytes()


PROCESS = """
import asyncio, os, signal, sys
from tests.support.asgi import drive, scope
from tests.support.undeclared_cookies import application
from pathlib import Path
async def serve():
    await drive(application(Path(sys.argv[1])), scope("/books/1"))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(serve())
"""


def test_what_a_killed_process_had_seen_is_told_while_it_waits_for_the_store(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ROOT
    done = subprocess.run([sys.executable, "-c", PROCESS, policy], cwd=root, capture_output=True)
    assert done.returncode == -9
    spool = policy.parent / "consent-data/spool"
    before = {file: file.read_bytes() for file in spool.iterdir()}
    assert undeclared(policy, capsys)["surprise"]["fates"] == ["blocked"]
    assert [record.kind for record in waiting_records(spool, ("undeclared",))] == ["undeclared"] * 2
    assert {file: file.read_bytes() for file in spool.iterdir()} == before


def test_nobody_can_crowd_out_the_site_s_own_cookies_or_fill_the_disk(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = application(policy)

    async def flood() -> None:
        for number in range(60):
            sent = b"; ".join(b"junk%d_%d=1" % (number, n) for n in range(20))
            await drive(app, scope(f"/books/{number}", headers=[(b"cookie", sent)]))
        await app.runtime.drain.stop()

    asyncio.run(flood())
    seen = undeclared(policy, capsys)
    assert {name for name, cookie in seen.items() if cookie["set_by_application"]} == {"surprise", "_fbp"}
    assert sum(not cookie["set_by_application"] for cookie in seen.values()) == 1_000


def test_a_cookie_that_is_set_on_every_path_is_noted_at_ten(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked(ConsentMiddleware(bare, policy=policy, secret_keys=[KEY]), *(f"/{number}" for number in range(30)))
    assert undeclared(policy, capsys)["bare"]["records"] == 10


def test_names_that_anybody_can_send_get_no_toml_unless_they_are_well_known(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(application(policy), "/none", cookie=b"_ga=1; _ga_XYZ=1; evil=1")
    capsys.readouterr()
    assert main(["cookies", "--policy", str(policy)]) == 0
    out, err = capsys.readouterr()
    assert "evil" in out
    assert "not by this application" in out
    declared = tomllib.loads(out[out.index("[[cookies") :])["cookies"]["declared"]
    assert [(cookie["name"], cookie["purpose"]) for cookie in declared] == [("_ga*", "analytics")]
    assert "may come from a script" in err


def test_a_name_cannot_steer_the_terminal(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked(application(policy), "/none", cookie=b"\x1b[2J[red]=1; \xe2\x80\xae=1")
    capsys.readouterr()
    assert main(["cookies", "--policy", str(policy)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[red]" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "nowhere.toml"], "nowhere.toml"),
        ([], "there is no log here; run the site first"),
        (["--store", "nosuch://x"], "nosuch"),
    ],
)
def test_bad_input_is_one_line_with_the_mend(
    arguments: list[str],
    message: str,
    policy: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(policy.parent)
    assert main(["cookies", *arguments]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def test_a_name_that_no_policy_can_declare_comes_without_toml(policy: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def odd(scope, receive, send):
        headers = [(b"set-cookie", line) for line in (b"k[1]=1", b"plain=1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    asked(ConsentMiddleware(odd, policy=policy, secret_keys=[KEY], directory=policy.parent / "data"), "/")
    warnings = [record.getMessage() for record in caplog.records if "is not declared" in record.getMessage()]
    assert ["rename the cookie" in text for text in warnings] == [True, False]
    assert ["[[cookies.declared]]" in text for text in warnings] == [False, True]


def test_what_is_proposed_lasts_as_long_as_the_application_asked_for(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def sets(scope, receive, send):
        lines = [b"cart=1; Max-Age=3600", b"cart=1; Max-Age=7200", b"login=1"]
        if scope["path"] == "/more":
            lines = [b"cart=1", b"tab_0123456789abcdef=1; Max-Age=86400"]
        headers = [(b"set-cookie", line) for line in lines]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    asked(ConsentMiddleware(sets, policy=policy, secret_keys=[KEY]), "/", "/more")
    capsys.readouterr()
    assert main(["cookies", "--policy", str(policy), "--json"]) == 0
    proposals = tomllib.loads("\n".join(json.loads(capsys.readouterr().out)["toml"]))["cookies"]["declared"]
    assert {cookie["name"]: cookie["expires"] for cookie in proposals} == {
        "cart": "1 hour", "login": "session", "tab_*": "1 day",
    }  # fmt: skip
