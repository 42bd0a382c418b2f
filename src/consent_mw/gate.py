"""Decide which Set-Cookie lines may leave. Pure: lines and permissions in, lines and decisions out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeAlias

from consent_mw._asgi import HeaderList
from consent_mw.cookies import is_deletion, name_of
from consent_mw.permissions import Decision, Permissions, Reason, Verdict

__all__ = ["CookieHook", "Gated", "gate"]

#: Told what was decided about a cookie and why; returns what shall happen instead, or None to leave it.
CookieHook: TypeAlias = Callable[[Decision], Verdict | None]

_SET_COOKIE: Final = b"set-cookie"
_LENGTH: Final = len(_SET_COOKIE)


class Gated(NamedTuple):
    """
    What the gate made of a header list.

    Attributes:
        headers: What may leave: the very list that came in where every line may.
        decisions: One for each Set-Cookie line, in order.
        pending: The lines that wait for the visitor's answer, with their decision.
    """

    headers: HeaderList
    decisions: tuple[Decision, ...]
    pending: tuple[tuple[Decision, bytes], ...]


def gate(headers: HeaderList, permissions: Permissions, now_ns: int, hook: CookieHook | None = None) -> Gated:
    """Return the headers without the Set-Cookie lines that the policy or the visitor does not let pass."""
    decisions: list[Decision] = []
    pending: list[tuple[Decision, bytes]] = []
    kept: HeaderList = []
    for header in headers:
        name = header[0]
        if len(name) != _LENGTH or name.lower() != _SET_COOKIE:
            kept.append(header)
            continue
        decision = judge(header[1], permissions, now_ns, hook)
        decisions.append(decision)
        if decision.verdict is Verdict.KEPT:
            kept.append(header)
        elif decision.verdict is Verdict.PENDING:
            pending.append((decision, header[1]))
    unchanged = len(kept) == len(headers)
    return Gated(headers if unchanged else kept, tuple(decisions), tuple(pending))


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
