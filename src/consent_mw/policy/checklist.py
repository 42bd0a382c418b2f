"""What the law of a policy's jurisdiction asks a privacy policy to say, as data, and what one policy does not say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from importlib.resources import files
from typing import Final, Literal, NamedTuple, cast

import msgspec

from consent_mw.exceptions import Fault
from consent_mw.policy.model import Policy
from consent_mw.policy.own_purposes import OWN_PURPOSES
from consent_mw.policy.pointer import declarable, lacking, pointed, somewhere

#: What the page says whatever is declared.
_PAGE: Final = "page"


class Duty(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    One thing that a privacy policy has to say.

    Attributes:
        since: From which day on the law reads so.
        compared: On which day the entry was compared with a published copy of that article; None: it is from memory.
        compared_part: Where it names several articles, those that were compared, the others being from memory.
            Empty: all.
        says: What the policy has to say, in English.
        states: Where only they ask for it: as in "CA" of "US-CA". Empty: all of the jurisdiction.
        when: Pointers (see `pointer`): it is asked for only if one of them leads somewhere. Empty: always.
        said_by: Pointers: each one fulfils it. "page": the page says it, whatever is declared.
        fix: How to declare it.
    """

    id: str
    level: Literal["must", "should", "may"]
    article: str
    source: str
    since: date
    says: str
    said_by: tuple[str, ...]
    fix: str
    when: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    compared: date | None = None
    compared_part: str = ""


class Basis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A basis that a law does not know, and why."""

    article: str
    problem: str
    fix: str


class Checklist(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The duties of one jurisdiction.

    Attributes:
        written: On which day the list was written down. What the law became since is not in it.
        bases: Those that this law does not know, by their name in a policy.
        safeguards: What this law knows for a transfer abroad; empty: whatever a policy says.
        transfers: Where it says so.
    """

    jurisdiction: str
    written: date
    entry: tuple[Duty, ...]
    bases: Mapping[str, Basis] = {}
    safeguards: tuple[str, ...] = ()
    transfers: str = ""


class Finding(NamedTuple):
    """One duty that applies to a policy. `places`: where it is missing; none if it is fulfilled."""

    duty: Duty
    places: tuple[str, ...]


@lru_cache(maxsize=8)
def checklist(jurisdiction: str) -> Checklist | None:
    """Return the list for "KR", "EU", "UK", "US" or a state as "US-CA", or None where there is none."""
    name = f"{jurisdiction.partition('-')[0].lower()}.toml"
    place = files("consent_mw.policy") / "law" / name
    if not place.is_file():
        return None
    return msgspec.toml.decode(place.read_bytes(), type=Checklist)


def findings(policy: Policy) -> list[Finding]:
    """Return each duty that applies to `policy`, in the order of the list, with the places where it is not said."""
    law = checklist(policy.jurisdiction)
    return [Finding(duty, _unsaid(policy, duty)) for duty in law.entry if _applies(policy, duty)] if law else []


def unsaid(policy: Policy, missing: Iterable[Finding]) -> tuple[list[Fault], list[Fault]]:
    """Return what `policy` must say and does not, and what it should or may say, each place of it on its own."""
    must: list[Fault] = []
    other: list[Fault] = []
    for duty, places in missing:
        for place in places:
            problem = f"{policy.jurisdiction} {duty.level}: {duty.says} ({duty.article})"
            can = any(map(declarable, duty.said_by))
            fix = duty.fix if can else "this version has no key for it: say it elsewhere"
            (must if can and duty.level == "must" else other).append(Fault(policy.file, place, problem, fix))
    return must, other


def in_short(policy: Policy, missing: Sequence[Finding]) -> str:
    """Return in one line how many duties are fulfilled, and that this is not legal advice."""
    law = checklist(policy.jurisdiction)
    counts = Counter((duty.level, not places) for duty, places in missing)
    parts = (
        f"{counts[level, True]} of {counts[level, True] + counts[level, False]} that it {level} say"
        for level in ("must", "should", "may")
    )
    state = policy.jurisdiction.partition("-")[2]
    of = f"a checklist of {law.written}" if law else "a checklist"
    if law and state and not any(state in duty.states for duty in law.entry):
        of += f" that has nothing of {state}'s own law"
    compared = sum(duty.compared is not None for duty, _ in missing)
    partly = sum(duty.compared_part != "" for duty, _ in missing)
    of += f" (compared with published copies: {compared}, in part {partly}; from memory: {len(missing) - compared})"
    return f"law of {policy.jurisdiction}: the page says {', '.join(parts)}; {of}, no legal advice"


def wrong_bases(policy: Policy) -> list[Fault]:
    """Return a fault for each purpose and transfer whose basis the law of the jurisdiction does not know."""
    bases = ((name, purpose.basis) for name, purpose in policy.purposes.items())
    guards = ((place, str(basis)) for place, basis in pointed(policy, "*.*.transfer.basis"))
    return [*_wrong(policy.file, policy.jurisdiction, bases), *_unguarded(policy.file, policy.jurisdiction, guards)]


def wrong_bases_of_tables(raw: Mapping[str, object], file: str) -> list[Fault]:
    """Return those of `wrong_bases` that can be found in a declaration with other errors."""
    jurisdiction, purposes = raw.get("jurisdiction", "EU"), raw.get("purposes")
    if not isinstance(jurisdiction, str) or not isinstance(purposes, dict):
        return []
    tables = cast("Mapping[str, object]", purposes).items()
    bases = (
        (name, cast("Mapping[str, object]", table).get("basis")) for name, table in tables if isinstance(table, dict)
    )
    return list(_wrong(file, jurisdiction, bases))


def _wrong(file: str, jurisdiction: str, bases: Iterable[tuple[str, object]]) -> Iterator[Fault]:
    law = checklist(jurisdiction)
    unknown = law.bases if law else dict[str, Basis]()
    for name, said in bases:
        if isinstance(said, str) and (basis := unknown.get(said)):
            problem = f'"{said}" under jurisdiction = "{jurisdiction}": {basis.problem} ({basis.article})'
            yield Fault(file, f"purposes.{name}.basis", problem, basis.fix)


def _unguarded(file: str, jurisdiction: str, guards: Iterable[tuple[str, str]]) -> Iterator[Fault]:
    law = checklist(jurisdiction)
    for place, said in guards:
        if law and law.safeguards and said not in law.safeguards:
            problem = f'"{said}" is no ground for a transfer under jurisdiction = "{jurisdiction}" ({law.transfers})'
            yield Fault(file, place, problem, f"allowed there are: {', '.join(law.safeguards)}")


def _applies(policy: Policy, duty: Duty) -> bool:
    state = policy.jurisdiction.partition("-")[2]
    if duty.states and state not in duty.states:
        return False
    return not duty.when or any(somewhere(policy, pointer) for pointer in duty.when)


def _unsaid(policy: Policy, duty: Duty) -> tuple[str, ...]:
    missing: list[list[str]] = []
    # Our own purposes say in their description which interest they pursue.
    usual = {
        f"purposes.{purpose.name}.grounds"
        for purpose in OWN_PURPOSES.values()
        if policy.purposes.get(purpose.name) == purpose
    }
    for pointer in duty.said_by:
        places = [] if pointer == _PAGE else lacking(policy, pointer)
        places = [place for place in places if place not in usual]
        if not places:
            return ()
        missing.append(places)
    return tuple(missing[0])
