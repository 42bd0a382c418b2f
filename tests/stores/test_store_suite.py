"""The suite finds each store that breaks a promise."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.renamed import rename_table
from tests.support.wrong_stores import (
    AppendSwallows,
    AppendSwallowsTheDrivers,
    BelongsToALoop,
    BlocksDurably,
    BlocksInDelete,
    BlocksInOpen,
    BlocksOnce,
    CachesById,
    CachesPages,
    ClosesEarly,
    CommitsLate,
    CountsInBooleans,
    CountsOneMore,
    CutsBytes,
    CutsNames,
    DeletesAThousand,
    DeletesInPieces,
    DeletesLate,
    DeleteSwallows,
    DeleteSwallowsTheDrivers,
    EmptiesItsPlace,
    ErasesOneTooMany,
    FetchSwallows,
    FetchSwallowsTheDrivers,
    FloatsOnly,
    ForgetsTheZone,
    GoesOnAfterACancel,
    HangsAfterACancel,
    HasItsOwnPlace,
    HasPagesOf500,
    HoldsItsFile,
    IgnoresCase,
    InHalves,
    InPieces,
    KeepsTheLast,
    LendsItsPages,
    LosesAtTheEdge,
    LosesEach64th,
    LosesOneOf64,
    MidnightEndsTheDay,
    MillisecondsOnly,
    NewestFirstForgetsAfter,
    Normalises,
    OneTaskAtATime,
    OpensInSilence,
    PadsTokens,
    PagesMeet,
    RaisesItsDriversErrors,
    ReadsOneThing,
    ReadsWhatIsNotCommitted,
    SaysTooMuch,
    SkipsLongBatches,
    SortsWhatItIsGiven,
    TakesLocalDays,
    TakesWhatItIsGivenWhenClosed,
    TiesUnsorted,
    WritesBehind,
)

from consent_mw.exceptions import StoreError
from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.testing.store_suite import StoreSuite

SUITE = StoreSuite()


@pytest.mark.parametrize("verb", ["append", "delete"])
def test_a_store_that_is_not_atomic_is_found(tmp_path: Path, verb: str) -> None:
    with pytest.raises(AssertionError, match=f"killed in {verb} at call .* half of it was there"):
        SUITE.test_a_crash_at_any_call_leaves_all_or_nothing(partial(InPieces, tmp_path / "records"), verb)


def test_a_store_that_blocks_the_loop_is_found() -> None:
    with pytest.raises(AssertionError, match="append lets nobody else run"):
        SUITE.test_no_verb_blocks_the_loop(MemoryStore)


def test_a_store_that_raises_its_drivers_errors_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"ProgrammingError: .* reached the caller"):
        SUITE.test_a_store_that_is_not_open_says_so_or_works(
            partial(RaisesItsDriversErrors, tmp_path / "records"), "after it was closed"
        )


@pytest.mark.parametrize(
    ("wrong", "test", "arguments"),
    [
        (TiesUnsorted, "records_come_in_order_of_id", ()),
        (MillisecondsOnly, "since_includes_its_instant_and_until_excludes_it", ()),
        (SortsWhatItIsGiven, "what_it_is_given_stays_as_it_was", ()),
        (ErasesOneTooMany, "since_includes_its_instant_and_until_excludes_it", ()),
        (PagesMeet, "pages_join_without_gap_or_double", (7,)),
        (CommitsLate, "a_later_record_is_met_by_who_already_pages", ()),
        (DeletesLate, "deletion_while_somebody_pages", ()),
        (ClosesEarly, "an_append_that_returned_while_it_was_closed_was_kept", ()),
        (OneTaskAtATime, "many_tasks_use_one_store_at_once", ()),
        (BlocksInDelete, "no_verb_blocks_the_loop", ()),
        (AppendSwallows, "a_store_that_is_not_open_says_so_or_works", ("after it was closed",)),
        (AppendSwallows, "a_batch_that_cannot_be_kept_leaves_nothing", ("\ud800",)),
        (AppendSwallows, "what_the_system_refuses_is_an_error_and_no_answer", ("append", "no room")),
        (AppendSwallowsTheDrivers, "what_the_system_refuses_is_an_error_and_no_answer", ("append", "no room")),
        (AppendSwallowsTheDrivers, "a_batch_for_which_there_is_no_room_leaves_nothing", ()),
        (FetchSwallows, "a_store_that_is_not_open_says_so_or_works", ("after it was closed",)),
        (FetchSwallowsTheDrivers, "what_the_system_refuses_is_an_error_and_no_answer", ("fetch", "cut off")),
        (DeleteSwallows, "a_store_that_is_not_open_says_so_or_works", ("after it was closed",)),
        (DeleteSwallowsTheDrivers, "what_the_system_refuses_is_an_error_and_no_answer", ("delete", "no room")),
        (OpensInSilence, "a_place_that_cannot_be_opened_is_an_error", ()),
        (SaysTooMuch, "what_the_system_refuses_is_an_error_and_no_answer", ("append", "no room")),
        (MidnightEndsTheDay, "an_hour_ends_at_midnight_as_at_any_other_hour", (timedelta(),)),
        (TakesLocalDays, "an_hour_ends_at_midnight_as_at_any_other_hour", (timedelta(hours=9),)),
        (ForgetsTheZone, "since_includes_its_instant_and_until_excludes_it", ()),
        (ForgetsTheZone, "it_answers_as_a_model_does", (0,)),
        (CachesPages, "what_changed_is_in_every_later_fetch_whatever_was_asked_before", ()),
        (CachesById, "what_changed_is_in_every_later_fetch_whatever_was_asked_before", ()),
        (LendsItsPages, "what_changed_is_in_every_later_fetch_whatever_was_asked_before", ()),
        (BlocksInOpen, "the_loop_never_stands_still", ()),
        (BlocksDurably, "the_loop_never_stands_still", ()),
        (BelongsToALoop, "it_may_be_opened_again_on_another_loop", ()),
        (CountsInBooleans, "it_answers_as_a_model_does", (0,)),
        (BlocksOnce, "the_loop_never_stands_still", ()),
        (LosesOneOf64, "of_many_calls_at_once_none_is_lost", (1,)),
        (LosesEach64th, "of_many_appends_one_after_the_other_none_is_lost", ()),
        (LosesEach64th, "of_many_calls_at_once_none_is_lost", (1,)),
        (CountsOneMore, "one_of_many_claims_a_record", ()),
        (InHalves, "a_batch_that_cannot_be_kept_leaves_nothing", ("\ud800",)),
        (InHalves, "no_reader_sees_half_a_batch_or_half_a_deletion", ("the same",)),
        (InHalves, "a_batch_for_which_there_is_no_room_leaves_nothing", ()),
        (ReadsWhatIsNotCommitted, "no_reader_sees_half_a_batch_or_half_a_deletion", ("the same",)),
        (KeepsTheLast, "the_first_record_of_an_id_stays", ()),
        (FloatsOnly, "any_number_in_the_data_comes_back", ()),
        (Normalises, "names_that_look_alike_are_told_apart", ()),
        (IgnoresCase, "names_that_look_alike_are_told_apart", ()),
        (PadsTokens, "names_that_look_alike_are_told_apart", ()),
        (CutsNames, "any_name_is_found_again", ("x" * 100,)),
        (CutsBytes, "a_megabyte_of_sealed_bytes_comes_back", ()),
        (HasPagesOf500, "a_page_has_a_thousand_unless_another_number_is_given", ()),
        (LosesAtTheEdge, "pages_of_any_size_join", ()),
        (ReadsOneThing, "every_condition_must_hold_and_no_other", ()),
        (WritesBehind, "a_later_record_is_met_by_who_already_pages", ()),
        (TakesWhatItIsGivenWhenClosed, "a_store_that_is_not_open_says_so_or_works", ("after it was closed",)),
        (HoldsItsFile, "a_closed_store_holds_neither_files_nor_threads", ()),
        (EmptiesItsPlace, "opening_and_closing_twice_is_harmless", ()),
        (DeletesInPieces, "a_cancelled_delete_happened_as_a_whole_or_not_at_all", ()),
        (GoesOnAfterACancel, "a_cancelled_append_happened_as_a_whole_or_not_at_all", ()),
        (GoesOnAfterACancel, "a_cancelled_delete_happened_as_a_whole_or_not_at_all", ()),
        (HangsAfterACancel, "a_store_stays_usable_after_any_call_was_cancelled", ()),
        (HasItsOwnPlace, "what_was_kept_is_there_after_reopening", ()),
        (NewestFirstForgetsAfter, "a_bookmark_parts_the_records_in_both_directions", ()),
        (SkipsLongBatches, "a_page_has_a_thousand_unless_another_number_is_given", ()),
        (DeletesAThousand, "a_page_has_a_thousand_unless_another_number_is_given", ()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_store_that_breaks_one_promise_is_found(
    tmp_path: Path, wrong: type[SQLiteStore], test: str, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises((AssertionError, StoreError, RuntimeError)):
        getattr(SUITE, f"test_{test}")(partial(wrong, tmp_path / "wrong"), *arguments)


@pytest.mark.parametrize("wrong", [AppendSwallowsTheDrivers, FetchSwallowsTheDrivers, DeleteSwallowsTheDrivers])
def test_a_store_that_swallows_an_error_of_its_place_is_found(tmp_path: Path, wrong: type[SQLiteStore]) -> None:
    path = tmp_path / "wrong"
    with pytest.raises(AssertionError, match="of a place that fails"):
        SUITE.test_a_place_that_fails_is_an_error_and_no_answer(
            partial(wrong, path), partial(rename_table, path, "records", "elsewhere")
        )
