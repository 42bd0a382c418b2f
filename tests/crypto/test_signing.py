"""A signature holds for one site and one use: what staging signed is nothing in production."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.asgi import set_cookies
from tests.support.my_data_site import KEYS, body, run, site
from tests.support.visitors import Visitor

from consent_mw.consent.choice import Choice, Consent
from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.crypto.signing import Signing
from consent_mw.exceptions import BadConsentCookie, ConfigurationError

TODAY = date(2026, 11, 28)
CONSENT = Consent(choice=Choice.ACCEPT, revision=1, given_on=TODAY, receipt="r" * 22)
STAGING = [
    {"name": "staging_consent"},
    {"domain": "staging.example.com"},
    {"site": "staging"},
    {"name": "staging_consent", "domain": "other.example"},
]


@pytest.mark.parametrize("differs", STAGING)
def test_a_choice_of_another_site_with_the_same_key_is_not_believed(differs: dict[str, Any]) -> None:
    value = ConsentCookie(KEYS, **differs).sign(CONSENT).encode()
    assert ConsentCookie(KEYS, **differs).read(value, TODAY) == CONSENT
    with pytest.raises(BadConsentCookie):
        ConsentCookie(KEYS).read(value, TODAY)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)


@given(st.tuples(NAMES, NAMES, NAMES), st.tuples(NAMES, NAMES, NAMES))
def test_no_two_sets_of_names_sign_alike(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    first, second = (Signing((b"k" * 16,), *names).signer("slip").sign("x") for names in (one, other))
    assert (first == second) == (one == other)


def test_no_two_uses_sign_alike() -> None:
    signing = Signing((b"k" * 16,))
    assert len({signing.signer(use).sign("x") for use in ("consent", "host", "form", "slip", "pending")}) == 5


def test_a_site_with_a_line_break_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="site"):
        ConsentCookie(KEYS, site="a\nb")


def test_a_deployment_of_another_name_takes_neither_choice_nor_token_of_this_one(tmp_path: Path) -> None:
    async def work() -> None:
        for name in ("production", "staging"):
            (tmp_path / name).mkdir()
        production, staging = (site(tmp_path / name, site=name) for name in ("production", "staging"))
        visitor = Visitor(staging)
        await visitor.picks("accept")
        page = body(await visitor.gets("/consent"))
        token = page.partition('name="token" value="')[2].partition('"')[0]
        state = body(await visitor.gets("/consent/state", app=production))
        assert '"choice":null' in state
        sent = await visitor.posts(("choice", "accept"), ("token", token), headers=[], app=production)
        assert set_cookies(sent) == []
        assert '"choice":"accept"' in body(await visitor.gets("/consent/state", app=staging))
        for app in (production, staging):
            await app.runtime.drain.stop()

    run(work)
