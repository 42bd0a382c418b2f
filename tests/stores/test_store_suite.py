"""The suite finds each store that breaks a promise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.support.wrong_stores import (
    BlocksInDelete,
    ClosesEarly,
    CommitsLate,
    DeletesLate,
    ErasesOneTooMany,
    InPieces,
    MillisecondsOnly,
    OneTaskAtATime,
    PagesMeet,
    RaisesItsDriversErrors,
    SortsWhatItIsGiven,
    TiesUnsorted,
)

from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.testing.store_suite import NewStore, StoreSuite

SUITE = StoreSuite()


@pytest.mark.parametrize("verb", ["append", "delete"])
def test_a_store_that_is_not_atomic_is_found(tmp_path: Path, verb: str) -> None:
    with pytest.raises(AssertionError, match=f"killed in {verb} at call .* half of it was there"):
        SUITE.test_a_crash_at_any_call_leaves_all_or_nothing(partial(InPieces, tmp_path / "records"), verb)


def test_a_store_that_blocks_the_loop_is_found() -> None:
    with pytest.raises(AssertionError, match="append lets nobody else run"):
        SUITE.test_no_verb_blocks_the_loop(MemoryStore)


def test_a_store_that_raises_its_drivers_errors_is_found(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="ProgrammingError reached the caller"):
        SUITE.test_a_store_that_is_not_open_raises_no_error_of_its_driver(
            partial(RaisesItsDriversErrors, tmp_path / "records"), "after it was closed"
        )


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (TiesUnsorted, SUITE.test_records_come_in_order_of_id),
        (MillisecondsOnly, SUITE.test_since_includes_its_instant_and_until_excludes_it),
        (SortsWhatItIsGiven, SUITE.test_what_it_is_given_stays_as_it_was),
        (ErasesOneTooMany, SUITE.test_since_includes_its_instant_and_until_excludes_it),
        (PagesMeet, partial(SUITE.test_pages_join_without_gap_or_double, page=7)),
        (CommitsLate, SUITE.test_a_later_record_is_met_by_who_already_pages),
        (DeletesLate, SUITE.test_deletion_while_somebody_pages),
        (ClosesEarly, SUITE.test_an_append_that_returned_while_it_was_closed_was_kept),
        (OneTaskAtATime, SUITE.test_many_tasks_use_one_store_at_once),
        (BlocksInDelete, SUITE.test_no_verb_blocks_the_loop),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_store_that_breaks_one_promise_is_found(
    tmp_path: Path, wrong: type[SQLiteStore], test: Callable[[NewStore], None]
) -> None:
    test(partial(SQLiteStore, tmp_path / "right"))
    with pytest.raises(AssertionError):
        test(partial(wrong, tmp_path / "wrong"))
