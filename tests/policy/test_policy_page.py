"""The policy's page as a whole: its summary, its contents, and who keeps which promise."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from tests.support.my_data_site import body, site
from tests.support.smallest_policy import SMALLEST
from tests.support.visitors import Visitor
from tests.support.whole_policy import CLOUD, MEMBERS, SECTION

WHOLE = SMALLEST + MEMBERS + CLOUD + SECTION + '[log.ads]\n"client.address" = "masked"\n'


def page(directory: Path, language: str, form: str = "", text: str = WHOLE) -> str:
    async def read() -> str:
        visitor = Visitor(site(directory, text))
        return body(await visitor.gets(f"/consent/policy{form}", query_string=f"lang={language}".encode()))

    return asyncio.run(read())


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip()


@pytest.mark.parametrize(("language", "server", "site_itself"), [
    ("en", "Carried out by this server", "Promised by the site"), ("ko", "서버가 자동 이행", "운영자가 이행"),
])  # fmt: skip
def test_the_summary_has_a_row_for_each_purpose_and_says_who_keeps_it(
    language: str, server: str, site_itself: str, tmp_path: Path
) -> None:
    html = page(tmp_path, language)
    rows = html.partition('class="consent-mw-summary"')[2].partition("</table>")[0].split("<tr>")[2:]
    texts = [plain(row) for row in rows]
    assert len(texts) == 5  # necessary, members, ads, receipts, requests
    assert [site_itself in row for row in texts] == [False, True, False, False, False]
    assert [server in row for row in texts] == [True, False, True, True, True]
    members, ads = texts[1], texts[2]
    assert "E-mail" in members
    assert "Telephone" in members
    assert "Cloud Inc." in members
    assert "_c" in ads
    assert "IP" in ads


def test_the_summary_is_in_the_json_and_as_a_table_in_the_markdown(tmp_path: Path) -> None:
    rows = json.loads(page(tmp_path, "en", ".json"))["summary"]
    assert [row["purpose"] for row in rows] == ["necessary", "members", "ads", "receipts", "requests"]
    assert rows[1]["held_by"] == "application"
    assert rows[1]["items"]["required"]["text"] == "E-mail"
    assert rows[2] | {"cookies": ["_c"], "fields": ["client.address"], "retention": "6 months"} == rows[2]
    assert [processor["text"] for processor in rows[2]["processors"]] == ["Cloud Inc."]
    markdown = page(tmp_path, "en", ".md")
    assert re.search(r"^\| Accounts · .* \| E-mail; optional: Telephone \| until you close", markdown, re.MULTILINE)


def test_the_contents_lead_to_every_section_that_there_is(tmp_path: Path) -> None:
    html = page(tmp_path, "ko")
    contents = html.partition('class="consent-mw-contents"')[2].partition("</nav>")[0]
    listed = re.findall(r'<a href="#([\w-]+)">(.*?)</a>', contents)
    article = html.partition('<article class="consent-mw-articles">')[2]
    standing = re.findall(r'<section id="([\w-]+)">\s*<h2>(.*?)</h2>', article)
    assert [(name, plain(words)) for name, words in standing] == listed
    assert len(listed) > 10
    assert "](<#" not in page(tmp_path, "ko", ".md")  # a file has no such places


def test_the_page_names_itself_as_the_policy_to_tools(tmp_path: Path) -> None:
    assert '<link rel="privacy-policy" href="/consent/policy">' in page(tmp_path, "en")
