"""Each sentence of our pages is there because a key of the declaration, or the server's own work, makes it true."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.policies import POLICY
from tests.support.site_of_receipts import body, receipts, site
from tests.support.smallest_policy import SMALLEST
from tests.support.visitors import Visitor

from consent_mw.cli import main
from consent_mw.consent.choice import Choice
from consent_mw.consent.receipts import Receipt
from consent_mw.exceptions import PolicyError
from consent_mw.policy.loader import load, loads
from consent_mw.policy.model import Policy
from consent_mw.records import new_id
from consent_mw.site.documents import OwnCookies, policy_document
from consent_mw.site.receipt_document import Addresses, receipt_document
from consent_mw.site.surfaces import Surfaces, shown_text

REACHED = '[[contacts]]\nrole = "access"\nname = "x"\nfax = "1"\naddress = "Street"\n'
ASKED = '[purposes.ads]\nbasis = "consent"\nretention = "6 months"\n'
OBLIGED = ASKED.replace('"consent"', '"legal_obligation"\nlaw = "Act 1"')
SCRIPTED = "A cookie that a script sets inside your browser"


def article(policy: Policy, language: str = "en", **more: Any) -> str:
    html = Surfaces(policy, **more).render(
        "_article.html", language, "", suffix="", own_cookies=OwnCookies(), has_my_data=True
    )
    return re.sub(r"<[^>]+>", " ", html)


#: What the page says in English and in Korean, and what has to be added to the smallest declaration that it does.
CONDITIONAL = [
    ("fax", "팩스", f'[contact]\nways = ["fax"]\n{REACHED}'),
    ("post.", "우편", f'[contact]\nways = ["post"]\n{REACHED}'),
    ("shredded", "분쇄", '[destruction]\npaper = { en = "Paper is shredded.", ko = "종이는 분쇄합니다." }\n'),
    ("abuse", "부정 이용", '[purposes.abuse]\nbasis = "legitimate_interest"\nretention = "1 year"\n'),
    ("For each request the server records", "요청마다", '[log.necessary]\n"url.path" = "full"\n'),
    ("be asked each time", "저장할 때마다", ASKED),
    (SCRIPTED, "브라우저 안의 스크립트가", ASKED),
    ("You may withdraw your consent", "동의는 하실 때만큼", ASKED),
    ("On until you refuse", "거부하실 때까지", ASKED.replace('"consent"', '"opt_out"')),
    ("Global Privacy Control", "Global Privacy Control", ASKED + 'refused_by = ["gpc"]\n'),
    ("separate archive instead", "파기하는 대신", ASKED + 'archive = { retention = "5 years", law = "Act 1" }\n'),
    ("on a stated legal basis", "법적 근거를", ASKED + 'archive = { retention = "5 years", law = "Act 1" }\n'),
    ("Kept because the law requires it", "법령에 따라 보존하는", OBLIGED),
    ("the law requires it", "법령상 의무", OBLIGED),
    ("These uses of the service", "이용 내역도", ASKED + '[events.search]\npurpose = "ads"\n'),
]  # fmt: skip


@pytest.mark.parametrize(("english", "korean", "added"), CONDITIONAL)
def test_a_sentence_stands_on_the_page_exactly_where_the_declaration_carries_it(
    english: str, korean: str, added: str
) -> None:
    for language, words in (("en", english), ("ko", korean)):
        assert words not in article(loads(SMALLEST), language)
        assert words in article(loads(SMALLEST + added), language)


STATE = SMALLEST.replace("schema = 1", 'schema = 1\njurisdiction = "US-CO"')
OPT_OUT = ASKED.replace('"consent"', '"opt_out"')
HELD = '[purposes.club]\nheld_by = "application"\nbasis = "contract"\nuntil = "you leave"\n'
#: A declaration, what its page says, and what would be untrue there.
JUDGED = {
    "where nothing is agreed to, nothing is withdrawn": (
        STATE + OPT_OUT, "change your choice about cookies at any time", "withdraw your consent"
    ),
    "what is on until it is refused does not wait": (STATE + OPT_OUT, "only while it is allowed", "wait until"),
    "no state has an authority of its country": (STATE, "the attorney general of your state", "of your country"),
    "nobody answers for what nobody is named for": (SMALLEST + HELD, "does not say how", "turn to the officer"),
    "a name that stands for a description is said once": (SMALLEST + HELD, "Club", "Club  Legal basis"),
    "our own purpose keeps its words under another period": (
        SMALLEST + '[purposes.receipts]\nbasis = "legitimate_interest"\nretention = "2 years"\n',
        "Proof of your choice", "Receipts",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "sentence", "untrue"), JUDGED.values(), ids=JUDGED)
def test_what_is_declared_in_another_way_is_told_in_another_way(text: str, sentence: str, untrue: str) -> None:
    page = article(loads(text))
    assert sentence in page
    assert untrue not in page


def test_our_own_purposes_have_words_in_every_language_that_our_pages_have() -> None:
    for language in ("ar", "de", "es", "fr", "ja", "pt-BR", "vi", "zh-CN", "zh-TW"):
        policy = loads(SMALLEST.replace('["en", "ko"]', f'["{language}", "en"]'))
        own = [policy.purposes[name] for name in ("receipts", "requests")]
        words = [text for purpose in own for text in (purpose.title, purpose.description)]
        assert {text.read(language)[1] for text in words} == {language}
        assert {text.read("sv")[1] for text in words} == {"en"}


#: What no key of the declaration says, and no part of the server does.
NEVER = [
    ("find out who", "누구인지 알아내는"),
    ("promptly", "신속"),
    ("No law obliges", "법령에 따라 더 오래"),
    ("independently of us", "저희와 관계없이"),
    ("send notices", "필요한 안내를"),
    ("no single connection", "한 회선을"),
]


@pytest.mark.parametrize("policy", [SMALLEST, POLICY], ids=["smallest", "usual"])
def test_nothing_is_claimed_that_nothing_declares(policy: str) -> None:
    for language, place in (("en", 0), ("ko", 1)):
        page = article(loads(policy), language)
        assert [words for words in NEVER if words[place] in page] == []


#: As the law of Korea lists them.
_PLACES = ("purposes", "collection", "retention", "destruction", "recipients", "cookies", "other", "rights", "officer",
           "agencies", "changes")  # fmt: skip


def test_the_founding_policy_still_has_eleven_sections_that_each_say_something() -> None:
    for language in ("en", "ko"):
        html = Surfaces(load("src/consent_mw/policy/founding.toml")).render(
            "_article.html", language, "", suffix="", own_cookies=OwnCookies(), has_my_data=True
        )
        sections = html.split('<section id="section-')[1:]
        assert [section.partition('"')[0] for section in sections] == list(_PLACES)
        assert all(re.search(r"<(p|li|td|dd)\b", section) for section in sections)


def test_the_page_promises_a_form_only_where_there_is_one() -> None:
    surfaces = Surfaces(loads(POLICY))
    without = surfaces.render("_article.html", "en", "", suffix="", own_cookies=OwnCookies(), has_my_data=False)
    assert "My data" not in without
    assert "/my-data" not in without


def test_a_way_by_telephone_needs_a_number() -> None:
    with pytest.raises(PolicyError, match=r'contact\.ways: "phone" has no number; add controller\.officer\.phone'):
        loads(SMALLEST + '[contact]\nways = ["phone"]\n')
    with pytest.raises(PolicyError, match=r"invalid enum value .pigeon.; allowed are: form, email, phone, fax"):
        loads(SMALLEST + '[contact]\nways = ["pigeon"]\n')


def test_the_data_say_what_the_page_says_about_ways_and_paper() -> None:
    document: Any = policy_document(
        loads(SMALLEST + '[contact]\nways = ["form"]\n[destruction]\npaper = "Burnt."\n'), "en", OwnCookies(), [1]
    )
    assert (document["contact"], document["destruction"]["paper"]["text"]) == ({"ways": ["form"]}, "Burnt.")


def test_what_is_on_until_it_is_refused_says_so_before_the_answer_and_nobody_reads_that_nothing_is_in_use(
    tmp_path: Path,
) -> None:
    opted = POLICY.replace('[purposes.marketing]\nbasis = "consent"', '[purposes.marketing]\nbasis = "opt_out"')
    assert "On until you refuse, or your browser's privacy signal does: Marketing." in shown_text(
        loads(opted), "en", "banner"
    )
    assert "On until you refuse" not in shown_text(loads(POLICY), "en", "banner")

    async def settings(app: Any) -> str:
        page = body(await Visitor(app).gets("/consent/", query_string=b"lang=en"))
        await app.runtime.drain.stop()
        return page

    apart = [tmp_path / name for name in ("plain", "opted")]
    for directory in apart:
        directory.mkdir()
    plain, in_use = (
        asyncio.run(settings(site(directory, text))) for directory, text in zip(apart, (POLICY, opted), strict=True)
    )
    assert "everything optional stays off" in plain
    assert "everything optional stays off" not in in_use
    assert "On until you refuse" in in_use


@pytest.mark.parametrize("reports", [False, True])
def test_a_site_that_only_reports_says_on_each_page_that_it_holds_nothing_back(tmp_path: Path, reports: bool) -> None:
    app = site(tmp_path, report_only=reports)

    async def run() -> None:
        visitor = Visitor(app)
        html = [(b"accept", b"text/html")]
        for path in ("/", "/consent/", "/consent/policy", "/consent/cookies"):
            page = body(await visitor.gets(path, headers=html, query_string=b"lang=en"))
            page += body(await visitor.gets(path, headers=[*html, (b"accept-language", b"en")]))
            assert ("This site is only testing for now" in page) is reports, path
            assert not (reports and ("neither sets a cookie" in page or "blocks any other" in page)), path
        await visitor.posts(("choice", "accept"), ("surface", "banner"), ("language", "en"))
        (receipt,) = await receipts(visitor)
        assert ("only testing" in receipt["consent_mw"]["shown"]["text"]) is reports
        await app.runtime.drain.stop()

    asyncio.run(run())


@pytest.mark.parametrize(("seal", "encrypted"), [("true", True), ("false", False)])
def test_a_receipt_calls_records_encrypted_exactly_where_they_are(seal: str, encrypted: bool) -> None:
    policy = loads(POLICY.replace("[log.necessary]", f"[log]\nseal = {seal}\n[log.necessary]"))
    receipt = Receipt(new_id(0), "n", Choice.ACCEPT, 1, policy.digest, "banner", "en", "", {}, {}, [], "")
    data: Any = receipt_document(receipt, policy, Addresses(""), words=None)
    assert {"personal fields encrypted" in purpose["processing_method"] for purpose in data["purposes"]} == {encrypted}


def test_init_writes_a_policy_that_promises_neither_fax_nor_paper(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / "site"), "--json"]) == 0
    policy = load(json.loads(capsys.readouterr().out)["policy"])
    for words in ("fax", "shredded", "paper"):
        assert words not in article(policy)
    assert "form on the site, e-mail, telephone" in article(policy)


def test_a_cookie_of_a_framework_is_described_by_what_it_does() -> None:
    (messages,) = [cookie for cookie in loads(POLICY).cookies if cookie.name == "messages"]
    assert messages.description.read("en") == ("Holds messages that are shown once.", "en")
