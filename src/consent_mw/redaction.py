"""What never stands in a log, even where a field is kept whole: secrets in query strings, and unprintable text."""

from __future__ import annotations

import re
from unicodedata import normalize
from urllib.parse import unquote

__all__ = ["clean", "origin", "redact_name", "redact_query", "redact_url"]

#: Characters of one text that a record keeps.
_LIMIT = 2_048
_MARK = "[redacted]"

#: Parameters whose values are secrets or name a person, wherever the word stands in the parameter's name.
_SECRET_NAME = re.compile(
    r"pass|pwd|(?<![a-z])pw(?![a-z])|secret|token|auth|key(?!word)|sig|session|sid\b|code|otp|pin\b|csrf|xsrf|jwt|credential|bearer|saml"
    r"|assertion|ticket|nonce|hmac|mail|phone|mobile|\btel\b|birth|ssn|iban|card|cvv|cvc"
    r"|비밀번호|암호|토큰|이메일|메일|전화|휴대폰|주민",
    re.IGNORECASE,
)
#: What is a secret, or names a person, whatever it is called.
_TELLING = re.compile(
    r"[^\s@&=]@[^\s@&=]"  # a mail address, also user:password@host
    r"|(?<![\w-])eyJ[\w-]+\.[\w-]+"  # a JSON web token
    r"|(?:A[KS]IA[A-Z0-9]|AIza|gh[opsur]_|glpat-|xox[a-z]-|[prs]k_(?:live|test)_)[\w-]{8,}"  # keys by their marks
    r"|(?<!\d)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[ -]?[1-8]\d{6}(?!\d)"  # a Korean resident's number
    r"|(?<!\d)(?:0|82[ -]?0?)1[016-9][ -]?\d{3,4}[ -]?\d{4}(?!\d)"  # a mobile telephone in Korea
    r"|(?<!\d)\d(?:[ -]?\d){13,18}(?!\d)"  # a bank card; one digit more than a time in milliseconds
    r"|\b(?:basic|bearer)\s+[\w.~+/-]{6}"  # what stands in an Authorization header
    r"|%[0-9a-f]{2}",  # still encoded after all that was seen through
    re.IGNORECASE,
)
#: A long random word: 128 bits in hexadecimal, 192 in base64; a UUID.
_RANDOM = re.compile(r"[A-Za-z0-9+/_-]{32,}")
#: The same in the path of a referrer, where a long word with hyphens may be a title.
_RANDOM_SEGMENT = re.compile(r"[A-Za-z0-9_]{32,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
#: What of a name belongs to one visitor: a mail address, a token, an id. The rest of it is the same for all.
_OF_ONE_VISITOR = re.compile(
    r"\S*(?:@|%40)\S*|eyJ[\w-]+\.[\w.-]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,}|\d{10,}",
    re.IGNORECASE,
)
#: A shorter one: capital and small letters and a digit, as 128 bits in base64 have.
_WORD = re.compile(r"[A-Za-z0-9_-]{20,}")
#: A character as JSON writes it, and as old scripts did.
_UNICODE_ESCAPE = re.compile(r"[\\%]u([0-9a-f]{4})", re.IGNORECASE)
_SPELLING = re.compile(r"[\W_]+")
_SEPARATOR = re.compile(r"([&;])")
_NESTED = re.compile(r"[?&;#,/\s{}\[\]()<>]+")
_AROUND_SIGN = re.compile(r"(?<!\s)\s*+([=:])\s*+")
#: How often text may be percent-encoded and is still seen through.
_ENCODINGS = 5
#: How many pairs are read: of one query, and inside one value.
_PAIRS = 64
#: A single word shorter than any secret that is told by its looks.
_SHORT = 11
_ORIGIN = re.compile(r"(https?)://(?:[^/?#@]*@)?([A-Za-z0-9.\-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?(?=[/?#]|$)")


def clean(text: str) -> str:
    """Return `text` capped, and with what UTF-8 cannot carry (lone surrogates) replaced."""
    if len(text) > _LIMIT:
        text = text[:_LIMIT]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def redact_name(name: str) -> str:
    """Return the name of a cookie without what in it belongs to one visitor: `id_[redacted]`."""
    return _OF_ONE_VISITOR.sub(_MARK, clean(name))


def redact_query(query: str) -> str:
    """
    Return the query string with the values of secrets replaced; names, order and the rest stay.

    Seen through are percent-encoding (five times over), other spellings of a name, and pairs inside a value. What comes
    after the sixty-fourth pair is replaced as a whole: a request shall not pay for more. So is a pair that the cap on
    length cuts, since half a secret no longer looks like one.
    """
    return _redact_pairs(clean(query), cut=len(query) > _LIMIT)


def _redact_pairs(query: str, *, cut: bool) -> str:
    parts = _SEPARATOR.split(query, maxsplit=_PAIRS)
    rest = _MARK if cut or _SEPARATOR.search(parts[-1]) else _redact_pair(parts[-1])
    return "".join([*(part if part in ("&", ";") else _redact_pair(part) for part in parts[:-1]), rest])


def _redact_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        return _MARK if _reveals(_decoded(name)) else name
    if _reveals(_decoded(name)):  # a pair whose own sign is encoded, or a secret in the place of a name
        return f"{_MARK}={_MARK}"
    return f"{name}={_MARK if _is_secret_name(_decoded(name)) or _reveals(_decoded(value)) else value}"


def _decoded(text: str) -> str:
    for _ in range(_ENCODINGS):
        before, text = text, unquote(text.replace("+", " ")) if "%" in text else text.replace("+", " ")
        if text == before:
            break
    if "\\u" in text or "%u" in text:
        text = _UNICODE_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return text if text.isascii() else normalize("NFKC", text)


def _is_secret_name(name: str) -> bool:
    return bool(_SECRET_NAME.search(name) or _SECRET_NAME.search(_SPELLING.sub("", name)))


def _reveals(text: str) -> bool:
    """Whether decoded text holds a secret, or a pair (also as in JSON) whose name says so."""
    if len(text) < _SHORT and text.isalnum():
        return False
    if _TELLING.search(text) or _RANDOM.search(text) or _has_mixed_word(text):
        return True
    plain = _AROUND_SIGN.sub(r"\1", text.replace('"', "").replace("'", ""))
    parts = _NESTED.split(plain, maxsplit=_PAIRS)
    names = (name for part in parts for name in re.split("[=:]", part, maxsplit=_PAIRS)[:-1])
    return len(parts) > _PAIRS or any(map(_is_secret_name, names))


def _has_mixed_word(text: str) -> bool:
    return any(
        any(map(str.isdigit, word)) and any(map(str.isupper, word)) and any(map(str.islower, word))
        for word in _WORD.findall(text)
    )


def redact_url(url: str) -> str:
    """
    Return the URL without user, password and fragment, its query redacted; empty if it is no http URL.

    Of the path the segments are replaced that are a mail address, a web token, a key or a random word, or that the cap
    on length cuts.
    """
    text = clean(url)
    found = _ORIGIN.match(text)
    if found is None:
        return ""
    rest, fragment, _ = text[found.end() :].partition("#")
    cut = len(url) > _LIMIT and not fragment
    path, mark, query = rest.partition("?")
    *segments, last = path.split("/")
    path = "/".join([*map(_redact_segment, segments), _MARK if cut and not mark else _redact_segment(last)])
    return f"{_site(found)}{path}{mark}{_redact_pairs(query, cut=cut) if mark else ''}"


def _redact_segment(segment: str) -> str:
    """Parameters of a segment (RFC 3986, section 3.3) are pairs: `;jsessionid=…`."""
    head, *parameters = segment.split(";")
    if "=" in head:
        head = _redact_pair(head)
    text = _decoded(head)
    secret = _TELLING.search(text) or _RANDOM_SEGMENT.search(text) or _has_mixed_word(text)
    return ";".join([_MARK if secret else head, *map(_redact_pair, parameters)])


def origin(url: str) -> str:
    """Return scheme, host and port of an http URL, or "" for anything else."""
    found = _ORIGIN.match(clean(url))
    return _site(found) if found else ""


def _site(found: re.Match[str]) -> str:
    return f"{found[1]}://{found[2].lower()}{found[3] or ''}"
