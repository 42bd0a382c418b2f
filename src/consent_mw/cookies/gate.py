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

__all__ = ["CookieHook", "Gated", "gate"]

#: Told what was decided about a cookie and why; returns what shall happen instead, or None to leave it.
CookieHook: TypeAlias = Callable[[Decision], Verdict | None]

#: Headers that say nothing about a page's bytes, its caching or its banner. Any other is looked at more closely.
_PLAIN: Final = (
    b"date", b"location", b"permissions-policy", b"referrer-policy",
    b"server", b"strict-transport-security", b"x-content-type-options", b"x-frame-options", b"x-request-id",
)  # fmt: skip
#: These do, and are sent often. What is in neither is read letter by letter, as it may be a Set-Cookie in disguise.
_CLOSER: Final = (
    b"accept-ranges", b"access-control-allow-origin", b"cache-control", b"content-disposition", b"content-encoding",
    b"content-language", b"etag", b"expires", b"last-modified", b"link", b"vary",
)  # fmt: skip
_COOKIE, _KIND, _LENGTH, _NEUTRAL, _OTHER, _POLICY = 1, 2, 3, 4, 5, 6
_ROLES: Final = {
    b"set-cookie": _COOKIE,
    b"content-type": _KIND,
    b"content-length": _LENGTH,
    b"content-security-policy": _POLICY,
    **dict.fromkeys(_PLAIN, _NEUTRAL),
    **dict.fromkeys(_CLOSER, _OTHER),
}
#: Values that need not be looked through for a line end.
_USUAL: Final = frozenset((b"text/html; charset=utf-8", b"text/plain; charset=utf-8", b"application/json", b"nosniff"))
# To look a member up in its class takes as long as all the rest that is done about a line (CPython 3.11).
_KEPT: Final = Verdict.KEPT
_PENDING: Final = Verdict.PENDING


class Gated(msgspec.Struct, frozen=True, gc=False):
    """
    What the gate made of a header list, and what it noticed on its one way through it.

    Attributes:
        headers: What may leave, in a list of its own and pairs of bytes: whoever handed the lines in can change none.
        decisions: One for each Set-Cookie line, in order.
        pending: The lines that wait for the visitor's answer, with their decision.
        blocked: The declared names of the cookies that may not leave.
        undeclared: Whether one of the decisions is about a cookie that no declaration covers.
        kind: The Content-Type, of which there is at most one where `plain`.
        plain: Whether no other header needs a closer look before a page is altered.
        illegible: The lines that may not leave because a server could read them otherwise than the gate.
        policed: Whether there is a Content-Security-Policy, whose nonce our tags may need.
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


def gate(
    headers: Iterable[Header],
    permissions: Permissions,
    now_ns: int,
    hook: CookieHook | None = None,
    floor: Callable[[bytes], bytes] | None = None,
) -> Gated:
    """
    Return the headers without the Set-Cookie lines that the policy or the visitor does not let pass.

    Args:
        headers: As an application hands them over, which may be anything; read once.
        hook: Not asked about a line whose name cannot be read: it could not know what it lets pass.
        floor: Raises the attributes of a line that passes, or returns that very line.
    """
    decisions: tuple[Decision, ...] = ()
    pending: tuple[tuple[Decision, bytes], ...] = ()
    blocked: tuple[str, ...] = ()
    illegible: tuple[object, ...] = ()
    kept: HeaderList = []
    undeclared, kind, plain, policed = False, b"", True, False
    remembered = permissions.lines
    # One pass, and one look-up for a header that is none of our business: this runs for every answer.
    for header in headers:
        try:
            name, value = header
        except (TypeError, ValueError):
            illegible += (header,)
            continue
        # Only what is bytes and nothing more is looked up: a subclass may call itself whatever it likes.
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
            # A line with a line end in it has no readable name, so it was not kept.
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
    return Gated(kept, decisions, pending, blocked, undeclared, kind, plain, illegible, policed)


def _ends_line(value: bytes) -> bool:
    return len(value.translate(None, LINE_ENDS)) != len(value)


def _hooked(decision: Decision, hook: CookieHook) -> Decision:
    verdict = hook(decision)
    return decision if verdict is None else replace(decision, verdict=verdict, reason=Reason.HOOK)


def _judged(line: bytes, permissions: Permissions, now_ns: int) -> Decision:
    """
    Return what happens to one Set-Cookie line. What was decided is remembered by all of it but its value, on which
    nothing depends: a session is signed anew with each answer.
    """
    shape = without_value(line)
    decision = permissions.lines.get(shape) if shape is not None else None
    if decision is None:
        decision = _read(line, permissions, now_ns)
        if shape is not None:
            permissions.remember(shape, decision)
        permissions.remember(line, decision)  # the first value of a name is often the only one
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
