"""Text from outside: read from its bytes, and made harmless where it is shown: in a terminal, JSON, a log. Pure."""

from __future__ import annotations

import json
import re
from urllib.parse import quote, unquote_to_bytes

import msgspec

from consent_mw._asgi import Scope

#: A backslash that would be read as an escape of ours, and the escapes themselves.
_LIKE_AN_ESCAPE = re.compile(rb"\\(?=x[0-9a-f]{2})")
_ESCAPE = re.compile(rb"\\x(5c|[89a-f][0-9a-f])")
#: Bytes beyond ASCII in percent-encoding, as browsers write them.
_BEYOND_ASCII = re.compile(r"(?:%[89A-F][0-9A-F])+")
#: A byte in percent-encoding that was not UTF-8, after decoding.
_NO_TEXT = re.compile(r"[\udc80-\udcff]")
#: What stands in no request line as it is: characters beyond ASCII, and blanks.
_ENCODED = re.compile(r"[^\x00-\x7f]+| ")


#: RFC 3986, section 3.3.
_PATH_SAFE = "/:@!$&'()*+,;=~"


def readable(sent: bytes) -> str:
    r"""
    Return a client's bytes as text: UTF-8, and each byte that is not valid UTF-8 as \xHH. `raw` reverses it.

    RFC 9110 leaves the encoding of such bytes open (section 5.5); what Korean clients send is UTF-8.
    """
    if sent.find(b"\\") >= 0:  # one byte is found in a third of the time of two, and `in` raises an error within
        sent = _LIKE_AN_ESCAPE.sub(rb"\\x5c", sent)
    return sent.decode("utf-8", "backslashreplace")


def raw(text: str) -> bytes:
    """Return the bytes that `readable` read."""
    sent = text.encode("utf-8", "surrogatepass")
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), sent) if b"\\x" in sent else sent


def readable_path(scope: Scope) -> str:
    r"""
    Return the path of a request as it came, but characters beyond ASCII decoded: "/a%2Fb", "/%22", "/책".

    `path_sent` reverses it. A server decodes the whole path, after which "/a%2Fb" and "/a/b" are one.
    """
    sent: object = scope.get("raw_path")
    if not isinstance(sent, bytes):  # ASGI: optional
        sent = quote(str(scope.get("path", "")), safe=_PATH_SAFE, errors="replace").encode()
    text = readable(sent)
    return _BEYOND_ASCII.sub(_decoded, text) if "%" in text else text


def _decoded(match: re.Match[str]) -> str:
    text = unquote_to_bytes(match[0]).decode("utf-8", "surrogateescape")
    return _NO_TEXT.sub(lambda char: f"%{ord(char[0]) - 0xDC00:02X}", text)


def path_sent(text: str) -> str:
    """Return a path that `readable_path` read, in ASCII; what else a client sent may need `hex_escaped`."""
    return _ENCODED.sub(lambda match: quote(match[0], errors="replace"), text)


def printable(text: str) -> str:
    """
    Return `text` with everything escaped that a terminal obeys instead of showing it.

    Those are controls, escape sequences, line ends, lone surrogates, and characters that turn the writing direction.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def as_json(value: object) -> str:
    """
    Return `value` as JSON on one line, as harmless to a terminal as what `printable` returns.

    In JSON a character that is not ASCII can stand only inside a string, where an escape means the same.
    """
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate, which has no UTF-8
        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
    return text if text.isprintable() else "".join(char if char.isprintable() else _json_escape(char) for char in text)


def _json_escape(char: str) -> str:
    # RFC 8259, section 7: what lies beyond 16 bits is a surrogate pair.
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def hex_escaped(text: str) -> str:
    r"""
    Return `text` as a field between the quotes of a Combined Log Format line, escaped as nginx does: \xHH.

    Escaped are quotes, backslashes, controls and every byte that is not ASCII, as it was sent. More readers survive it
    than `\"`.
    """
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(chr(code) if 32 <= code < 127 and code not in b'"\\' else f"\\x{code:02X}" for code in raw(text))
