"""Decide which Set-Cookie lines may leave. Pure: lines and permissions in, lines and decisions out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeAlias

import msgspec

from consent_mw._asgi import HeaderList
from consent_mw.cookies import is_deletion, name_of
from consent_mw.permissions import Decision, Permissions, Reason, Verdict

__all__ = ["CookieHook", "Gated", "gate"]

#: Told what was decided about a cookie and why; returns what shall happen instead, or None to leave it.
CookieHook: TypeAlias = Callable[[Decision], Verdict | None]

#: Headers that say nothing about a page's bytes, its caching or its banner. Any other is looked at more closely.
_PLAIN: Final = (
    b"content-security-policy", b"date", b"location", b"permissions-policy", b"referrer-policy",
    b"server", b"strict-transport-security", b"x-content-type-options", b"x-frame-options", b"x-request-id",
)  # fmt: skip
_ROLES: Final = {
    b"set-cookie": "cookie",
    b"content-type": "kind",
    b"content-length": "length",
    **dict.fromkeys(_PLAIN, "plain"),
}


class Gated(msgspec.Struct, frozen=True, gc=False):
    """
    What the gate made of a header list, and what it noticed on its one way through it.

    Attributes:
        headers: What may leave: the very list that came in where every line may.
        decisions: One for each Set-Cookie line, in order.
        pending: The lines that wait for the visitor's answer, with their decision.
        undeclared: Whether one of the decisions is about a cookie that no declaration covers.
        kind: The Content-Type, of which there is at most one where `plain`.
        plain: Whether no other header needs a closer look before a page is altered.
    """

    headers: HeaderList
    decisions: list[Decision]
    pending: list[tuple[Decision, bytes]]
    undeclared: bool
    kind: bytes
    plain: bool


def gate(
    headers: HeaderList,
    permissions: Permissions,
    now_ns: int,
    hook: CookieHook | None = None,
    floor: Callable[[bytes], bytes] | None = None,
) -> Gated:
    """
    Return the headers without the Set-Cookie lines that the policy or the visitor does not let pass.

    Args:
        floor: Raises the attributes of a line that passes, or returns that very line.
    """
    decisions: list[Decision] = []
    pending: list[tuple[Decision, bytes]] = []
    kept: HeaderList = []
    undeclared, kind, plain, raised = False, b"", True, False
    # One pass, and one look-up for a header that is none of our business: this runs for every answer.
    for header in headers:
        name = header[0]
        role = _ROLES.get(name) or _ROLES.get(name.lower())
        if role == "cookie":
            line = header[1]
            decision = judge(line, permissions, now_ns, hook)
            decisions.append(decision)
            undeclared = undeclared or decision.declared is None
            if decision.verdict is not Verdict.KEPT:
                if decision.verdict is Verdict.PENDING:
                    pending.append((decision, line))
                continue
            if floor is not None and (higher := floor(line)) is not line:
                header, raised = (name, higher), True
        elif role == "kind":
            plain = plain and not kind
            kind = header[1]
        elif role == "length":
            plain = plain and header[1].isdigit()
        elif role is None:
            plain = False
        kept.append(header)
    unchanged = len(kept) == len(headers) and not raised
    return Gated(headers if unchanged else kept, decisions, pending, undeclared, kind, plain)


def judge(line: bytes, permissions: Permissions, now_ns: int, hook: CookieHook | None = None) -> Decision:
    """Return what happens to one Set-Cookie line."""
    decision = permissions.remembered(line)
    if decision is None:
        decision = _judged(line, permissions, now_ns)
        permissions.remember(line, decision)
    if hook is None:
        return decision
    verdict = hook(decision)
    return decision if verdict is None else decision._replace(verdict=verdict, reason=Reason.HOOK)


def _judged(line: bytes, permissions: Permissions, now_ns: int) -> Decision:
    name = name_of(line)
    if name is None:
        shown = line.partition(b";")[0][:80].decode("latin-1")
        return Decision(shown, Verdict.BLOCKED, Reason.UNREADABLE, None)
    decision = permissions.cookie(name)
    if decision.verdict is not Verdict.KEPT and decision.reason is not Reason.RESERVED and _deletes(line, now_ns):
        return decision._replace(verdict=Verdict.KEPT, reason=Reason.DELETION)
    return decision


def _deletes(line: bytes, now_ns: int) -> bool:
    return is_deletion(line, datetime.fromtimestamp(now_ns / 1e9, UTC))
