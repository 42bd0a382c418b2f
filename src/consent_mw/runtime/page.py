"""An HTML page on its way out: as it is, or with the banner, whether it comes whole or in parts."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from consent_mw._asgi import HeaderList, Message, Send
from consent_mw.runtime.reply import Reply
from consent_mw.site.insertion import (
    Insertion,
    altered,
    altered_head,
    insertable,
    is_page_status,
    is_public,
    language_for_all,
    lengthened,
    obstacle,
)
from consent_mw.site.page_nonce import nonce_of, with_nonce
from consent_mw.site.usual_page import Words, with_words
from consent_mw.system.loops import on_asyncio

#: What our script acts on in a page that asks nothing. The search is for the usual spelling: a pattern that ignores
#: case takes forty times as long. It uses `find`: `in` first raises an error internally, since this is not a number.
_WAITING: Final = b"data-"
_WAITS: Final = (b"data-purpose", b"data-category", b"data-consent")


def page_body(reply: Reply, message: Message) -> Awaitable[None]:
    """Send a body whose page is held, or is getting its banner."""
    body, more = message.get("body", b""), message.get("more_body", False)
    page = reply.page
    if page is None:
        return _part(reply, message)
    if reply.words is not None:
        return _asking_page(reply, page, message, reply.words)
    if more or not isinstance(body, bytes) or (body.find(_WAITING) >= 0 and _waits(body)):
        return _part(reply, message)
    return _whole_page(reply, page, message, len(body))


def _whole_page(reply: Reply, head: Message, body: Message, size: int) -> Awaitable[None]:
    """Send a page as it is, in one piece."""
    reply.page = None
    reply.started = True
    reply.exchange.sent_bytes += size
    reply.record()
    return _both(reply.server_send, head, body)


def _asking_page(reply: Reply, head: Message, body: Message, words: Words) -> Awaitable[None]:
    """Insert the banner into a page that comes whole, as most do, and send it in one step."""
    page: bytes = body.get("body", b"")
    usual = page.__class__ is bytes and not body.get("more_body", False)
    whole = with_words(page, words, reply.target) if usual else None
    if whole is None:
        return _part(reply, body)
    headers: HeaderList = head["headers"]
    try:  # in one step: nearly every page has this exact line
        headers[headers.index((b"content-length", b"%d" % len(page)))] = (b"content-length", b"%d" % len(whole))
    except ValueError:
        head["headers"] = lengthened(headers, len(whole) - len(page))
    body["body"] = whole
    return _whole_page(reply, head, body, len(whole))


async def _part(reply: Reply, message: Message) -> None:
    """Send a page's body, with the banner if it gets one. The counted size is what leaves, banner included."""
    messages: list[Message] = []
    if message.get("body", b"").__class__ is not bytes:
        message["body"] = b"".join((message["body"],))  # a copy: the buffer may be filled again
    if reply.page is not None:
        messages = _begun(reply, reply.page, message)
    if reply.insertion is not None:
        messages += reply.insertion.feed(message)
        if reply.insertion.obstacle and reply.is_asked_here:
            reply.say(reply.insertion.obstacle)
    else:
        messages.append(message)
    for leaving in messages:
        reply.exchange.sent_bytes += len(leaving.get("body", b""))
        if leaving["type"] == "http.response.start":
            reply.left = leaving
    if not message.get("more_body", False) or reply.is_whole:
        reply.record()
    await reply.send_all(messages)


async def with_banner(reply: Reply, message: Message, personal_answer: bool) -> bool:
    """Begin the insertion of the banner; return whether this message waits for the page's body."""
    revision, exchange = reply.revision, reply.exchange
    if reply.own or not revision.shared.options.banner or exchange.consent.banner_placed or not is_page(message):
        return False
    shared = not personal_answer and is_public(message)
    method = exchange.scope["method"]
    if not insertable("GET" if method == "HEAD" else method, message):
        if reply.is_asked_here:
            reply.say(obstacle(message))
        return False
    if method == "HEAD":
        await reply.leave(altered_head(message, shared=shared))
    elif reply.in_own_frame:
        reply.page = _varied(altered(message), b"Sec-Fetch-Dest")
    elif shared or revision.site.wants_banner(exchange.consent):
        language = language_for_all(message) if shared else revision.site.language_of(message)
        scope = exchange.asked
        # If the choice could not come with the request, only our script knows whether the visitor has chosen.
        hidden = shared or exchange.consent.withheld
        body = await on_asyncio(
            revision.site.banner,
            scope,
            exchange.consent,
            now_ns=exchange.started_ns,
            shared=hidden,
            page_language=language,
        )
        head = with_nonce(revision.site.head(scope, language), nonce_of(message))
        absolute = ("", "") if shared else reply.absolute(revision.site.base(scope))
        reply.insertion = Insertion(message, head, body, shared=shared, absolute=absolute)
    else:
        # The page asks nothing. It is still for this visitor alone: those who have not chosen get another page.
        reply.page = altered(message)
    return True


def _begun(reply: Reply, page: Message, message: Message) -> list[Message]:
    """
    Begin a page once the first part of its body is here; return the messages that can leave already.

    A page that asks nothing still gets the script if something in it waits for a purpose or opens the settings. A
    stream always gets it, because the rest of it is not known yet.
    """
    reply.page = None
    if reply.words is not None:
        absolute = reply.absolute(reply.revision.site.base(reply.exchange.asked))
        reply.insertion = Insertion(page, *reply.words.texts(reply.target), absolute=absolute)
        return []
    body: bytes = message.get("body", b"")
    if message.get("more_body", False) or _waits(body):
        site = reply.revision.site
        head = site.head(reply.exchange.asked, site.language_of(page))
        absolute = reply.absolute(site.base(reply.exchange.asked))
        reply.insertion = Insertion(page, with_nonce(head, nonce_of(page)), "", absolute=absolute)
        return []
    return [page]


def is_page(message: Message) -> bool:
    """Whether an answer is an HTML page. The cheapest check comes first: most answers are not pages."""
    if not is_page_status(message.get("status", 0)):
        return False
    headers: HeaderList = message.get("headers") or []
    return any(
        len(name) == 12 and name.lower() == b"content-type" and value[:9].lower() == b"text/html"
        for name, value in headers
    )


def _varied(start: Message, field: bytes) -> Message:
    """Return `start` with a Vary that names `field`: another value of it in a request gets another answer."""
    return {**start, "headers": [*start["headers"], (b"vary", field)]}


def _waits(body: bytes) -> bool:
    """Whether something in a page waits for a purpose, or opens the settings."""
    return _WAITING in body and any(word in body for word in _WAITS)


async def _both(send: Send, head: Message, body: Message) -> None:
    await send(head)
    await send(body)
