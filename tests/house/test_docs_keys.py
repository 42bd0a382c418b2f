"""The keyring that `docs/keys.md` builds serves a site and the commands, as printed there."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from tests.support.asgi import drive, scope
from tests.support.policies import POLICY
from tests.support.repository import ROOT

from consent_mw import ConsentMiddleware, get_consent
from consent_mw.cli import main
from consent_mw.crypto.day_parts import of_label
from consent_mw.crypto.keyring import FileKeyring, ForeignKeyring, Keyring
from consent_mw.exceptions import ConfigurationError, KeyringUnreachable

PAGE = ROOT / "docs" / "keys.md"
BLOCK = re.findall(r"^```python\n(# my_keyring\.py\n.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)[0]
RING = ("--keyring", "my_keyring:keyring")


async def app(scope, receive, send):
    get_consent(scope).report_abuse("guessing")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keyring:
    """In a directory with a policy and the page's block as a module, the keyring that it makes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "my_keyring.py").write_text(BLOCK)
    names: dict[str, object] = {}
    exec(compile(BLOCK, "my_keyring.py", "exec"), names)
    keyring: Keyring = names["keyring"]()  # type: ignore[operator]  # from the page, by name
    return keyring


def visited(keyring: Keyring, drain: bool = True) -> None:
    async def visit() -> None:
        site = ConsentMiddleware(app, policy="policy.toml", secret_keys=["k" * 32], keyring=keyring, drain=drain)
        await drive(site, scope("/books"))
        await site.runtime.drain.stop()

    asyncio.run(visit())


def test_each_purpose_has_its_keys_where_they_belong_and_the_commands_find_them(
    keyring: Keyring, capsys: pytest.CaptureFixture[str]
) -> None:
    visited(keyring, drain=False)
    assert {of_label(label)[0] for _, label in FileKeyring("keys-apart").live()} == {"abuse", "receipts"}
    assert not Path("consent-data/keys").exists()
    assert main(["drain", "--once", *RING]) == 0
    capsys.readouterr()
    for purpose, field, value in (("necessary", "url.path", "/books"), ("abuse", "client.address", "203.0.113.77")):
        assert (
            main(["log", "--json", "--kind", "visit", "--kind", "abuse", "--purpose", purpose, "--reason", "x", *RING])
            == 0
        )
        assert json.loads(capsys.readouterr().out)[field] == value
    assert main(["purge", *RING]) == 0


def test_a_destroyed_key_opens_nothing_any_more(keyring: Keyring, capsys: pytest.CaptureFixture[str]) -> None:
    visited(keyring)
    for day, purpose in keyring.live():
        assert keyring.destroy(day, purpose)
    assert keyring.live() == []
    assert main(["export", "--format", "jsonl", "--purpose", "abuse", "--reason", "x", *RING]) == 0
    assert json.loads(capsys.readouterr().out)["sealed"] == "destroyed"


@pytest.mark.parametrize("named", ["my_keyring:nothing", "nowhere:keyring", "my_keyring", ""])
def test_what_names_no_keyring_is_one_line_with_the_mend(
    keyring: Keyring, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    visited(keyring)
    capsys.readouterr()
    assert main(["log", "--keyring", named]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "such as my_keyring:keyring" in err


def test_what_a_foreign_keyring_raises_counts_as_out_of_reach(tmp_path: Path) -> None:
    class Away(FileKeyring):
        def live(self) -> list[tuple[int, str]]:
            raise ConnectionResetError("hung up")

    with pytest.raises(KeyringUnreachable, match="ConnectionResetError: hung up"):
        ForeignKeyring(Away(tmp_path / "keys")).live()
    id_bytes = len(FileKeyring(tmp_path / "keys", name="").name)
    for name in ("n" * (101 - id_bytes), "책" * 33, "a\nb", "\ud800"):
        with pytest.raises(ConfigurationError, match="1 to 100 bytes, without control characters"):
            ForeignKeyring(FileKeyring(tmp_path / "keys", name=name))
    assert len(ForeignKeyring(FileKeyring(tmp_path / "keys", name="n" * (100 - id_bytes))).name) == 100
