"""What is sent to the page of one's data by anybody: answered alike, limited, refused by name, kept or not claimed."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.asgi import set_cookies
from tests.support.my_data_site import (
    ERASE,
    JSON,
    OURS,
    PAGE,
    asks,
    body,
    cases,
    data,
    erased,
    header,
    reads,
    run,
    site,
    words,
)
from tests.support.policies import POLICY
from tests.support.visitors import Visitor

from consent_mw.paths import Places
from consent_mw.testing.clock import Clock

# -- somebody unknown -----------------------------------------------------------------------------------------------


def test_promise_1_the_form_needs_an_email_address_only(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        html = body(await visitor.gets(PAGE, query_string=b"lang=en"))
        assert re.findall(r'name="(\w+)"[^>]* required', html) == ["email"]
        sent = await asks(visitor, ("action", "ask"), ("kind", "erasure"), ("email", "kim@example.com"))
        assert "Your request has been received" in words(await reads(visitor, sent))
        assert (await asks(visitor, ("action", "ask"), ("kind", "erasure"), ("phone", "02 123")))[0]["status"] == 422
        (case,) = await cases(app)
        assert (case.request.channel, case.request.email, case.request.person.is_known) == (
            "form",
            "kim@example.com",
            False,
        )
        await erased(app)
        assert (await cases(app))[0].ended is None  # an address proves nothing: staff answer

    run(work)


def test_the_answer_does_not_tell_whether_a_person_exists(tmp_path: Path) -> None:
    """Conformance 26."""

    async def work() -> None:
        app = site(tmp_path)
        owner = Visitor(app)
        await owner.picks("accept")
        await asks(owner, ("action", "ask"), ("kind", "erasure"), ("email", "known@example.com"))
        answers = []
        for email in ("known@example.com", "never@example.com"):
            stranger = Visitor(app)
            sent = await asks(stranger, ("action", "ask"), ("kind", "erasure"), ("email", email))
            shown = await reads(stranger, sent)
            answers.append((sent[0]["status"], len(header(sent, "location")), len(body(shown))))
        assert answers[0] == answers[1]
        for fields in ((("action", "withdraw"), ("purpose", "all")), ERASE, (("action", "restrict"),)):
            sent = await asks(Visitor(app), *fields)
            assert (sent[0]["status"], set_cookies(sent)) == (403, [])

    run(work)


def test_who_asks_too_often_waits_and_nobody_else(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock()
        app = site(tmp_path, clock=clock)
        form = (("action", "ask"), ("kind", "access"), ("email", "kim@example.com"))
        statuses = [(await asks(Visitor(app), *form))[0]["status"] for _ in range(6)]
        assert statuses == [303] * 5 + [429]
        sent = await asks(Visitor(app), *form, client=("203.0.113.9", 1))  # the same network
        assert sent[0]["status"] == 429
        assert 0 < int(header(sent, "retry-after")) <= 600
        assert (await asks(Visitor(app), *form, client=("198.51.100.1", 1)))[0]["status"] == 303
        clock.advance(timedelta(minutes=10))
        assert (await asks(Visitor(app), *form))[0]["status"] == 303

    run(work)


# -- what is sent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ((), "action"),
        ((("action", "explode"),), "action"),
        ((("action", "withdraw"),), "purpose"),
        ((("action", "withdraw"), ("purpose", "necessary")), "purpose"),
        ((("action", "dispute"), ("message", "  ")), "message"),
        ((("action", "dispute"), ("message", "x"), ("record", "not one")), "record"),
        ((("action", "dispute"), ("message", "x" * 2_001)), "message"),
        ((("action", "dispute"), ("message", "\x1b[2J")), "message"),
        ((("action", "dispute"), ("message", "\u202egnp.exe")), "message"),
        ((("action", "correct"), ("value", "x")), "item"),
        ((("action", "correct"), ("item", "name"), ("value", "a\nb")), "value"),
        ((("action", "ask"), ("kind", "money"), ("email", "a@example.com")), "kind"),
        ((("action", "ask"), ("kind", "access"), ("email", "a@example.com\r\nBcc: b@example.com")), "email"),
        ((("action", "ask"), ("kind", "access"), ("email", "<script>@example.com")), "email"),
        ((("action", "ask"), ("kind", "access"), ("email", "a@example.com"), ("phone", "call me")), "phone"),
        ((("action", "erase"), ("action", "erase")), "action"),
    ],
)
def test_a_bad_form_names_what_may_stand_there_and_stores_nothing(
    fields: Sequence[tuple[str, str]], field: str, tmp_path: Path
) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        sent = await asks(visitor, *fields, headers=[OURS, JSON])
        answer = json.loads(body(sent))
        assert sent[0]["status"] in (400, 422)
        assert answer["field"] == field
        assert answer["allowed"] or sent[0]["status"] == 400
        assert (await asks(visitor, *fields))[0]["status"] == sent[0]["status"]
        assert await cases(app) == []

    run(work)


def test_another_site_can_ask_for_nothing_and_a_silent_browser_is_asked_for_a_token(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        for foreign in ((b"sec-fetch-site", b"cross-site"), (b"origin", b"https://evil.example")):
            sent = await asks(visitor, *ERASE, headers=[foreign])
            assert (sent[0]["status"], set_cookies(sent)) == (403, [])
        sent = await asks(visitor, *ERASE, headers=[])
        assert header(sent, "location") == f"{PAGE}?again=unknown"
        assert await cases(app) == []
        html = body(await reads(visitor, sent))
        assert "did not say which page" in html
        token = re.findall(r'name="token" value="([^"]+)"', html)[0]
        sent = await asks(visitor, ("action", "restrict"), ("token", token), headers=[])
        assert "done=restrict" in header(sent, "location")

    run(work)


SERVED = """
from consent_mw import ConsentMiddleware
from starlette.applications import Starlette

app = ConsentMiddleware(Starlette(), policy="policy.toml", secret_keys=["a key of at least 16 bytes"])
"""


def test_what_is_registered_survives_sigkill_once_the_visitor_has_read_so(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY, "utf-8")
    (tmp_path / "served_site.py").write_text(SERVED)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, command = listener.getsockname()[1], [sys.executable, "-m", "uvicorn", "served_site:app"]
        server = subprocess.Popen(
            [*command, "--fd", str(listener.fileno())], cwd=tmp_path, pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            accepted = posted(port, "/consent/choice", "choice=accept")
            cookie = str(accepted.getheader("set-cookie")).partition(";")[0]
            answer = posted(port, PAGE, "action=restrict", cookie=cookie)
        finally:
            server.kill()
            server.wait(60)
    assert answer.status == 303
    number = str(answer.getheader("location")).partition("restrict.")[2][:32]

    async def work() -> None:
        assert [case.request.id.hex for case in await cases(site(tmp_path))] == [number]

    run(work)


def posted(port: int, path: str, form: str, **headers: str) -> http.client.HTTPResponse:
    """Post a form as a browser does from a page of ours; the server may still be starting, and the socket waits."""
    headers |= {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", path, form, headers)
        answer = connection.getresponse()
        answer.read()
        return answer


def test_what_cannot_be_kept_is_not_claimed_and_nothing_is_changed(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        await app.runtime.drain.once()
        keyring = app.runtime.sealer.keyring
        day = app.runtime.options.clock() // 86_400_000_000_000
        keyring.key(day, "requests", create=True)
        keyring.destroy(day, "requests")
        for fields in (ERASE, (("action", "withdraw"), ("purpose", "all")), (("action", "restrict"),)):
            sent = await asks(visitor, *fields)
            assert (sent[0]["status"], header(sent, "retry-after"), set_cookies(sent)) == (503, "5", [])
            assert "count as received" in words(await asks(visitor, *fields, query_string=b"lang=en"))
        assert json.loads(body(await visitor.gets("/consent/state")))["choice"] == "accept"

    run(work)


def test_a_script_gets_the_number_and_the_address_of_what_it_asked_for(tmp_path: Path) -> None:
    async def work() -> None:
        visitor = Visitor(site(tmp_path))
        await visitor.picks("accept")
        sent = await asks(visitor, ("action", "restrict"), headers=[OURS, JSON])
        answer = json.loads(body(sent))
        assert (answer["done"]["action"], answer["done"]["state"]) == ("restrict", "open")
        path, _, query = answer["address"].partition("?")
        shown = json.loads(body(await visitor.gets(path, query_string=query.encode(), headers=[JSON])))
        assert shown["done"]["number"] == answer["done"]["number"] == shown["requests"][0]["number"]

    run(work)


def test_while_the_store_is_away_what_was_asked_stands_and_nothing_else_is_told(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        sent = await asks(visitor, ("action", "restrict"))
        report = await data(visitor)
        await app.runtime.drain.stop()
        take_away(Places(tmp_path / "consent-data").database)
        shown = await reads(visitor, sent)
        assert (shown[0]["status"], header(shown, "retry-after")) == (503, "5")
        assert "Reference number: " + report["requests"][0]["number"] in words(shown)
        assert "can't be reached" in words(shown)
        sent = await asks(visitor, ("action", "ask"), ("kind", "access"), ("email", "kim@example.com"))
        assert sent[0]["status"] == 303  # the spool takes it
        assert (await asks(visitor, ("action", "lift")))[0]["status"] == 503

    run(work)


def take_away(database: Path) -> None:
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()
    database.mkdir()  # no file can be opened there
