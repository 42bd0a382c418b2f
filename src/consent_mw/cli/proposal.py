"""A declaration that is proposed for a cookie which was seen: a guess with its reason, as TOML to paste."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from consent_mw.cli.well_known import family_of, guess
from consent_mw.policy.model import Policy
from consent_mw.system.escaping import as_json, printable

#: What the policy can declare: a token (RFC 6265, section 4.1.1).
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Of the founding policy; asked about, so that a wrong guess sets nothing against a refusal.
_UNKNOWN: Final = "functional"
_PLACEHOLDER: Final = "1 year"


class Proposal(NamedTuple):
    """
    How one cookie, or one family, might be declared.

    Attributes:
        because: Why this purpose, or that it is not known.
        known: Whether the purpose is more than a placeholder.
        expires: As a policy writes it, or None where it was not seen.
    """

    name: str
    purpose: str
    because: str
    known: bool
    expires: str | None
    provider: str = ""
    domain: str = ""
    path: str = "/"
    description: Mapping[str, str] = {}

    def toml(self, languages: Sequence[str]) -> str:
        """Return the table to paste. A name that no policy can declare comes as a comment that says so."""
        if not _TOKEN.fullmatch(self.name) or self.name.strip("*") == "":
            return f"# {printable(self.name)}: a policy cannot declare this name; rename the cookie\n"
        lines = ["[[cookies.declared]]", f"name = {_quoted(self.name)}"]
        lines.append(_remarked(f"purpose = {_quoted(self.purpose)}", self.because))
        if self.provider:
            lines.append(f"provider = {_quoted(self.provider)}")
        lasts = f"expires = {_quoted(self.expires or _PLACEHOLDER)}"
        lines.append(lasts if self.expires else _remarked(lasts, "how long does it last?"))
        lines += [f"domain = {_quoted(self.domain)}"] if self.domain else []
        lines += [f"path = {_quoted(self.path)}"] if self.path != "/" else []
        texts = (f"{tag} = {_quoted(self.description.get(tag, '…'))}" for tag in languages)
        lines.append(f"description = {{ {', '.join(texts)} }}")
        return "\n".join(lines) + "\n"


def providers(proposals: Iterable[Proposal], policy: Policy | None, languages: Sequence[str]) -> list[str]:
    """Return a table to paste for each provider of a proposed cookie that `policy` does not name as a recipient."""
    named = {text for party in policy.recipients for text in party.name.by_language.values()} if policy else set[str]()
    texts = ", ".join(f"{tag} = {_quoted('…')}" for tag in languages)
    tables: dict[str, str] = {}
    for proposal in proposals:
        if proposal.provider and proposal.provider not in named:
            lasts = proposal.expires if proposal.expires and proposal.expires != "session" else _PLACEHOLDER
            lines = ("[[recipients]]", f"name = {_quoted(proposal.provider)}", f"purpose = {_quoted(proposal.purpose)}")
            kept = _remarked(f"retention = {_quoted(lasts)}", "how long do they keep it?")
            table = (*lines, _remarked(f"items = {{ {texts} }}", "what do they get?"), kept)
            tables.setdefault(proposal.provider, "\n".join(table) + "\n")
    return list(tables.values())


def proposed(name: str, purposes: Sequence[str], *, expires: str | None = None) -> Proposal:
    """
    Return the declaration that a cookie called `name` might get.

    Args:
        name: Exact, or a family with a * at its end.
        purposes: Those that may be named; see `purposes_of`.
        expires: As a policy writes it, where it was seen.
    """
    known = guess(name.removesuffix("*"))
    if known is None:
        purpose = _UNKNOWN if _UNKNOWN in purposes else purposes[0]
        return Proposal(name, purpose, "not known to us: which of your purposes?", False, expires)
    fits = known.purpose in purposes
    purpose = known.purpose if fits else purposes[0]
    because = f"looks like {known.because}" if fits else f"looks like {known.because}, {known.purpose}: which purpose?"
    return Proposal(
        known.name, purpose, because, fits, expires or known.expires, known.provider, description=known.description
    )


def purposes_of(policy: Policy | None) -> tuple[str, ...]:
    """Return the purposes that a proposal may name, the asked ones first: the safe ones to be wrong about."""
    if policy is None:
        return ("functional", "analytics", "marketing", "necessary")
    asked = [purpose.name for purpose in policy.asked]
    return (*asked, *(name for name in policy.purposes if name not in asked))


def names_of_families(names: Iterable[str]) -> dict[str, str]:
    """
    Return under which name each of `names` is best declared: its own, or a family's with a * at the end.

    A family is a well-known one, or several names that differ only in the id that they end with, or a name that
    ends with an id too long to be a number.
    """
    names = list(names)
    stems = Counter(stem for name in names if (stem := family_of(name)))
    return {name: _declared_as(name, stems) for name in names}


def _declared_as(name: str, stems: Counter[str]) -> str:
    known, stem = guess(name), family_of(name)
    if known is not None:
        return known.name
    if stem and (stems[stem] > 1 or len(name) - len(stem) >= 7):
        return stem
    return name


def _remarked(line: str, remark: str) -> str:
    return f"{line:30}# {printable(remark)}"


def _quoted(text: str) -> str:
    """A basic string: what JSON escapes, TOML escapes alike."""
    return as_json(text)
