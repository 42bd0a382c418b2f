"""What visitors stumbled over stays out of our pages: each form was read by somebody, and has a plainer one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from consent_mw.site.sentences import CATALOGUES
from consent_mw.site.templating import TEMPLATES

#: A pattern of what was rejected, by language, and what is written instead.
REJECTED = {
    "en": {
        r"^Now: ": "You accepted everything on ...",
        r"\bAll that (wait|changes)\b": "All of these; See what changes",
        r"\bshows us nothing by which\b": "We can't identify you from this browser",
        r"^Have your data left alone": "Pause the use of your data",
        r"\bby ourselves\b": "We decide",
        r"\bare these revisions\b": "Versions of this policy",
        r"\bcannot be asked\b": "does not take this kind of request",
        r"\bitems that arise\b": "Collected automatically",
        r"\bSingle cookies\b": "Choose by cookie",
        r"\bWhy we may\b": "Legal basis",
        r"\bOne by one\b": "Choose by purpose",
        r"\bmarked ones\b": "Withdraw selected",
        r"\bstood twice\b": "Sent twice",
        r"\bcarr(y|ies) (no|a) mark\b|\bno mark of yours\b": "aren't linked to you",
        r"\bnot let through\b": "blocks",
        r"\bso there is nothing to prove\b": "so there is no receipt",
        r"\bif you like\b": "optional",
        r"\bwhat becomes? of\b": "the subject, and a verb",
    },
    "ko": {
        r"개인정보처리방침": "개인정보 처리방침",
        r"전자우편": "이메일",
        r"(?<!암호 )열쇠|암호 열쇠": "암호 키",
        r"(?<!사)용도": "목적",
        r"이용 목적": "목적",
        r"부정이용": "부정 이용",
        r"정보 주체": "정보주체",
        r"(?<![가-힣\ds])판(?=[은이을의에과와 ])": "개정판, 제3판",
        r"여쭈|여쭌|여쭙|여쭐": "묻다",
        r"(?<![가-힣])이 쪽(?![가-힣]*으로)": "이 페이지",
        r"직접 정하|정하신 답": "선택하다",
        r"위와 같게": "위 설정 따르기",
        r"(?<![가-힣])늘 ": "항상",
        r"답할 수 없는": "처리할 수 없는 값",
        r"증명할 것이 없": "확인서가 없습니다",
        r"짧은 글": "작은 텍스트 파일",
        r"목적을 이룬": "목적이 달성된",
        r"내보내지 않": "차단합니다",
        r"기다리는 쿠키 모두": "이 쿠키 모두",
        r"한 회선": "특정 회선을 알 수 없게 함",
        r"변경 전:|변경 후:": "13개월 → 14개월",
    },
}

TAGS = re.compile(r"\{%\s*trans.*?endtrans\s*%\}|\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)


def spoken(language: str) -> list[str]:
    """Return every sentence that visitors read in `language`, those of the demo too."""
    with (CATALOGUES / language / "LC_MESSAGES" / "consent_mw.po").open("rb") as file:
        sentences = [str(message.string or message.id) for message in read_po(file, locale=language) if message.id]
    demo = files("consent_mw.demo")
    for name in ("texts.toml", "policy.toml"):
        sentences += said(tomllib.loads((demo / name).read_text("utf-8")), language)
    return sentences


def said(value: object, language: str) -> Iterator[str]:
    """Yield each text of `language` in a TOML document, at whatever depth."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, part in value.items():
            if key == language and isinstance(part, str):
                yield part
            yield from said(part, language)


@pytest.mark.parametrize("language", REJECTED)
def test_no_sentence_has_a_form_that_readers_stumbled_over(language: str) -> None:
    sentences = spoken(language)
    assert len(sentences) > 300
    stumbles = {
        sentence: instead
        for pattern, instead in REJECTED[language].items()
        for sentence in sentences
        if re.search(pattern, sentence, re.IGNORECASE)
    }
    assert stumbles == {}


def test_no_template_says_a_sentence_past_the_catalogues() -> None:
    """What stands between the tags of a template is marked for translation, or is no word."""
    bare = {}
    for file in sorted(Path(TEMPLATES).glob("*.html")):
        text = TAGS.sub("", file.read_text("utf-8"))
        words = re.findall(r">([^<>]*[A-Za-z가-힣]{3,}[^<>]*)<", text)
        if unmarked := [
            phrase.strip()
            for phrase in words
            if phrase.strip() not in {"CSV", "JSON", "JSON-LD", "HTML", "Markdown", "SHA-256:"}
        ]:
            bare[file.name] = unmarked
    assert bare == {}
