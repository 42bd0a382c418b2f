"""The whole policies of `examples/policies`: they pass the strictest check, and their pages say what they declare."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import pytest
from starlette.applications import Starlette
from tests.support.repository import ROOT

from consent_mw import ConsentMiddleware, PersonalData
from consent_mw.cli import main
from consent_mw.policy.checklist import checklist
from consent_mw.policy.loader import load
from consent_mw.policy.plausible import placeholders
from consent_mw.policy.pointer import declarable
from consent_mw.site.documents import OwnCookies
from consent_mw.site.surfaces import Surfaces
from consent_mw.testing.client import ConsentClient

FILES = sorted((ROOT / "examples" / "policies").glob("*.toml"))


def test_there_is_one_for_each_law() -> None:
    assert {load(file).jurisdiction for file in FILES} == {"KR", "EU", "UK", "US-CA"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_passes_the_strictest_check(file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["check", str(file), "--strict", "--directory", str(tmp_path)]) == 0
    assert "should:" not in capsys.readouterr().err


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_page_of_each_says_who_works_for_it_what_the_application_holds_and_its_own_sections(file: Path) -> None:
    policy = load(file)
    assert placeholders(policy) == []
    for language in policy.languages:
        page = unescape(
            Surfaces(policy).render(
                "_article.html", language, "", suffix="", own_cookies=OwnCookies(), has_my_data=True
            )
        )
        texts = [policy.controller.name, policy.controller.address]
        texts += [text for processor in policy.processors for text in (processor.name, processor.task)]
        texts += [text for section in policy.sections for text in (section.title,)]
        texts += [text for purpose in policy.by_application for text in (purpose.title, purpose.until, purpose.grounds)]
        for text in filter(None, texts):
            assert text.read(language)[0] in page


class Nothing(PersonalData):
    """The data of an application that holds nothing yet."""

    async def read(self, sign_in: str) -> dict[str, str]:
        return {}

    async def correct(self, sign_in: str, item: str, value: str) -> bool:
        return False

    async def erase(self, sign_in: str, purpose: str | None = None) -> None:
        """There is nothing to erase."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_site_with_it_shows_each_of_our_pages(file: Path, tmp_path: Path) -> None:
    policy = load(file)
    app = ConsentMiddleware(
        Starlette(),
        policy=policy,
        secret_keys=["a key of at least 16 bytes"],
        directory=tmp_path,
        subject=lambda _: "kim",
        personal_data=Nothing(),
    )
    with ConsentClient(app) as visitor:
        visitor.accept()
        for page in ("", "/policy", "/cookies", "/proof", "/my-data", "/receipt"):
            for language in policy.languages:
                shown = visitor.get(f"/consent{page}?lang={language}")
                assert shown.status_code == 200, page
        settings = visitor.get(f"/consent?lang={policy.languages[0]}").text
        for purpose in policy.by_application:  # the settings are about what the server does
            assert f"<strong>{purpose.title.read(policy.languages[0])[0]}</strong>" not in settings


@pytest.mark.parametrize("law", ["KR", "EU", "UK", "US"])
def test_every_duty_can_be_declared(law: str) -> None:
    duties = checklist(law)
    assert duties is not None
    for duty in duties.entry:
        assert duty.said_by == ("page",) or any(map(declarable, duty.said_by)), duty.id
