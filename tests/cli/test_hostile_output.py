"""Whatever visitors send, nothing that the program says obeys it: not the log of the server, and no command."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.support.asgi import drive, scope
from tests.support.exchanges import KEY, cookie_for
from tests.support.policies import POLICY

from consent_mw import Choice, ConsentMiddleware, get_consent
from consent_mw.cli import main
from consent_mw.policy.model import FIELDS

#: A screen cleared, a line forged, the writing turned, a sequence in one byte, a NUL, markup, a formula.
EVIL = "\x1b[2J\nINFO: forged\u202e\x9b2J\x00\r[red]=cmd|'/c calc'!A1\""
BYTES = EVIL.encode()
EVERYTHING = "\n".join(f'"{name}" = "full"' for name in FIELDS)
WHOLE = POLICY.replace('"client.address" = "masked"\n"url.path" = "full"', EVERYTHING)


async def app(scope: Any, receive: Any, send: Any) -> None:
    consent = get_consent(scope)
    consent.record_event("said", word=EVIL)
    consent.record_event(EVIL)
    consent.record_event("said", **{EVIL: EVIL})
    consent.report_abuse(EVIL)
    headers = [(b"set-cookie", b"own\x9b2J\xe2\x80\xae=1; Path=/\x9b2J")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x"})


async def visited(directory: Path) -> None:
    policy = directory / "policy.toml"
    policy.write_text(WHOLE + '[events.said]\npurpose = "analytics"\nfields = { word = "str" }\n')
    site = ConsentMiddleware(app, policy=policy, secret_keys=[KEY], console=True)
    sent = cookie_for(Choice.ACCEPT)[1] + b"; " + BYTES.replace(b"=", b"") + b"=1; \xe2\x80\xae=1"
    headers = [(b"user-agent", BYTES), (b"referer", b"https://a.example/" + BYTES), (b"cookie", sent)]
    asked = {"path": f"/{EVIL}\ud800", "query_string": BYTES, "method": EVIL, "http_version": EVIL}
    await drive(site, {**scope(headers=headers), **asked})
    await site.runtime.drain.stop()
    assert site.runtime.console is not None
    site.runtime.console.close()


def test_no_output_obeys_what_a_visitor_sent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(visited(tmp_path))
    harmless(capfd.readouterr().out, "HTTP/")
    harmless("\n".join(caplog.messages), "is not declared")
    data, policy = ("--directory", str(tmp_path / "consent-data")), ("--policy", str(tmp_path / "policy.toml"))
    because = ("--reason", EVIL, "--as", EVIL)
    for purpose, said in (("necessary", "calc"), ("analytics", "calc"), ("abuse", "calc")):
        asked = (*data, "--purpose", purpose, *because)
        for command in (["log"], ["log", "--json"], *(["export", "--format", form] for form in ("jsonl", "csv"))):
            assert main([*command, *asked]) == 0
            harmless(capfd.readouterr().out.removeprefix("\ufeff"), said)
    for command in (
        ["export", "--format", "combined", *data, "--purpose", "necessary", *because],
        ["audit", *data],
        ["audit", "--json", *data],
        ["cookies", *policy],
        ["cookies", "--json", *policy],
    ):
        assert main(command) == 0
        harmless(capfd.readouterr().out, "2J")


def harmless(said: str, word: str) -> None:
    assert word in said
    lines = said.split("\n")
    assert not [ascii(line) for line in lines if not line.removesuffix("\r").isprintable()]
    assert not [line for line in lines if line.startswith("INFO: forged")]


def test_a_name_that_no_policy_can_declare_is_not_proposed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(visited(tmp_path))
    assert len([message for message in caplog.messages if message.endswith("rename the cookie")]) == 3
    assert "[[cookies.declared]]" not in caplog.text


@pytest.mark.parametrize("name", ["it's", "a`$|~", "#1", "*"])
def test_what_the_warning_says_to_paste_is_one_cookie_of_that_name(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    site = ConsentMiddleware(app, policy=tmp_path / "policy.toml", secret_keys=[KEY])
    asyncio.run(drive(site, scope(headers=[(b"cookie", f"{name}=1".encode())])))
    (text,) = [text for message in caplog.messages if (text := message.partition("\n\n")[2])]
    (declared,) = tomllib.loads(text)["cookies"]["declared"]
    assert declared["name"] == name
    assert set(declared) == {"name", "purpose", "expires", "description"}


def test_the_warning_has_no_path_that_the_policy_does_not_keep(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "policy.toml").write_text(POLICY.replace('"url.path" = "full"\n', ""))
    site = ConsentMiddleware(app, policy=tmp_path / "policy.toml", secret_keys=[KEY])
    asyncio.run(drive(site, scope("/users/kim", headers=[(b"cookie", b"stray=1")])))
    assert len([message for message in caplog.messages if "does not keep" in message]) == 1
    assert "kim" not in caplog.text
