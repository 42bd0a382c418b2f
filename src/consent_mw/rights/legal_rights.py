"""What a law lets a person ask for, and where it states the bases of processing. Pure. This is not legal advice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class LegalRight(NamedTuple):
    """One right, by the name under which templates/_rights.html words it, and its article in the law ("" for none)."""

    name: str
    article: str = ""


_GDPR: Final = (
    LegalRight("access", "15"),
    LegalRight("correction", "16"),
    LegalRight("erasure", "17"),
    LegalRight("restriction", "18"),
    LegalRight("portability", "20"),
    LegalRight("automated", "22"),
    LegalRight("withdrawal", "7(3)"),
    LegalRight("complaint", "77"),
)
#: The Data (Use and Access) Act 2025 replaced article 22 with articles 22A to 22D, and removed article 77: the
#: complaint to the Commissioner is in section 165 of the Data Protection Act 2018.
_UK: Final = tuple(LegalRight(right.name, {"22": "22A", "77": ""}.get(right.article, right.article)) for right in _GDPR)
_STATE: Final = tuple(
    map(LegalRight, ("access", "correction", "erasure", "portability", "opt-out-uses", "no-retaliation", "appeal"))
)
#: The articles are from: the Personal Information Protection Act of Korea; the GDPR, in the UK as retained there (its
#: right to object is separate, article 21(4)); California Civil Code.
_RIGHTS: Final[Mapping[str, tuple[LegalRight, ...]]] = {
    "KR": (
        LegalRight("access", "35"),
        LegalRight("correction-erasure", "36"),
        LegalRight("suspension", "37"),
        LegalRight("automated", "37-2"),
    ),
    "EU": _GDPR,
    "UK": _UK,
    "US-CA": (
        LegalRight("access", "1798.110"),
        LegalRight("erasure", "1798.105"),
        LegalRight("correction", "1798.106"),
        LegalRight("opt-out", "1798.120"),
        LegalRight("sensitive", "1798.121"),
        LegalRight("no-retaliation", "1798.125"),
    ),
    "US": _STATE,
}
#: Other states whose law on consumer privacy is in force. Of these, Iowa gives no right to correction.
_STATES: Final = frozenset(
    ("CO", "CT", "DE", "FL", "IA", "IN", "KY", "MD", "MN", "MT", "NE", "NH", "NJ", "OR", "RI", "TN", "TX", "UT", "VA")
)

#: GDPR, article 6(1); Personal Information Protection Act of Korea, article 15(1).
_BASES: Final[Mapping[str, Mapping[str, str]]] = {
    "EU": {
        "consent": "6(1)(a)",
        "contract": "6(1)(b)",
        "legal_obligation": "6(1)(c)",
        "vital_interests": "6(1)(d)",
        "public_task": "6(1)(e)",
        "legitimate_interest": "6(1)(f)",
    },
    "KR": {
        "consent": "15(1)1",
        "legal_obligation": "15(1)2",
        "public_task": "15(1)3",
        "contract": "15(1)4",
        "vital_interests": "15(1)5",
        "legitimate_interest": "15(1)6",
    },
}


def legal_rights(jurisdiction: str) -> tuple[LegalRight, ...]:
    """Return the rights under "KR", "EU", "UK", "US", or a state as "US-CA"; none if a state has no such law."""
    country, _, state = jurisdiction.partition("-")
    if state in _STATES:
        return tuple(right for right in _STATE if (state, right.name) != ("IA", "correction"))
    return _RIGHTS.get(jurisdiction, ()) if state else _RIGHTS[country]


def article_of(basis: str, jurisdiction: str) -> str:
    """Return the article that states `basis`, such as "6(1)(a)"; "" if there is none."""
    return _BASES.get("EU" if jurisdiction == "UK" else jurisdiction, {}).get(basis, "")
