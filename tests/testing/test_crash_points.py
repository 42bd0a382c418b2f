"""The processes in which the suites try what a crash leaves."""

from __future__ import annotations

import os
from functools import partial

import pytest

from consent_mw.testing.crash_points import WithEnvironment, processes


def test_a_process_has_the_variables_that_are_set_now_though_it_is_forked_from_an_older_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with processes().Pool(1) as pool:
        assert pool.apply(partial(os.getenv, "CONSENT_MW_LATER")) is None
        monkeypatch.setenv("CONSENT_MW_LATER", "set")
        assert pool.apply(WithEnvironment(partial(os.getenv, "CONSENT_MW_LATER"))) == "set"
