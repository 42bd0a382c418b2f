"""Name the policy in a Link header, by which tools find it (RFC 8288; RFC 6903, section 4)."""

from __future__ import annotations

from consent_mw._asgi import ASGIApp, Message, Receive, Scope, Send, header_value, header_values


def policy_link(base: str) -> str:
    """Return the header's value; `base` is the path of the visitor's pages, as the browser must write it."""
    return f'<{base}/policy>; rel="privacy-policy"'


def linked(app: ASGIApp, base: str) -> ASGIApp:
    """Return `app` with the header on its HTML answers, except those that name a privacy policy themselves."""

    async def with_link(scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_unnamed_page(message):
                message = {**message, "headers": [*message["headers"], (b"link", policy_link(base).encode())]}
            await send(message)

        return await app(scope, receive, marked)

    return with_link


def _is_unnamed_page(start: Message) -> bool:
    headers = start.get("headers") or ()
    kind = (header_value(headers, b"content-type") or b"").lower()
    return kind.startswith(b"text/html") and b"privacy-policy" not in b"".join(header_values(headers, b"link"))
