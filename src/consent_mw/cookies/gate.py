"""Decide which Set-Cookie lines may leave. Pure: lines and permissions in, lines and decisions out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from consent_mw._asgi import Header, HeaderList
from consent_mw.consent.permissions import Decision, Permissions, Reason, Verdict
from consent_mw.cookies.cookie_lines import is_deletion, lasts_seconds, name_of, without_value
from consent_mw.cookies.header_lines import LINE_ENDS, legible
from consent_mw.system.days import instant_of

#: Receives the decision about a cookie with its reason. Returns another verdict, or None to keep the decision.
CookieHook: TypeAlias = Callable[[Decision], Verdict | None]

#: Headers that do not concern a page's bytes, its caching or its banner. Any other header gets a closer look.
_PLAIN: Final = (
    b"date", b"location", b"permissions-policy", b"referrer-policy",
    b"server", b"strict-transport-security", b"x-content-type-options", b"x-frame-options", b"x-request-id",
)  # fmt: skip
#: Frequent headers that do concern them. A name in neither list is read letter by letter, since it may be a disguised
#: Set-Cookie.
_CLOSER: Final = (
    b"accept-ranges", b"access-control-allow-origin", b"cache-control", b"content-disposition", b"content-encoding",
    b"content-language", b"etag", b"expires", b"last-modified", b"link", b"vary",
)  # fmt: skip
_COOKIE, _KIND, _LENGTH, _NEUTRAL, _OTHER, _POLICY, _CLEARS = 1, 2, 3, 4, 5, 6, 7
_ROLES: Final = {
    b"set-cookie": _COOKIE,
    b"content-type": _KIND,
    b"content-length": _LENGTH,
    b"content-security-policy": _POLICY,
    b"clear-site-data": _CLEARS,
    **dict.fromkeys(_PLAIN, _NEUTRAL),
    **dict.fromkeys(_CLOSER, _OTHER),
}
#: Values that are known to hold no line end, so the search for one is skipped.
_USUAL: Final = frozenset((b"text/html; charset=utf-8", b"text/plain; charset=utf-8", b"application/json", b"nosniff"))
# Looking a member up in its class takes as long as everything else that is done for a line (CPython 3.11).
_KEPT: Final = Verdict.KEPT
_PENDING: Final = Verdict.PENDING


class Gated(msgspec.Struct, frozen=True, gc=False):
    """
    The gate's result for a header list, and what it noticed in its one pass through the list.

    Attributes:
        headers: The headers that may leave, as pairs of bytes in a new list. The application cannot change them.
        decisions: One decision for each Set-Cookie line, in order.
        pending: The lines that wait for the visitor's answer, with their decisions.
        blocked: The declared names of the cookies that may not leave.
        undeclared: Whether a decision is about a cookie that no declaration covers.
        kind: The Content-Type. There is at most one if `plain` is true.
        plain: Whether no other header needs a closer look before a page is altered.
        illegible: The lines that may not leave because a server could read them differently from the gate.
        policed: Whether there is a Content-Security-Policy, whose nonce our tags may need.
        clears: Whether it makes the browser delete all cookies, ours included (Clear Site Data, section 3.1).
    """

    headers: HeaderList
    decisions: tuple[Decision, ...]
    pending: tuple[tuple[Decision, bytes], ...]
    blocked: tuple[str, ...]
    undeclared: bool
    kind: bytes
    plain: bool
    illegible: tuple[object, ...]
    policed: bool
    clears: bool


def gate(
    headers: Iterable[Header],
    permissions: Permissions,
    now_ns: int,
    hook: CookieHook | None = None,
    floor: Callable[[bytes], bytes] | None = None,
) -> Gated:
    """
    Return the headers without the Set-Cookie lines that the policy or the visitor blocks.

    Args:
        headers: The headers as the application sends them, which may be anything. Read only once.
        hook: May change a decision. Not called for a line whose name is unreadable, since it could not know the
            cookie.
        floor: Returns a line that passes with the missing attributes added, or the same object.
    """
    decisions: tuple[Decision, ...] = ()
    pending: tuple[tuple[Decision, bytes], ...] = ()
    blocked: tuple[str, ...] = ()
    illegible: tuple[object, ...] = ()
    kept: HeaderList = []
    undeclared, kind, plain, policed, clears = False, b"", True, False, False
    remembered = permissions.lines
    # One pass, and one look-up for a header that does not concern us: this code runs for every response.
    for header in headers:
        try:
            name, value = header
        except (TypeError, ValueError):
            illegible += (header,)
            continue
        # Look up only exact bytes: a subclass may compare and hash as it likes.
        role = _ROLES.get(name) if name.__class__ is bytes is value.__class__ else None
        if role is None:
            line = legible((name, value))
            if line is None:
                illegible += (header,)
                continue
            name, value = line
            role = _ROLES.get(name.lower(), _OTHER)
        if role == _COOKIE:
            decision = remembered.get(value) or _judged(value, permissions, now_ns)
            if hook is not None and decision.reason is not Reason.UNREADABLE:
                decision = _hooked(decision, hook)
            decisions += (decision,)
            declared = decision.declared
            if declared is None:
                undeclared = True
            if decision.verdict is not _KEPT:
                if decision.verdict is _PENDING:
                    pending += ((decision, value),)
                elif declared is not None:
                    blocked += (declared.name,)
                continue
            # A line that contains a line end has no readable name, so it never comes here.
            kept.append((name, value if floor is None else floor(value)))
            continue
        if role == _LENGTH and value.isdigit():
            kept.append((name, value))
            continue
        if value not in _USUAL and not value.decode("latin-1").isprintable() and _ends_line(value):
            illegible += (header,)
            continue
        kept.append((name, value))
        if role == _KIND:
            plain = plain and not kind
            kind = value
        elif role == _POLICY:
            policed = True
        elif role != _NEUTRAL:
            plain = False
            clears = clears or (role == _CLEARS and (b'"cookies"' in value or b'"*"' in value))
    return Gated(kept, decisions, pending, blocked, undeclared, kind, plain, illegible, policed, clears)


def _ends_line(value: bytes) -> bool:
    return len(value.translate(None, LINE_ENDS)) != len(value)


def _hooked(decision: Decision, hook: CookieHook) -> Decision:
    verdict = hook(decision)
    return decision if verdict is None else replace(decision, verdict=verdict, reason=Reason.HOOK)


def _judged(line: bytes, permissions: Permissions, now_ns: int) -> Decision:
    """
    Return the decision about one Set-Cookie line.

    Decisions are cached by the line without its value, since nothing depends on the value: a session is signed anew
    with each response.
    """
    shape = without_value(line)
    decision = permissions.lines.get(shape) if shape is not None else None
    if decision is None:
        decision = _read(line, permissions, now_ns)
        if shape is not None:
            permissions.remember(shape, decision)
        permissions.remember(line, decision)  # the first value of a name is often its only value
    return decision


def _read(line: bytes, permissions: Permissions, now_ns: int) -> Decision:
    name = name_of(line)
    if name is None:
        shown = line.partition(b";")[0][:80].decode("latin-1")
        return Decision(shown, Verdict.BLOCKED, Reason.UNREADABLE, None)
    decision = permissions.cookie(name)
    if decision.verdict is not Verdict.KEPT and decision.reason is not Reason.RESERVED and _deletes(line, now_ns):
        return replace(decision, verdict=Verdict.KEPT, reason=Reason.DELETION)
    if decision.declared is None:
        return replace(decision, lasts_seconds=lasts_seconds(line, instant_of(now_ns)))
    return decision


def _deletes(line: bytes, now_ns: int) -> bool:
    return is_deletion(line, instant_of(now_ns))
