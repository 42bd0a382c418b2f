"""The keyring of several hosts keeps the contract of every keyring, between the processes of one host."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.support.renamed import move_away

from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.paths import Places
from consent_mw.testing.keyring_suite import KeyringSuite, NewKeyring


def a_keyring(directory: Path, key: bytes) -> SharedKeyring:
    return SharedKeyring.of_site(Places(directory), SiteKeys([key]))


class TestSharedKeyring(KeyringSuite):
    @pytest.fixture
    def new_keyring(self, tmp_path: Path) -> NewKeyring:
        return partial(a_keyring, tmp_path, SiteKeys.random().keys[0])

    @pytest.fixture
    def break_it(self, tmp_path: Path) -> Callable[[], object]:
        return partial(move_away, Places(tmp_path).keys)
