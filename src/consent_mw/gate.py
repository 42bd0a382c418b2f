"""Decide which Set-Cookie lines may leave. Pure: lines and permissions in, lines and decisions out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from consent_mw._asgi import HeaderList
from consent_mw.cookies import is_deletion, name_of
from consent_mw.permissions import Decision, Permissions, Reason, Verdict

__all__ = ["CookieHook", "Gated", "gate"]

#: Told what was decided about a cookie and why; returns what shall happen instead, or None to leave it.
CookieHook: TypeAlias = Callable[[Decision], Verdict | None]


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
        if header[0].lower() != b"set-cookie":
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
    name = name_of(line)
    if name is None:
        shown = line.partition(b";")[0][:80].decode("latin-1")
        decision = Decision(shown, Verdict.BLOCKED, Reason.UNREADABLE, None)
    else:
        decision = permissions.cookie(name)
        if decision.verdict is not Verdict.KEPT and decision.reason is not Reason.RESERVED and _deletes(line, now_ns):
            decision = decision._replace(verdict=Verdict.KEPT, reason=Reason.DELETION)
    if hook is None:
        return decision
    verdict = hook(decision)
    return decision if verdict is None else decision._replace(verdict=verdict, reason=Reason.HOOK)


def _deletes(line: bytes, now_ns: int) -> bool:
    return is_deletion(line, datetime.fromtimestamp(now_ns / 1e9, UTC))
