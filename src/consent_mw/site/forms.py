"""Read POST choice: who may send it, what it may hold, and where it leads. Decides nothing about consent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Final, Literal, NamedTuple, TypeAlias, cast
from urllib.parse import parse_qsl
from uuid import UUID

from consent_mw.consent.choice import Choice
from consent_mw.cookies.neighbours import stands_alone
from consent_mw.policy.model import Policy

BODY_LIMIT_BYTES: Final = 16_384
MOST_FIELDS: Final = 400
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}

# One slash, then neither a slash nor a backslash: `urlsplit("/\\evil.example")` shows no host, yet browsers go there.
_NEXT = re.compile(r"/(?![/\\])[!-\[\]-~]{0,2000}")

#: The origin in the address of a web page. The name that an app or a mail program gives itself proves nothing.
_ORIGIN: Final = re.compile(r"https?://[^/?#\\]*", re.IGNORECASE)


class Sender(Enum):
    """Where a form comes from, according to the browser."""

    OURS = auto()
    FOREIGN = auto()
    UNKNOWN = auto()


def sender(headers: Mapping[str, str], own_origin: str) -> Sender:
    """
    Return whether a POST comes from a page of exactly this origin.

    Sec-Fetch-Site counts first, since no script can set it: only "same-origin" is ours, and a sibling site
    ("same-site") is as foreign as any other. Browsers without it send Origin. Its value "null" says nothing: a form on
    a page with `Referrer-Policy: no-referrer` sends it too (Fetch, "append a request Origin header"). Then a Referer
    that names another site counts, but a Referer that names this site proves no more than none.

    Over plain http no browser sends Sec-Fetch-Site, and a server behind a proxy may know only its inner name (nginx
    passes on the name of its upstream). Then another origin says nothing either: the token decides, whose cookie no
    neighbour of such a host can set.
    """
    site = headers.get("sec-fetch-site")
    if site == "same-origin":
        return Sender.OURS
    if site in ("same-site", "cross-site"):
        return Sender.FOREIGN
    own, origin = _normal(own_origin), origin_of(headers)
    if origin is None:
        return Sender.UNKNOWN
    if _normal(origin) != own:
        plain = own.startswith("http://") and _normal(origin).startswith("http://")
        inner = plain and stands_alone(own.removeprefix("http://").encode("latin-1", "replace"))
        return Sender.UNKNOWN if inner else Sender.FOREIGN
    return Sender.OURS if headers.get("origin") == origin else Sender.UNKNOWN


def origin_of(headers: Mapping[str, str]) -> str | None:
    """Return the site that a form names as its own: its Origin, or else the origin of its Referer."""
    origin = headers.get("origin")
    if origin not in (None, "", "null"):
        return origin
    referer = _ORIGIN.match(headers.get("referer") or "")
    return referer[0] if referer else None


def _normal(origin: str | None) -> str:
    """Return an origin as browsers write it: in lower case, without the default port of its scheme."""
    text = (origin or "").strip().lower()
    scheme, _, host = text.partition("://")
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}"


def safe_next(target: str | None, fallback: str) -> str:
    """Return `target` if it is a path of this site, else `fallback`."""
    return target if target is not None and _NEXT.fullmatch(target) else fallback


class BadForm(Exception):
    """
    The submission is not valid. Nothing of it was taken.

    Attributes:
        status: 400 if it cannot be read, 422 if it names or answers something that does not exist.
        field: The field that is wrong.
        allowed: The values that the field may have.
    """

    def __init__(self, status: Literal[400, 415, 422], field: str, allowed: Iterable[str] = ()) -> None:
        super().__init__(field)
        self.status = status
        self.field: str = field[:100]
        self.allowed: tuple[str, ...] = tuple(allowed)


class Answers(NamedTuple):
    """A choice. For PROMPT also the answers about purposes and cookies; the banner still asks about those missing."""

    choice: Choice
    purposes: dict[str, bool]
    cookies: dict[str, bool]


WaitingVerb: TypeAlias = Literal["allow", "refuse", "purpose", "never"]
_VERBS: Final[Mapping[str, WaitingVerb]] = {
    "allow": "allow",
    "refuse": "refuse",
    "purpose": "purpose",  # always allow this purpose
    "never": "never",  # always refuse this purpose
}


#: What an answer means if the visitor wants no further question about its purpose.
_REMEMBERED: Final[Mapping[WaitingVerb, WaitingVerb]] = {
    "allow": "purpose",
    "refuse": "never",
    "purpose": "purpose",
    "never": "never",
}


class WaitingAnswer(NamedTuple):
    """An answer about cookies that wait. `ids` is None for all of them."""

    answer: WaitingVerb
    ids: frozenset[UUID] | None


def limits_of(policy: Policy) -> tuple[int, int]:
    """Return the most bytes and the most fields that a form about everything declared can have."""
    names = [*(purpose.name for purpose in policy.asked), *(cookie.name for cookie in policy.cookies)]
    return BODY_LIMIT_BYTES + sum(3 * len(name.encode()) + 32 for name in names), MOST_FIELDS + len(names)


def fields_of(content_type: str, body: bytes, most_fields: int = MOST_FIELDS) -> dict[str, list[str]]:
    """
    Return the values of each field of a body, form or JSON. In JSON a value is a string or a list of strings.

    Raises:
        BadForm: The body is neither, or is not well-formed.
    """
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/x-www-form-urlencoded":
            return _grouped(
                parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=most_fields, errors="strict")
            )
        if kind == "application/json":
            return _grouped(_pairs(json.loads(body, object_pairs_hook=_once)))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise BadForm(400, "body") from error
    raise BadForm(415, "content-type", ("application/x-www-form-urlencoded", "application/json"))


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object; refuse a name that comes twice: parsers differ on which counts (RFC 8259, section 4)."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name stands there twice")
    return fields


def _pairs(value: object) -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        raise ValueError("a JSON object is expected")
    pairs: list[tuple[str, str]] = []
    for name, given in cast("dict[str, object]", value).items():
        for item in cast("list[object]", given) if isinstance(given, list) else [given]:
            if not isinstance(item, str):
                raise ValueError("each value is a text")
            pairs.append((name, item))
    return pairs


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


def read(fields: Mapping[str, Sequence[str]], policy: Policy) -> Answers | WaitingAnswer:
    """
    Return the answers in the fields of a submission, checked against the policy.

    Raises:
        BadForm: A field is unknown, comes twice, or has a value that it cannot have.
    """
    for name, values in fields.items():
        if len(values) != 1 and name != "waiting":
            raise BadForm(400, name)
    known = _purposes(policy) | _cookies(policy)
    for name in fields:
        if name.startswith(("purpose.", "cookie.")) and name not in known:
            prefix = name.partition(".")[0] + "."
            raise BadForm(422, name, sorted(other for other in known if other.startswith(prefix)))
    if "choice" in fields:
        return _answers(fields, known)
    if "waiting" in fields or "answer" in fields:
        return _waiting(fields)
    raise BadForm(422, "choice", (*Choice, "save"))


def _purposes(policy: Policy) -> dict[str, tuple[str, str]]:
    return {f"purpose.{purpose.name}": ("purpose", purpose.name) for purpose in policy.asked}


def _cookies(policy: Policy) -> dict[str, tuple[str, str]]:
    asked = (cookie.name for cookie in policy.cookies if policy.purposes[cookie.purpose].asked)
    return {f"cookie.{name}": ("cookie", name) for name in asked}


def _answers(fields: Mapping[str, Sequence[str]], known: Mapping[str, tuple[str, str]]) -> Answers:
    choice = fields["choice"][0]
    if choice not in (*Choice, "save"):
        raise BadForm(422, "choice", (*Choice, "save"))
    given: dict[str, dict[str, bool]] = {"purpose": {}, "cookie": {}}
    for name in known.keys() & fields.keys():
        value = fields[name][0]
        if value not in ("yes", "no", "ask"):
            raise BadForm(422, name, ("yes", "no", "ask"))
        kind, key = known[name]
        if value != "ask":
            given[kind][key] = value == "yes"
    if choice != "save":
        return Answers(Choice(choice), {}, {})
    return Answers(Choice.PROMPT, given["purpose"], given["cookie"])


def _waiting(fields: Mapping[str, Sequence[str]]) -> WaitingAnswer:
    answer = _VERBS.get(fields.get("answer", [""])[0])
    if answer is None:
        raise BadForm(422, "answer", _VERBS)
    if fields.get("remember", [""])[0] == "yes":
        answer = _REMEMBERED[answer]
    named = fields.get("waiting", ())
    if "all" in named:
        return WaitingAnswer(answer, None)
    try:
        ids = frozenset(UUID(value) for value in named)
    except ValueError as error:
        raise BadForm(422, "waiting", ("all",)) from error
    if not ids:
        raise BadForm(422, "waiting", ("all",))
    return WaitingAnswer(answer, ids)
