"""`init --from`: an existing policy page becomes a declaration that loads, and nothing of it is lost in silence."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_mw.cli import main
from consent_mw.cli.draft import Draft, drafted
from consent_mw.cli.existing_page import Table, read_page
from consent_mw.cli.page_facts import date_of, duration_of, length_of
from consent_mw.policy.loader import loads
from consent_mw.policy.model import Items, Text

KOREAN = """<!doctype html><html lang="ko"><head><title>개인정보 처리방침</title></head>
<body><nav><p>메뉴</p></nav><main>
<h1>개인정보 처리방침</h1>
<p>(주)솔내음(이하 '회사')은 「개인정보 보호법」 제30조에 따라 다음과 같이 처리방침을 수립·공개합니다.</p>
<h2>제1조(개인정보의 제3자 제공)</h2>
<table><tr><th>제공받는 자</th><th>제공 목적</th><th>제공 항목</th><th>보유 및 이용 기간</th></tr>
<tr><td>바람택배</td><td rowspan="2">배송</td><td>이름, 주소</td><td>3개월</td></tr>
<tr><td>구름물류</td><td>이름</td><td>계약 종료 시까지</td></tr></table>
<h2>제2조(개인정보 처리의 위탁)</h2>
<table><tr><th>수탁업체</th><th>위탁업무</th></tr><tr><td>달빛호스팅</td><td>서버</td></tr></table>
<h2>제3조(개인정보의 안전성 확보조치)</h2><ul><li>기술적 조치: 암호화</li></ul>
<h2>제4조(쿠키)</h2><table><tr><th>쿠키명</th><th>용도</th><th>만료</th></tr>
<tr><td>_ga</td><td>방문 분석</td><td>2년</td></tr><tr><td>a; b</td><td>모름</td><td>-</td></tr></table>
<h2>제5조(개인정보 보호책임자)</h2><p>성명: 나보호</p><p>전화: 02-555-0199</p><p>이메일: privacy@solnaeum.kr</p>
<h2>제6조(권익침해 구제방법)</h2><ul><li>개인정보침해신고센터 : (국번없이) 118 (privacy.kisa.or.kr)</li>
<li>대검찰청 : 1301 (www.spo.go.kr)</li></ul><p>이 방침은 2025년 3월 2일부터 시행됩니다.</p></main></body></html>"""

ENGLISH = """# Privacy notice

Heron Trust ("we") follows the UK GDPR.

## Contact

Name: Jo Marsh
Email: dpo@herontrust.org.uk, telephone 01603 555 123

## Cookies

| Cookie | Purpose | Expiry | Notes |
|---|---|---|---|
| csrftoken | Necessary: protects forms | 1 year | sent by us |

## Who we share data with

| Recipient | What | Why | How long |
|---|---|---|---|
| HMRC | Donations | Gift Aid | 6 years |

## Volunteers

We keep the names of volunteers.
"""


PURPOSES = {
    "ko": """# 개인정보 처리방침

「개인정보 보호법」에 따릅니다.

## 1. 개인정보의 처리 목적, 항목 및 보유 기간

| 구분 | 처리 목적 | 수집 항목 | 보유 기간 | 근거 |
|---|---|---|---|---|
| 회원 관리 | 본인 확인 | 필수: 이메일, 이름 / 선택: 전화번호 | 회원 탈퇴 후 30일 | 제15조제1항제4호(계약) |
| 이벤트 | 경품 발송 | 이름, 주소 | 6개월 | |
| 무엇 | 알 수 없음 | 모름 | | |

## 2. 개인정보의 국외 이전

| 이전받는 자 | 이전 국가 | 이전 일시 및 방법 | 이전 항목 | 이용 목적 | 보유 기간 | 거부 방법 |
|---|---|---|---|---|---|---|
| Moon Cloud | 미국 | 이용 시점에 전송 | 이메일 | 보관 | 2년 | 탈퇴 |
| 해 서버 | 어느 나라 | 수시 | 이름 | 백업 | 1년 | |

## 3. 처리의 위탁

| 수탁업체 | 위탁업무 |
|---|---|
| Moon Cloud | 서버 |
""",
    "en": """# Privacy notice

The GDPR applies.

## What we collect and why

| Purpose | Data | Legal basis | How long we keep it |
|---|---|---|---|
| Your account | Required: e-mail. Optional: photo | Contract | Until you close your account |
| Newsletter | E-mail address | Consent, article 6(1)(a) | for 2 years |

## Processors

| Processor | What they do | Country |
|---|---|---|
| Moon Cloud | Hosting | United States |
| Sun GmbH | Mail | Somewhere |
""",
}


def draft(tmp_path: Path, text: str, name: str) -> Draft:
    file = tmp_path / name
    file.write_text(text, "utf-8")
    return drafted(read_page(file), name, date(2026, 11, 29))


def test_a_korean_page_becomes_a_declaration_that_loads(tmp_path: Path) -> None:
    proposal = draft(tmp_path, KOREAN, "policy.html")
    policy = loads(proposal.text)
    assert policy.jurisdiction == "KR"
    assert policy.controller.name.read("ko")[0] == "(주)솔내음"
    assert policy.controller.officer.email == "privacy@solnaeum.kr"
    assert policy.controller.officer.phone == "02-555-0199"
    assert [(agency.phone, agency.url) for agency in policy.agencies] == [
        ("118", "https://privacy.kisa.or.kr"),
        ("1301", "https://www.spo.go.kr"),
    ]
    assert [(cookie.name, str(cookie.expires), cookie.purpose) for cookie in policy.cookies] == [
        ("_ga", "2 years", "analytics")
    ]
    assert [recipient.name.read("ko")[0] for recipient in policy.recipients] == ["바람택배", "구름물류"]
    ends = [
        (recipient.retention and str(recipient.retention), recipient.until and recipient.until.read("ko")[0])
        for recipient in policy.recipients
    ]
    assert ends == [("3 months", None), (None, "계약 종료 시까지")], "an event is no length of time"
    assert "2025-03-02" in proposal.text


def test_an_english_page_of_markdown_becomes_one_too(tmp_path: Path) -> None:
    proposal = draft(tmp_path, ENGLISH, "policy.md")
    policy = loads(proposal.text)
    assert (policy.jurisdiction, policy.controller.name.read("en")[0]) == ("UK", "Heron Trust")
    assert policy.controller.officer.phone == "01603 555 123"
    assert policy.cookies[0].purpose == "necessary"
    assert str(policy.recipients[0].retention) == "6 years"
    assert "# the page says besides: sent by us" in proposal.text


def test_a_table_of_purposes_becomes_what_the_application_holds(tmp_path: Path) -> None:
    proposal = draft(tmp_path, PURPOSES["ko"], "policy.md")
    members, promotions = loads(proposal.text).by_application
    assert (members.name, members.basis, promotions.name) == ("members", "contract", "promotions")
    assert members.items == Items(required=Text({"": "이메일, 이름"}), optional=Text({"": "전화번호"}))
    assert members.until == Text({"": "회원 탈퇴 후 30일"}), "30 days from an event are no 30 days"
    assert str(promotions.retention) == "6 months"
    marked = "\n".join(proposal.unsure)
    assert marked.count("or does this server keep it?") == 2
    assert 'basis = "consent" # unsure: not found in the page' in marked
    assert any(row.startswith("1. 개인정보의 처리 목적") for row in proposal.unplaced), "a row that says too little"
    assert "알 수 없음" in proposal.text

    english = draft(tmp_path, PURPOSES["en"], "english.md")
    account, newsletter = loads(english.text).by_application
    assert account.items == Items(required=Text({"": "e-mail"}), optional=Text({"": "photo"}))
    assert (account.basis, newsletter.basis, str(newsletter.retention)) == ("contract", "consent", "2 years")


def test_a_country_is_declared_where_it_is_known_and_its_ground_is_asked_for(tmp_path: Path) -> None:
    proposal = draft(tmp_path, PURPOSES["ko"], "policy.md")
    moon, sun = loads(proposal.text).processors
    assert moon.task == Text({"": "서버"})
    assert moon.transfer is not None
    assert moon.transfer.countries == ("US",)
    assert moon.transfer.refuse == Text({"": "탈퇴"})
    assert "what allows it, or guards it?" in "\n".join(proposal.unsure)
    assert (sun.name, sun.transfer) == (Text({"": "해 서버"}), None)
    assert 'which country of ISO 3166-1? the page says "어느 나라"' in proposal.text
    english = loads(draft(tmp_path, PURPOSES["en"], "english.md").text).processors
    assert [processor.transfer and processor.transfer.countries for processor in english] == [("US",), None]


@pytest.mark.parametrize(
    ("text", "name"),
    [(KOREAN, "a.html"), (ENGLISH, "a.md"), (PURPOSES["ko"], "a.md"), (PURPOSES["en"], "a.md")],
)
def test_every_word_of_the_page_stands_in_the_proposal(tmp_path: Path, text: str, name: str) -> None:
    proposal = draft(tmp_path, text, name)
    units = {"(국번없이)": "118", "3개월": "3 months", "2년": "2 years", "방문 분석": "analytics", "6개월": "6 months",
             "1년": "1 year", "for 2 years": "2 years", "미국": "US", "United States": "US"}  # fmt: skip
    page = read_page(tmp_path / name)
    cells = [
        cell
        for part in page.parts
        for block in part.blocks
        for cell in ((cell for row in block.rows[1:] for cell in row) if isinstance(block, Table) else block.split())
    ]
    listed = "\n".join(proposal.unplaced)
    pieces = (piece for cell in cells for piece in re.split(r"(?:필수|선택|Required|Optional): |[./] ", cell))
    for cell in filter(None, map(str.strip, pieces)):
        words = units.get(cell, cell)
        assert (
            words in proposal.text
            or cell in proposal.text
            or words.strip(".,:()'\"") in proposal.text
            or words in listed
        ), cell
    assert "메뉴" not in proposal.text


def test_what_was_not_placed_is_listed_and_what_is_unsure_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "policy.html"
    page.write_text(KOREAN, "utf-8")
    assert main(["init", str(tmp_path / "site"), "--from", str(page)]) == 0
    summary = capsys.readouterr().err
    assert "not placed: 제4조(쿠키)" in summary, "a name that no cookie can have is not made into another"
    assert re.search(r"unsure: \d+ lines", summary)
    assert main(["check", str(tmp_path / "site" / "policy.toml")]) == 0
    capsys.readouterr()
    assert main(["init", str(tmp_path / "other"), "--from", str(page), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["unsure"]
    assert answer["unplaced"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("policy.pdf", b"x", "is neither Markdown nor HTML"),
        ("none.md", None, "cannot be read"),
        ("policy.html", b"<p>" + b"x" * 5_000_000, "is larger than 4 MiB"),
        ("policy.html", b"<div>" * 20_000 + b"<p>x", "nested too deep"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["init", str(tmp_path / "site"), "--from", str(tmp_path / name)]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


@given(
    st.lists(
        st.sampled_from(["<h2>", "</h2>", "<table>", "</table>", "<tr>", "<td colspan=3>", "<td>", "<li>", "<p>",
                         "쿠키 ", "제공받는 자 ",
                         "항목 ", "기간 ", "2년 ", "a@b.kr ", "\"\"\" ", "\\ ", "] # ", "\x1b[2J ", "_ga ",
                         "cookie name ", "118 ", "수집 목적 ",
                         "[필수] 이름 [선택] 나이 ", "이전받는 자 ", "이전 국가 ", "미국 "]),
        max_size=60,
    )
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_whatever_a_page_holds_the_proposal_loads(tmp_path_factory: pytest.TempPathFactory, pieces: list[str]) -> None:
    proposal = draft(tmp_path_factory.mktemp("page"), "".join(pieces), "policy.html")
    loads(proposal.text)
    assert "\x1b" not in proposal.text


@pytest.mark.parametrize(
    ("text", "duration"),
    [("3개월", "3 months"), ("1년간", "1 year"), ("for 13 months", "13 months"), ("세션", "session"),
     ("3개월 또는 1년", ""), ("1 to 2 years", ""), ("6~12개월", ""), ("1–2 Jahre", ""),
     ("until you leave", ""), ("30 days after you leave", "30 days"), ("0 days", "")],
)  # fmt: skip
def test_a_length_of_time_is_read_where_there_is_one(text: str, duration: str) -> None:
    assert duration_of(text) == duration


@pytest.mark.parametrize(
    ("text", "length"),
    [("3개월", "3 months"), ("1년간", "1 year"), ("for 13 months", "13 months"), ("최대 2년", "2 years"),
     ("탈퇴 후 30일", ""), ("30 days after you leave", ""), ("세션", ""), ("1년 또는 탈퇴 시", ""), ("", "")],
)  # fmt: skip
def test_a_length_of_time_is_one_only_where_nothing_else_is_said(text: str, length: str) -> None:
    assert length_of(text) == length


@pytest.mark.parametrize(
    ("text", "day"),
    [("2025년 3월 2일", "2025-03-02"), ("2025. 3. 2.", "2025-03-02"), ("3 April 2025", "2025-04-03"),
     ("April 3, 2025", "2025-04-03"), ("2025-13-41", ""), ("", "")],
)  # fmt: skip
def test_a_date_is_read_in_the_usual_ways(text: str, day: str) -> None:
    assert date_of(text) == day


@pytest.mark.parametrize(
    ("page", "there", "not_there", "unplaced"),
    [
        (
            "<h2>처리위탁</h2><table><tr><th>수탁업체</th><td>한빛물류</td></tr>"
            "<tr><th>위탁업무</th><td>배송</td></tr></table>",
            ['name = "한빛물류"', 'task = "배송"'],
            ['name = "위탁업무"'],
            0,
        ),
        (
            "<h2>Recipients</h2><table><tr><th rowspan=2>Recipient</th><th colspan=2>Details</th></tr>"
            "<tr><th>What</th><th>Why</th></tr><tr><td>Mail Ltd</td><td>Address</td><td>parcels</td></tr></table>",
            ['name = "Mail Ltd"', 'items = "Address"'],
            ['name = "Recipient"'],
            0,
        ),
        (
            "<h2>What we collect</h2><table>"
            "<tr><th colspan=2>Purpose and legal basis</th><th>Data</th><th>How long</th>"
            "</tr><tr><td colspan=2>Newsletter</td><td>E-mail</td><td>1 year</td></tr>"
            "<tr><td colspan=4>Taxes stay longer.</td></tr></table>",
            ['title = "Newsletter"', "#   Taxes stay longer."],
            ['grounds = "Newsletter"', 'title = "Taxes'],
            1,
        ),
        (
            "<p>제4조의2(가명정보)</p><p>처리하지 않습니다.</p><h2>기타</h2><p>없음</p>",
            ['title = "가명정보"'],
            ["의2"],
            0,
        ),
        (
            "<p><b>Ⅰ. </b><b>개인정보 보호책임자</b></p><dl><dt>성명</dt><dd>김총새</dd><dt>전화</dt>"
            "<dd>+82 2 5557777</dd></dl><p>Ⅱ. 안전성 확보조치</p><p>암호화</p>",
            ['name = "김총새"', 'phone = "+82 2 5557777"', 'title = "안전성 확보조치"'],
            ["Ⅱ"],
            1,
        ),
        (
            "<p><b>A. Contact</b></p><p>Since 2025-03-02: +44 1632 960222</p><p><b>B. Security</b></p><p>Locks.</p>",
            ['phone = "+44 1632 960222"', 'title = "Security"'],
            ['"B'],
            1,
        ),
        (
            '<html lang="de"><h1>Datenschutz</h1><p>Wir speichern nichts.</p></html>',
            ['languages = ["en"] # unsure: the page says that it is in de', "Wir speichern nichts."],
            [],
            0,
        ),
    ],
    ids=[
        "first column as heading",
        "heading of two rows",
        "cells across columns",
        "article 4-2",
        "as Word writes it",
        "in letters",
        "another language",
    ],
)
def test_tables_and_headings_of_another_make_are_not_silently_wrong(
    page: str, there: list[str], not_there: list[str], unplaced: int, tmp_path: Path
) -> None:
    proposal = draft(tmp_path, page, "policy.html")
    loads(proposal.text)
    assert [words for words in there if words not in proposal.text] == []
    assert [words for words in not_there if words in proposal.text] == []
    assert len(proposal.unplaced) == unplaced, proposal.unplaced
