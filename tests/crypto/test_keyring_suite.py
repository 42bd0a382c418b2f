"""Our keyrings keep the contract, and the suite finds those that do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.renamed import move_away
from tests.support.wrong_keyrings import (
    AlwaysDestroyed,
    AsksTheDisk,
    BeginsAnew,
    BelongsToItsProcess,
    CountsInItsProcess,
    CountsOneInTwo,
    DerivesItsKeys,
    DestroysInMemory,
    DestroysInSilence,
    DestroysTheDayBefore,
    DestroysWhatBeginsAlike,
    Forgets,
    GivesKeysInItsTrouble,
    HasShortKeys,
    HoldsItsFile,
    IgnoresCase,
    IgnoresParts,
    LiesAboutTheFirst,
    ListsAnything,
    LosesItsTombstones,
    MakesOneForEach,
    MovesUp,
    NamesItselfAnew,
    RaisesWhatTheSystemSays,
    Remembers,
    SaysNothingIsThere,
    StandsStill,
    Wrong,
)

from consent_mw.crypto.keyring import FileKeyring
from consent_mw.exceptions import ConsentError
from consent_mw.testing.keyring_suite import KeyringSuite, NewKeyring


class TestFileKeyring(KeyringSuite):
    @pytest.fixture
    def new_keyring(self, tmp_path: Path) -> NewKeyring:
        return partial(FileKeyring, tmp_path / "keys")

    @pytest.fixture
    def break_it(self, tmp_path: Path) -> Callable[[], object]:
        return partial(move_away, tmp_path / "keys")


@pytest.mark.parametrize(
    ("wrong", "test", "arguments"),
    [
        (Forgets, "a_destroyed_key_is_given_to_nobody_and_never_made_again", ()),
        (Forgets, "no_key_is_made_that_nobody_asked_for", ()),
        (Remembers, "a_destroyed_key_is_given_to_nobody_and_never_made_again", ()),
        (MovesUp, "a_destroyed_key_is_given_to_nobody_and_never_made_again", ()),
        (IgnoresParts, "a_key_is_made_once_and_the_same_for_all", ()),
        (StandsStill, "whoever_remembers_keys_sees_that_something_changed", ()),
        (BelongsToItsProcess, "another_process_has_the_same_keys_and_no_destroyed_one", ()),
        (DestroysInMemory, "another_process_has_the_same_keys_and_no_destroyed_one", ()),
        (MakesOneForEach, "another_process_has_the_same_keys_and_no_destroyed_one", ()),
        (CountsInItsProcess, "another_process_has_the_same_keys_and_no_destroyed_one", ()),
        (CountsOneInTwo, "whoever_remembers_keys_sees_that_something_changed", ()),
        (DestroysTheDayBefore, "one_key_is_destroyed_and_no_other", ()),
        (DestroysWhatBeginsAlike, "one_key_is_destroyed_and_no_other", ()),
        (IgnoresCase, "one_key_is_destroyed_and_no_other", ()),
        (LosesItsTombstones, "a_destroyed_key_is_given_to_nobody_and_never_made_again", ()),
        (BeginsAnew, "another_process_has_the_same_keys_and_no_destroyed_one", ()),
        (AsksTheDisk, "the_generation_costs_a_request_nothing", ()),
        (DestroysInSilence, "what_the_system_refuses_is_an_error_and_no_answer", ("destroy", "no room")),
        (DestroysInSilence, "a_place_that_fails_is_an_error_and_no_answer", ("break_it",)),
        (GivesKeysInItsTrouble, "what_the_system_refuses_is_an_error_and_no_answer", ("make", "no room")),
        (GivesKeysInItsTrouble, "a_place_that_fails_is_an_error_and_no_answer", ("break_it",)),
        (SaysNothingIsThere, "what_the_system_refuses_is_an_error_and_no_answer", ("live", "cut off")),
        (SaysNothingIsThere, "what_the_system_refuses_is_an_error_and_no_answer", ("get", "cut off")),
        (RaisesWhatTheSystemSays, "what_the_system_refuses_is_an_error_and_no_answer", ("destroy", "cut off")),
        (RaisesWhatTheSystemSays, "a_place_that_fails_is_an_error_and_no_answer", ("break_it",)),
        (HasShortKeys, "a_key_is_made_once_and_the_same_for_all", ()),
        (ListsAnything, "what_is_live_is_listed_in_order", ()),
        (NamesItselfAnew, "it_has_one_name_that_fits_into_a_record", ()),
        (LiesAboutTheFirst, "one_of_many_destroys_a_key", ()),
        (AlwaysDestroyed, "no_key_is_made_that_nobody_asked_for", ()),
        (HoldsItsFile, "a_closed_keyring_holds_neither_files_nor_threads", ()),
    ],
)
def test_the_suite_finds_a_keyring_that_is_wrong(
    wrong: type[Wrong], test: str, arguments: tuple[Any, ...], tmp_path: Path
) -> None:
    path = tmp_path / "keys"
    given = [partial(move_away, path) if argument == "break_it" else argument for argument in arguments]
    with pytest.raises((AssertionError, pytest.fail.Exception, ConsentError)):
        getattr(KeyringSuite(), f"test_{test}")(partial(wrong, path), *given)


def test_the_suite_finds_keys_that_can_be_worked_out(tmp_path: Path) -> None:
    class Suite(KeyringSuite):
        pass

    Suite().test_no_key_can_be_worked_out(partial(DerivesItsKeys, tmp_path / "one"), "one")
    with pytest.raises(AssertionError, match="another place has the same keys"):
        Suite().test_no_key_can_be_worked_out(partial(DerivesItsKeys, tmp_path / "other"), "another")
