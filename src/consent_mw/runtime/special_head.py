"""A head that gets more than the gate's result: the cookie of a choice, expiries, waiting cookies, a banner."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from consent_mw._asgi import HeaderList, Message
from consent_mw.consent.choice import Choice, Consent
from consent_mw.consent.permissions import Decision, Permissions, Reason, Verdict
from consent_mw.cookies.cookie_lines import name_of
from consent_mw.cookies.gate import Gated, gate
from consent_mw.cookies.pending import hushed
from consent_mw.runtime.page import with_banner
from consent_mw.runtime.reply import Reply
from consent_mw.runtime.waiting_cookies import keep_pending
from consent_mw.site.insertion import personal
from consent_mw.system.loops import on_asyncio

#: Not a set: to hash a member of an enumeration takes longer than to compare it with all of these.
_SAME_FOR_ALL: Final = (Reason.NECESSARY, Reason.UNDECLARED, Reason.UNREADABLE, Reason.RESERVED)
#: A header that says that a cookie waits for an answer. A page can read it on what its scripts fetch
#: (Server Timing, section 4).
_TELLS_OUR_SCRIPT: Final = (b"server-timing", b"consent-waiting")


async def special_head(
    reply: Reply, message: Message, permissions: Permissions, chosen: Consent | None, gated: Gated | None = None
) -> None:
    """
    Send a head that gets additional headers, or that waits for its page.

    Args:
        message: The head; its headers are our own copy.
        permissions: What was allowed when the application sent it.
        chosen: The choice that was made until then and is to be kept; None if there was none.
        gated: The result of the gate; None if the headers have not passed it yet.
    """
    consent = reply.exchange.consent
    if chosen is not None and not await _stands(reply, chosen):
        permissions, chosen = consent.permissions, None  # as they were before the choice
    message, personal_answer = await _gated(reply, message, permissions, chosen, gated)
    personal_answer = personal_answer or consent.personal
    if message["type"] == "http.response.start" and await with_banner(reply, message, personal_answer):
        return
    await reply.leave(personal(message) if personal_answer else message)


async def _stands(reply: Reply, chosen: Consent) -> bool:
    """Return whether the cookie of a choice may be written. Our own pages have already kept its receipt."""
    consent = reply.exchange.consent
    if consent.receipt_kept:
        consent.receipt_kept = False
        return True
    agent = reply.exchange.fields.get(b"user-agent", b"").decode("latin-1")
    return await on_asyncio(reply.revision.receipts.stands, consent, chosen, reply.began_with, agent)


async def _gated(
    reply: Reply, message: Message, permissions: Permissions, chosen: Consent | None, gated: Gated | None
) -> tuple[Message, bool]:
    """Return the filtered message, and whether it is now for one visitor only."""
    revision, consent = reply.revision, reply.exchange.consent
    expired: tuple[bytes, ...] = ()
    if chosen is not None or reply.expired:
        expired = revision.cookies.expired(reply.cookie_header, permissions, reply.path)
    floor = revision.shared.floors[reply.secure]
    if gated is None:
        hook = _released if reply.own else revision.shared.options.cookie_hook
        gated = gate(message["headers"], permissions, reply.exchange.started_ns, hook, floor)
    if gated.clears:
        reply.tell_cleared()
    reply.exchange.blocked += gated.blocked
    ours = _own_lines(reply, permissions, chosen)
    quiet = hushed(consent.pending)
    decisions = _blocked(gated.decisions, Reason.HUSHED, quiet) if quiet else gated.decisions
    asked = [(decision, line) for decision, line in gated.pending if decision.purpose not in quiet]
    reply.exchange.blocked += names_of_pending([waiting for waiting in gated.pending if waiting[0].purpose in quiet])
    hints: HeaderList = []
    if asked:
        waits = await keep_pending(reply, asked)
        ours += [waits] if isinstance(waits, bytes) else []
        if isinstance(waits, Reason):
            decisions = _blocked(decisions, waits)
            reply.exchange.blocked += names_of_pending(asked)
        else:
            ours.append(revision.cookies.waiting_line(revision.shared.storage.clock(), secure=reply.secure))
            hints = [_TELLS_OUR_SCRIPT]
    added: HeaderList = [*((b"set-cookie", floor(line) if floor else line) for line in ours), *hints]
    if expired:
        # The application may delete the cookie at another path than we do.
        kept = {d.name for d in decisions if d.verdict is Verdict.KEPT and d.reason is not Reason.DELETION}
        added += [(b"set-cookie", line) for line in expired if name_of(line) not in kept]
        reply.expired = ()
    if gated.undeclared:
        revision.report(decisions, reply.exchange)
    if revision.shared.options.debug and decisions:
        revision.compare_places(message["headers"], decisions)
        added.append((b"consent-cookies", _shown(decisions)))
    one_visitor = bool(added) or any(map(depends, decisions))
    # The consent cookie and what it replaces come first: a client that reads few lines should read these.
    return {**message, "headers": [*added, *gated.headers]}, one_visitor


def _own_lines(reply: Reply, permissions: Permissions, chosen: Consent | None) -> list[bytes]:
    """Return the Set-Cookie lines of a choice, or of a session cookie that changed."""
    cookies, consent = reply.revision.cookies, reply.exchange.consent
    changed, consent.pending_changed = consent.pending_changed, False
    if chosen is not None and _may_keep_consent(reply):
        if chosen.choice is Choice.PROMPT and not consent.exposed and _may_wait(permissions):
            # Together with the choice: two answers at the same time would each create a session, and lose one.
            consent.pending = consent.pending or secrets.token_urlsafe(16)
        return cookies.choice_lines(consent, chosen, reply.cookie_header, secure=reply.secure)
    if changed and consent.pending is not None:
        return [cookies.pending_line(consent.pending, consent, secure=reply.secure)]
    return []


def _may_keep_consent(reply: Reply) -> bool:
    """Whether the site's own hook lets the consent cookie pass. It may veto this cookie like any other."""
    revision = reply.revision
    if revision.shared.options.cookie_hook is None:
        return True
    name = revision.cookies.cookie.name(secure=reply.secure)
    verdict = revision.shared.options.cookie_hook(Decision(name, Verdict.KEPT, Reason.NECESSARY, None))
    return verdict is None or verdict is Verdict.KEPT


def _may_wait(permissions: Permissions) -> bool:
    """Whether some purpose has no general answer: its cookies then ask each time."""
    return any(permissions.answer(purpose.name) is None for purpose in permissions.policy.asked)


def _released(decision: Decision) -> Verdict | None:
    """Let a cookie pass that would wait, or that is ours: our pages set only what the visitor has just asked for."""
    ours = decision.verdict is Verdict.PENDING or decision.reason is Reason.RESERVED
    return Verdict.KEPT if ours else None


def depends(decision: Decision) -> bool:
    """Whether the decision about this cookie could be another one for another visitor."""
    return decision.reason not in _SAME_FOR_ALL


def _blocked(
    decisions: Sequence[Decision], reason: Reason, purposes: frozenset[str] | None = None
) -> tuple[Decision, ...]:
    """Return the decisions, but block those that would wait: all of them, or those of some `purposes`."""
    return tuple(
        replace(decision, verdict=Verdict.BLOCKED, reason=reason)
        if decision.verdict is Verdict.PENDING and (purposes is None or decision.purpose in purposes)
        else decision
        for decision in decisions
    )


def names_of_pending(pending: Sequence[tuple[Decision, bytes]]) -> tuple[str, ...]:
    """Return the declared names of cookies that wait."""
    return tuple(decision.declared.name for decision, _ in pending if decision.declared)


def _shown(decisions: Sequence[Decision]) -> bytes:
    """Return the debug header: `theme;blocked;"no choice yet"` for each cookie, without its value."""
    parts = (f'{decision.name[:64]}; {decision.verdict}; "{decision.reason}"' for decision in decisions)
    return ", ".join(parts).encode("ascii", "replace").replace(b"\r", b"?").replace(b"\n", b"?").replace(b"\0", b"?")
