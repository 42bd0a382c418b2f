"""What the caller may say stands in one place, is described there, and is checked before anything is written."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from consent_mw import ConsentMiddleware
from consent_mw.exceptions import ConfigurationError
from consent_mw.runtime.options import Given, Options


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("nobody asks")


def test_each_option_is_described_and_can_be_given() -> None:
    names = [field.name for field in fields(Options)]
    described = re.findall(r"^        (\w+): ", (Options.__doc__ or "").split("Raises:")[0], flags=re.MULTILINE)
    assert described == names == list(get_type_hints(Given))


def test_what_the_documents_promise_is_the_default() -> None:
    default = {field.name: field.default for field in fields(Options)}
    assert default["pending_wait"] == timedelta(milliseconds=50)
    assert default["sync_interval"] == timedelta(seconds=1)
    assert default["spool_bytes"] == 256 << 20


def test_an_option_that_there_is_not_is_named() -> None:
    with pytest.raises(TypeError, match="'stor'"):
        ConsentMiddleware(app, policy="policy.toml", secret_keys=["k" * 32], stor=None)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"prefix": "consent"}, 'prefix: "consent" must begin with /'),
        ({"spool_bytes": 5}, "spool_bytes=5: is less than a mebibyte"),
        ({"sync_interval": timedelta()}, "sync_interval=0:00:00: is no time"),
        ({"pending_wait": timedelta()}, "pending_wait=0:00:00: is no time"),
        ({"exclude": "/health"}, 'exclude: is one text; write exclude=("/health",)'),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(wrong: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        ConsentMiddleware(app, policy=tmp_path / "policy.toml", secret_keys=["k" * 32], **wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_release_does_not_begin_with_an_empty_log_while_the_one_before_keeps_its_own(tmp_path: Path) -> None:
    for number in ("1", "2"):
        release = tmp_path / "releases" / number
        release.mkdir(parents=True)
        (release / "policy.toml").touch()
    current = tmp_path / "current"
    current.symlink_to("releases/1")
    first = Options(policy=current / "policy.toml", secret_keys=["a key of the tests, long enough"])
    first.data_directory.mkdir()
    assert first.data_directory == tmp_path / "releases/1/consent-data"
    current.unlink()
    current.symlink_to("releases/2")
    with pytest.raises(ConfigurationError, match=r"releases/1/consent-data beside it holds data; .* directory="):
        _ = first.data_directory
    assert not (tmp_path / "releases/2/consent-data").exists()
    elsewhere = Options(policy=current / "policy.toml", secret_keys=["a key of the tests"], directory=tmp_path / "data")
    assert elsewhere.data_directory == tmp_path / "data"
