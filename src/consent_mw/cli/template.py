"""A policy to start from for one kind of site, in its languages and under its law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from importlib.resources import files
from typing import Final

from consent_mw.policy.pointer import declarable
from consent_mw.system.escaping import as_json

__all__ = ["KINDS", "LANGUAGES", "from_template"]

KINDS: Final = ("shop", "service", "community", "public")
LANGUAGES: Final = ("ko", "en")

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


def from_template(kind: str, languages: Sequence[str], jurisdiction: str, today: date) -> str:
    """
    Return a declaration for a site of one of `KINDS`, as TOML.

    Args:
        languages: Of `LANGUAGES`; the first is for visitors who read none of them.
        jurisdiction: As a policy writes it; whether it is one, `loads` tells.
        today: From which day on it holds.
    """
    from jinja2 import Environment, StrictUndefined

    def text(korean: str, english: str) -> str:
        said = {"ko": korean, "en": english}
        if len(languages) == 1:
            return as_json(said[languages[0]])
        return f"{{ {', '.join(f'{tag} = {as_json(said[tag])}' for tag in languages)} }}"

    # What is made is TOML, so nothing is escaped for HTML.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701
    source = files("consent_mw.policy").joinpath("start.toml.jinja").read_text("utf-8")
    return environment.from_string(source).render(
        kind=kind,
        languages=list(languages),
        law=jurisdiction,
        today=today.isoformat(),
        agencies=_AGENCIES.get(jurisdiction.partition("-")[0], ()),
        t=text,
        can=declarable,
    )
