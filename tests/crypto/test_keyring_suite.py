"""Our keyrings keep the contract, and the suite finds those that do not."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from consent_mw.crypto.keyring import FileKeyring, Keyring
from consent_mw.exceptions import KeyDestroyed
from consent_mw.testing.keyring_suite import KeyringSuite, NewKeyring


class TestFileKeyring(KeyringSuite):
    @pytest.fixture
    def new_keyring(self, tmp_path: Path) -> NewKeyring:
        return partial(FileKeyring, tmp_path / "keys")


class Wrong:
    """A keyring with one fault, over a right one."""

    def __init__(self, path: Path) -> None:
        self.right = FileKeyring(path)
        self.name = self.right.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.right, name)


class Forgets(Wrong):
    """It gives a new key where the old one was destroyed."""

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        try:
            return self.right.key(day, purpose, create=create)
        except KeyDestroyed:
            return os.urandom(32)


class Remembers(Wrong):
    """It gives the key that it remembers, whoever destroyed it since."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.seen: dict[tuple[int, str], bytes] = {}

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        if (day, purpose) not in self.seen:
            self.seen[day, purpose] = self.right.key(day, purpose, create=create)
        return self.seen[day, purpose]


class IgnoresParts(Wrong):
    """A part of a day has the key of the day."""

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        return self.right.key(day, purpose.split()[0], create=create)


class MovesUp(Wrong):
    """Where one key is destroyed the next one takes its place in a list, and gets another."""

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        key: bytes = self.right.key(day, purpose, create=create)
        return bytes(byte ^ len(self.right.destroyed()) for byte in key)


class StandsStill(Wrong):
    """It does not tell that anything changed."""

    generation = 1


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (Forgets, "test_a_destroyed_key_is_given_to_nobody_and_never_made_again"),
        (Forgets, "test_no_key_is_made_that_nobody_asked_for"),
        (Remembers, "test_a_destroyed_key_is_given_to_nobody_and_never_made_again"),
        (MovesUp, "test_a_destroyed_key_is_given_to_nobody_and_never_made_again"),
        (IgnoresParts, "test_a_key_is_made_once_and_the_same_for_all"),
        (StandsStill, "test_whoever_remembers_keys_sees_that_something_changed"),
    ],
)
def test_the_suite_finds_a_keyring_that_is_wrong(wrong: type[Wrong], test: str, tmp_path: Path) -> None:
    def new() -> Keyring:
        return wrong(tmp_path / "keys")

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(KeyringSuite(), test)(new)
