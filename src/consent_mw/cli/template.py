"""A policy to start from for one kind of site, in its languages and under its law."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from consent_mw.policy.language_tags import lookup
from consent_mw.policy.pointer import declarable
from consent_mw.site.sentences import CATALOGUES, SOURCE, files_in
from consent_mw.system.escaping import as_json

if TYPE_CHECKING:
    from jinja2 import Template

KINDS: Final = ("shop", "service", "community", "public")
#: In which the texts of a policy to start from are written.
WRITTEN: Final = ("ko", "en")
_NAMES: Final[Mapping[str, str]] = {"ko": "Korean", "en": "English"}
_TAG: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2}|-[A-Z][a-z]{3}|-[0-9]{3})*")

#: Where a visitor may complain: names in Korean and English, telephone number, page.
_AGENCIES: Final[Mapping[str, Sequence[tuple[tuple[str, str], str, str]]]] = {
    "KR": (
        (("개인정보침해 신고센터", "Privacy Infringement Report Centre"), "118", "https://privacy.kisa.or.kr"),
        (
            ("개인정보 분쟁조정위원회", "Personal Information Dispute Mediation Committee"),
            "1833-6972",
            "https://www.kopico.go.kr",
        ),
        (("대검찰청", "Supreme Prosecutors' Office"), "1301", "https://www.spo.go.kr"),
        (
            ("경찰청 사이버범죄 신고시스템", "National Police Agency, cybercrime reports"),
            "182",
            "https://ecrm.police.go.kr",
        ),
    ),
    "EU": (
        (
            ("사는 나라의 개인정보 감독기관", "The data protection authority of your country"),
            "",
            "https://www.edpb.europa.eu/about-edpb/about-edpb/members_en",
        ),
    ),
    "UK": ((("영국 정보위원회", "Information Commissioner's Office"), "0303 123 1113", "https://ico.org.uk"),),
    "US": ((("연방거래위원회", "Federal Trade Commission"), "", "https://reportfraud.ftc.gov"),),
}


def spoken_languages() -> list[str]:
    """Return the languages that our pages speak, as policies write them."""
    return sorted(files_in(CATALOGUES))


def language_tag(said: str) -> str | None:
    """Return a language as policies write it: "pt-BR" for "PT_br". None if our pages do not speak it."""
    first, *rest = said.replace("_", "-").split("-")
    tag = "-".join([first.lower(), *(part.title() if len(part) == len("Hant") else part.upper() for part in rest)])
    return tag if _TAG.fullmatch(tag) and lookup(tag, spoken_languages()) else None


def is_written(language: str) -> bool:
    """Whether the texts to start from are in this language."""
    return lookup(language, WRITTEN) is not None


def _written_in(languages: Sequence[str]) -> list[str]:
    """Return in which of `WRITTEN` the texts are for a site of these languages."""
    return list(dict.fromkeys(filter(None, (lookup(tag, WRITTEN) for tag in languages)))) or [SOURCE]


# The day in the packaged file stands for the day on which it is copied.
_DAY: Final = "2000-01-01"
_TEXT: Final = re.compile(r"\{ ko = (?P<ko>\"[^\"]*\"), en = (?P<en>\"[^\"]*\") \}")


def founding_policy(languages: Sequence[str], jurisdiction: str, today: date) -> str:
    """
    Return the founding policy, with each line explained.

    Args:
        languages, jurisdiction, today: As of `from_template`.
    """
    text = files("consent_mw.policy").joinpath("founding.toml").read_text("utf-8")
    head, agencies, rest = re.split(r"(?s)(?<=\n\n)(\[\[agencies\]\].*?)(?=# Third parties)", text, maxsplit=1)
    if jurisdiction != "KR":
        own = _AGENCIES.get(jurisdiction.partition("-")[0], ())
        agencies = "".join(map(_agency, own))
        head = head.replace("the public bodies of Korea. See", "See").replace('"Asia/Seoul"', '"UTC"')
    text = (head + agencies + rest).replace(_DAY, today.isoformat())
    text = text.replace('\njurisdiction = "KR"', f"\njurisdiction = {as_json(jurisdiction)}")
    text = text.replace('\nlanguages = ["ko", "en"]', f"\nlanguages = {as_json(list(languages))}")
    lines = (_spoken(line, languages) for line in text.splitlines())
    return _remark(languages) + "\n".join(lines) + "\n"


def _remark(languages: Sequence[str]) -> str:
    """Return the comment for languages that the texts are not in yet."""
    missing = ", ".join(tag for tag in languages if not is_written(tag))
    written = _NAMES[_written_in(languages)[0]]
    return f"# The texts below are in {written} still: write them in {missing}.\n" if missing else ""


def _agency(agency: tuple[tuple[str, str], str, str]) -> str:
    (korean, english), phone, url = agency
    number = f"phone = {as_json(phone)}\n" if phone else ""
    return (
        f"[[agencies]]\nname = {{ ko = {as_json(korean)}, en = {as_json(english)} }}\n{number}url = {as_json(url)}\n\n"
    )


def _spoken(line: str, languages: Sequence[str]) -> str:
    """Return a line with its text in those languages; what a comment says of texts stays."""
    if re.match(r"# ", line):
        return line
    return _TEXT.sub(lambda text: _in_languages(text.groupdict(), languages), line)


def _in_languages(text: Mapping[str, str], languages: Sequence[str]) -> str:
    """Return a text for a site of these languages, as TOML; `text` has it as TOML in each of `WRITTEN`."""
    written = _written_in(languages)
    if len(languages) == 1:
        return text[written[0]]
    return f"{{ {', '.join(f'{tag} = {text[tag]}' for tag in written)} }}"


def from_template(kind: str, languages: Sequence[str], jurisdiction: str, today: date) -> str:
    """
    Return a declaration for a site of one of `KINDS`, as TOML.

    Args:
        languages: As `language_tag` returns them; the first is for visitors who read none of them. Texts for one that
            is not in `WRITTEN` are in English, or in another one of `languages`.
        jurisdiction: As a policy writes it; whether it is one, `loads` tells.
        today: From which day on it holds.
    """

    def text(korean: str, english: str) -> str:
        return _in_languages({"ko": as_json(korean), "en": as_json(english)}, languages)

    return _remark(languages) + _start().render(
        kind=kind,
        languages=list(languages),
        law=jurisdiction,
        today=today.isoformat(),
        agencies=_AGENCIES.get(jurisdiction.partition("-")[0], ()),
        t=text,
        can=declarable,
    )


@cache
def _start() -> Template:
    from jinja2 import Environment, StrictUndefined

    # What is made is TOML, so nothing is escaped for HTML.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701
    return environment.from_string(files("consent_mw.policy").joinpath("start.toml.jinja").read_text("utf-8"))
