"""The suite finds a store that raises its driver's errors, blocks the loop, or is not atomic."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tests.support.wrong_stores import InPieces, RaisesItsDriversErrors

from consent_mw.stores.memory import MemoryStore
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
    with pytest.raises(pytest.fail.Exception, match="ProgrammingError reached the caller"):
        SUITE.test_a_store_that_is_not_open_raises_no_error_of_its_driver(
            partial(RaisesItsDriversErrors, tmp_path / "records"), "after it was closed"
        )
