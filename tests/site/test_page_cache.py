"""The policy is made once for each revision, language and form, and never once for each visitor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.policies import POLICY

from consent_mw._asgi import Receive, Scope, Send
from consent_mw.site import policy_pages
from consent_mw.site.surfaces import Surfaces
from consent_mw.testing.site import LivingSite

FORMS = ("policy", "policy.md", "policy.json", "policy.jsonld", "policy/1", "policy/1.json")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what is made for a policy page: the real functions do the work."""
    count: Counter[str] = Counter()

    def counted(name: str, work: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            count[name] += 1
            return work(*args, **options)

        return call

    render = Surfaces.render

    def rendered(self: Surfaces, name: str, *args: Any, **context: Any) -> str:
        count[name] += 1
        return render(self, name, *args, **context)

    monkeypatch.setattr(Surfaces, "render", rendered)
    for name in ("policy_document", "policy_graph"):
        monkeypatch.setattr(policy_pages, name, counted(name, getattr(policy_pages, name)))
    return count


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LivingSite]:
    with LivingSite(app, directory=tmp_path, policy=POLICY) as living:
        yield living


def test_many_visitors_in_two_languages_cost_one_rendering_of_each_form(
    site: LivingSite, renderings: Counter[str]
) -> None:
    bodies: dict[tuple[str, str], set[str]] = {}
    for number in range(5):
        for language in ("ko", "en"):
            visitor = site.visitor(address=f"198.51.100.{number}", headers={"accept-language": language})
            for form in FORMS:
                answer = visitor.get(f"/consent/{form}")
                assert answer.status_code == 200
                bodies.setdefault((form, language), set()).add(answer.text)
    assert all(len(texts) == 1 for texts in bodies.values())
    # HTML and Markdown of the address without a number, HTML of the one with it; JSON is the same at both.
    assert renderings == {"policy.html": 6, "_head.html": 2, "policy_document": 2, "policy_graph": 1}


def test_a_revision_that_is_announced_is_made_anew_and_only_once(site: LivingSite, renderings: Counter[str]) -> None:
    visitor = site.visitor(headers={"accept-language": "en"})
    assert visitor.get("/consent/policy.json").json()["revisions"] == [1]
    effective = site.today.replace(year=site.today.year + 1)
    text = POLICY.replace("revision = 1", "revision = 2").replace("published = 2026-11-23", f"published = {site.today}")
    site.publish(text.replace("effective = 2026-11-23", f"effective = {effective}"))
    renderings.clear()
    for _ in range(3):
        assert visitor.get("/consent/policy.json").json()["revisions"] == [1, 2]
        assert visitor.get("/consent/policy/2.json").json()["compared_with"] == 1
    assert renderings["policy_document"] == 2
