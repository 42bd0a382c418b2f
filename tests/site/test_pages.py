"""The policy and the cookies as pages, as Markdown and as JSON: each revision at its address, nothing typed twice."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.publishing import dated
from tests.support.site_pages import DECLARATION, SIGNING, Answer, banner, get, post, visitor

from consent_mw.policy.loader import loads
from consent_mw.policy.model import Policy
from consent_mw.policy.revisions import Revisions
from consent_mw.site.changed_lines import differences
from consent_mw.site.documents import OwnCookies
from consent_mw.site.markdown import markdown_of
from consent_mw.site.pages import Site
from consent_mw.site.surfaces import shown_text

FORMS = {"json": "application/json", "md": "text/markdown; charset=utf-8", "html": "text/html; charset=utf-8"}


def revised(directory: Path, **options: Any) -> Site:
    """A site at revision 3, which was 1 and then 2 before."""
    revisions = Revisions(directory)
    first = dated(DECLARATION.replace("revision = 3", "revision = 1"), "2025-01-01")
    second = dated(first.replace("revision = 1", "revision = 2").replace('"13 months"', '"17 weeks"', 1), "2025-06-01")
    for text in (first, second):
        revisions.keep(loads(text), text)
    return Site(loads(DECLARATION), signing=SIGNING, revisions=revisions, **options)


# -- forms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["/consent/policy", "/consent/cookies", "/consent/policy/3"])
@pytest.mark.parametrize("ending", ["json", "md", "html"])
def test_a_page_comes_in_the_form_of_its_ending_or_of_the_accept_header(page: str, ending: str) -> None:
    by_ending = get(f"{page}.{ending}?lang=en")
    by_header = get(f"{page}?lang=en", headers={"accept": FORMS[ending].partition(";")[0]})
    assert by_ending.status == by_header.status == 200
    assert by_ending.header("content-type") == by_header.header("content-type") == FORMS[ending]
    assert by_header.header("vary") == "Accept, Accept-Language"
    assert by_ending.header("content-disposition").startswith("attachment") == (ending == "html")
    if ending != "html":
        assert by_ending.body == by_header.body


def test_a_browser_gets_html_whatever_else_it_would_take() -> None:
    page = get("/consent/policy", headers={"accept": "text/html,application/json;q=0.9,*/*;q=0.8"})
    assert page.header("content-type") == FORMS["html"]


def test_the_policy_as_markdown_has_its_sections_tables_and_links() -> None:
    text = get("/consent/policy.md?lang=en").body
    assert re.findall(r"^## (\d+)\. ", text, re.MULTILINE) == [str(number) for number in range(1, 12)]
    assert "| Statistics | 13 months |" in text
    assert "| --- | --- |" in text
    assert "[privacy@shop.example](<mailto:privacy@shop.example>)" in text
    assert "| `_ga*` |" in text
    assert not re.search(r"</?(p|section|td|li|h2|a)\b", text)


def test_markup_in_a_text_of_the_policy_stays_text_in_markdown() -> None:
    assert r"\<b\>\&\"ads\"\</b\>".replace(r"\"", '"') in get("/consent/policy.md?lang=en").body
    assert markdown_of("<p>1. *no* list [x](y) `z` <b>|</b></p>") == "1\\. \\*no\\* list \\[x\\](y) \\`z\\` \\|\n"
    assert markdown_of("<p># no heading</p><ul><li>- item</li></ul>") == "\\# no heading\n\n- \\- item\n"


def test_the_policy_as_json_tells_what_the_page_tells() -> None:
    document = json.loads(get("/consent/policy.json?lang=en").body)
    assert (document["revision"], document["language"], document["digest"]) == (3, "en", loads(DECLARATION).digest)
    analytics = next(purpose for purpose in document["purposes"] if purpose["name"] == "analytics")
    assert (analytics["retention"], analytics["asked"]) == ("13 months", True)
    assert document["recipients"][0]["name"]["text"] == "Counter Ltd"
    assert document["agencies"][0]["phone"] == "118"


def test_a_missing_text_is_marked_in_every_form() -> None:
    marked = '<span lang="ko">광고</span> <small class="consent-mw-foreign">(Korean)</small>'
    assert marked in get("/consent/policy?lang=en").body
    assert "광고 (Korean)" in get("/consent/policy.md?lang=en").body
    titles = [purpose["title"] for purpose in json.loads(get("/consent/policy.json?lang=en").body)["purposes"]]
    assert {"text": "광고", "language": "ko"} in titles
    assert {"text": "Statistics", "language": "en"} in titles


# -- nothing typed twice --------------------------------------------------------------------------------------------


def test_one_changed_retention_changes_every_place_that_tells_it() -> None:
    changed = Site(loads(DECLARATION.replace('retention = "13 months"', 'retention = "17 weeks"')), signing=SIGNING)
    for path in ("", "/policy", "/policy.md", "/policy.json"):
        assert "17 weeks" in get(f"/consent{path}?lang=en", app=changed).body
    assert "17주" in get("/consent/policy?lang=ko", app=changed).body
    assert "17 weeks" in banner(visitor(), app=changed)
    assert "17 weeks" in shown_text(changed.policy, "en", "api")


def test_one_changed_duration_of_a_cookie_changes_every_table_of_cookies() -> None:
    changed = Site(loads(DECLARATION.replace('expires = "13 months"', 'expires = "17 weeks"')), signing=SIGNING)
    for path in ("", "/policy", "/cookies", "/cookies.md", "/cookies.json"):
        assert "17 weeks" in get(f"/consent{path}?lang=en", app=changed).body


def test_what_a_law_demands_is_told_with_its_period_and_its_law() -> None:
    kept = '\n[purposes.analytics.archive]\nretention = "5 years"\nlaw = { ko = "제6조", en = "article 6" }\n'
    app = Site(loads(DECLARATION + kept), signing=SIGNING)
    section = (
        get("/consent/policy?lang=en", app=app).body.partition('id="section-retention"')[2].partition("</section>")[0]
    )
    assert "Statistics: 5 years in all (article 6)" in section
    assert "No law obliges us" not in section
    purposes = json.loads(get("/consent/policy.json?lang=en", app=app).body)["purposes"]
    archive = next(purpose["archive"] for purpose in purposes if purpose["name"] == "analytics")
    assert archive == {"retention": "5 years", "law": {"text": "article 6", "language": "en"}}


def test_the_pages_claim_no_more_than_the_declaration_does() -> None:
    assert "stored encrypted" in get("/consent/policy?lang=en").body
    assert "blocks any other" in get("/consent/cookies?lang=en").body
    first = "[[cookies.declared]]"
    plain = DECLARATION.replace(first, f'[cookies]\nundeclared = "report"\n{first}', 1) + "\n[log]\nseal = false\n"
    app = Site(loads(plain), signing=SIGNING)
    assert "stored without encryption" in get("/consent/policy?lang=en", app=app).body
    assert "is let through for now" in get("/consent/cookies?lang=en", app=app).body


# -- our own cookies ------------------------------------------------------------------------------------------------


def test_our_own_cookies_stand_in_the_tables_under_their_real_names() -> None:
    def own(secure: bool) -> OwnCookies:
        return (
            OwnCookies("__Host-choice", "__Host-choice-pending") if secure else OwnCookies("choice", "choice-pending")
        )

    app = Site(loads(DECLARATION), signing=SIGNING, own_cookies=own)
    for path in ("/consent/policy", "/consent/cookies", "/consent/cookies.md", "/consent/cookies.json"):
        body = get(path, app=app).body
        assert "__Host-choice" in body
        assert "__Host-choice-pending" in body


# -- revisions ------------------------------------------------------------------------------------------------------


def test_every_revision_has_its_own_address_and_says_whether_it_is_in_force(tmp_path: Path) -> None:
    app = revised(tmp_path)
    for revision, retention in ((1, "13 months"), (2, "17 weeks"), (3, "13 months")):
        body = get(f"/consent/policy/{revision}?lang=en", app=app).body
        assert f"Revision {revision}, published" in body
        assert f">{retention}</td>" in body
        assert ("no longer in force" in body) == (revision != 3)
        assert [f"/consent/policy/{number}?lang=en" in body for number in (1, 2, 3)] == [True] * 3


def test_a_revision_shows_what_it_changed_line_by_line(tmp_path: Path) -> None:
    app = revised(tmp_path)
    changes = get("/consent/policy/2?lang=en", app=app).body.partition("<main")[2].partition("</section>")[0]
    assert "compared with revision 1" in changes
    assert "<h3>3. How long personal data is kept</h3>" in changes
    assert "Before: <del>Statistics · 13 months</del>" in changes
    assert "Now: <ins>Statistics · 17 weeks</ins>" in changes
    assert "<h3>1." not in changes
    assert "asked again" not in changes  # a shorter retention puts no new question


def test_a_revision_that_asked_again_says_about_what(tmp_path: Path) -> None:
    changes = get("/consent/policy/3?lang=en", app=revised(tmp_path)).body.partition("</section>")[0]
    assert "asked again about: Statistics" in re.sub(r"\s+", " ", changes)
    assert "What this revision changes" not in get("/consent/policy/1?lang=en", app=revised(tmp_path)).body


@pytest.mark.parametrize("asked", ["4", "0", "x", "١", "99999999999999999999", "3/2", ""])
def test_an_unknown_revision_is_a_plain_page_that_names_the_others(asked: str, tmp_path: Path) -> None:
    page = get(
        f"/consent/policy/{asked}.?lang=en" if not asked else f"/consent/policy/{asked}?lang=en", app=revised(tmp_path)
    )
    assert page.status == 404
    assert re.findall(r'href="/consent/policy/(\d+)\?lang=en"', page.body.partition("<main")[2]) == ["1", "2", "3"]


def test_sections_are_compared_by_their_id() -> None:
    def html(*items: str) -> str:
        lines = "".join(f"<li>{item}</li>" for item in items)
        return f'<section id="a"><h2>One</h2><ul>{lines}</ul></section><section id="b"><h2>Two</h2></section>'

    assert differences(html("x", "y"), html("x", "y")) == []
    (changed,) = differences(html("x", "y"), html("x", "z"))
    assert changed == ("One", ("y",), ("z",))


# -- every answer of ours -------------------------------------------------------------------------------------------

PAGES = ["", "/policy", "/policy/3", "/cookies", "/state", "/policy.md", "/cookies.json", "/nowhere", "/policy/9"]


@pytest.mark.parametrize("page", PAGES)
def test_head_says_what_get_says_and_sends_no_body(page: str) -> None:
    head, full = get(f"/consent{page}", method="HEAD"), get(f"/consent{page}")
    assert head.body == ""
    headers = [header for header in full.raw_headers if header[0] != b"set-cookie"]  # of a form that HEAD does not show
    assert (head.status, head.raw_headers) == (full.status, headers)
    assert int(full.header("content-length")) == len(full.body.encode())


@pytest.mark.parametrize("page", ["", "/policy", "/policy/3", "/cookies", "/state", "/static/x.css"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("language", "text"), [("ko", "처리할 수 없는 요청 방식"), ("en", "does not take this kind of request")]
)
def test_another_method_is_refused_in_the_visitors_language(page: str, method: str, language: str, text: str) -> None:
    answer = get(f"/consent{page}", method=method, headers={"accept-language": language})
    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD")
    assert text in answer.body


def test_errors_are_json_for_who_asks_for_json() -> None:
    as_json = {"accept": "application/json"}
    assert json.loads(get("/consent/policy/9", headers=as_json).body) == {"error": "missing", "revisions": [3]}
    assert json.loads(get("/consent/nowhere", headers=as_json).body) == {"error": "missing"}
    assert json.loads(get("/consent", method="PUT", headers=as_json).body)["allowed"] == ["GET", "HEAD"]


@pytest.mark.parametrize(
    "path", ["/consent/%22%3E%3Cscript%3E", '/consent/"><script>alert(1)</script>', "/consent/a\ud800"]
)
def test_an_address_that_does_not_exist_is_written_into_the_page_as_an_address(path: str) -> None:
    page = get(path)
    assert page.status == 404
    assert "<script>alert" not in page.body


def test_a_choice_without_a_surface_came_through_the_api() -> None:
    consent = visitor()
    post(consent, {"choice": "accept"})
    assert consent.shown.surface == "api"
    assert len(consent.shown.text) == 64


# -- from right to left ---------------------------------------------------------------------------------------------


def arabic(directory: Path) -> Site:
    folder = directory / "locale" / "ar" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    header = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'
    words = {"Privacy policy": "سياسة الخصوصية", "Cookies": "ملفات تعريف الارتباط", "Reject all": "رفض الكل"}
    entries = "\n".join(f'msgid "{english}"\nmsgstr "{spoken}"\n' for english, spoken in words.items())
    (folder / "consent_mw.po").write_text(header + entries, "utf-8")
    policy: Policy = loads(DECLARATION.replace('["ko", "en"]', '["ar", "ko"]'))
    return Site(policy, signing=SIGNING, templates=directory)


@pytest.mark.parametrize("page", ["", "/policy", "/policy/3", "/cookies", "/nowhere"])
def test_a_language_from_right_to_left_turns_every_page(page: str, tmp_path: Path) -> None:
    answer = get(f"/consent{page}", app=arabic(tmp_path), headers={"accept-language": "ar"})
    assert '<html lang="ar" dir="rtl"' in answer.body
    assert answer.header("content-language") == "ar"
    assert '<span lang="ko" dir="ltr">' in answer.body or page == "/nowhere"


def test_a_language_from_right_to_left_turns_the_banner(tmp_path: Path) -> None:
    html = banner(visitor(), app=arabic(tmp_path), headers={"accept-language": "ar"})
    assert 'lang="ar" dir="rtl"' in html
    assert "رفض الكل" in html


# -- gpc.json -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 405), ("DELETE", 405)])
def test_gpc_support_is_told_with_the_day_it_was_published(method: str, status: int) -> None:
    answer = asyncio.run(_gpc(method))
    assert answer.status == status
    if method == "GET":
        assert json.loads(answer.body) == {"gpc": True, "lastUpdate": "2026-01-01"}
        assert answer.header("content-type") == "application/json"
    else:
        assert answer.body == ""
    assert (answer.header("allow") == "GET, HEAD") == (status == 405)


async def _gpc(method: str) -> Answer:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": "/.well-known/gpc.json",
        "headers": [],
        "query_string": b"",
    }
    await Site(loads(DECLARATION), signing=SIGNING).gpc(scope, receive, send)
    return Answer(sent[0]["status"], sent[0]["headers"], b"".join(part.get("body", b"") for part in sent[1:]).decode())
