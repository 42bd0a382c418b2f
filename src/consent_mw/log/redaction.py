"""What a log never contains, even if a field is kept whole: secrets in query strings, and unprintable text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import unescape
from typing import Final
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

#: How many characters of one text a record keeps.
_LIMIT = 2_048
_MARK = "[redacted]"

#: Parameters whose values are secrets or name a person, wherever the word is in the parameter's name.
_SECRET_NAME = re.compile(
    r"pass|pwd|(?<![a-z])pw(?![a-z])|secret|token|auth|key(?!word)|sig|session|sid\b|code|otp|pin\b|csrf|xsrf|jwt|credential|bearer|saml"
    r"|assertion|ticket|nonce|hmac|mail|phone|mobile|\btel\b|birth|ssn|iban|card|cvv|cvc",
    re.IGNORECASE,
)
#: The same words in Korean, letter by letter: see `_letters`.
_KOREAN_SECRETS: Final = (
    "비밀번호 비번 패스워드 암호 토큰 인증 세션 서명 이메일 메일 전화 휴대폰 핸드폰 연락처 주민 생년월일 여권 카드 계좌"
)
#: Written letter by letter, a final consonant is the same letter as the first of a syllable.
_ONE_BY_ONE: Final = {
    ord(normalize("NFD", syllable)[2]): normalize("NFD", syllable)[0] for syllable in "각깎난닫랄맘밥삿쌌앙잦찿캌탙팦핳"
} | dict.fromkeys(map(ord, "\u115f\u1160"))  # invisible letters
#: The characters that Windows-1252 has instead of controls, so that text decoded as such can be decoded again.
_WINDOWS: Final = {
    ord(bytes((code,)).decode("cp1252")): code
    for code in range(0x80, 0xA0)
    if bytes((code,)).decode("cp1252", "ignore")
}
#: Values that are secrets, or name a person, under any parameter name.
_TELLING = re.compile(
    r"[^\s@&=]@[^\s@&=]"  # an e-mail address, also user:password@host
    r"|(?<![\w-])eyJ[\w-]+\.[\w-]+"  # a JSON web token
    r"|(?:A[KS]IA[A-Z0-9]|AIza|gh[opsur]_|glpat-|xox[a-z]-|[prs]k_(?:live|test)_)[\w-]{8,}"  # keys with a known prefix
    r"|(?<!\d)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[ -]?[1-8]\d{6}(?!\d)"  # a Korean resident's number
    r"|(?<!\d)(?:0|82[ -]?0?)1[016-9][ -]?\d{3,4}[ -]?\d{4}(?!\d)"  # a mobile telephone in Korea
    r"|(?<!\d)\d(?:[ -]?\d){13,18}(?!\d)"  # a bank card; one digit more than a time in milliseconds
    r"|\b(?:basic|bearer)\s+[\w.~+/-]{6}"  # the content of an Authorization header
    r"|%[0-9a-f]{2}",  # still encoded after all decoding
    re.IGNORECASE,
)
#: A long random word: 128 bits in hexadecimal, 192 in base64; a UUID.
_RANDOM = re.compile(r"[A-Za-z0-9+/_-]{32,}")
#: The same in the path of a referrer, where a long word with hyphens may be a title.
_RANDOM_SEGMENT = re.compile(r"[A-Za-z0-9_]{32,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
#: The parts of a name that belong to one visitor: an e-mail address, a token, an id. The rest is the same for all.
_OF_ONE_VISITOR = re.compile(
    r"\S*(?:@|%(?:25)*40)\S*|eyJ[\w-]+\.[\w.-]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,}|\d{10,}",
    re.IGNORECASE,
)
#: A shorter random word: capital and small letters and a digit, as 128 bits in base64 have.
_WORD = re.compile(r"[A-Za-z0-9_-]{20,}")
#: A character as JSON writes it, and as old scripts did.
_UNICODE_ESCAPE = re.compile(r"[\\%]u([0-9a-f]{4})", re.IGNORECASE)
#: A byte as `escaping.readable` and scripts write it.
_BYTE_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})", re.IGNORECASE)
#: The first character of each of these.
_WRITTEN_OTHERWISE = re.compile(r"[%\\&]")
#: A character as HTML writes it. A browser sends it in a form if the page's encoding lacks the character.
_CHARACTER = re.compile(r"&#(?:\d{1,7}|x[0-9a-f]{1,6});?", re.IGNORECASE)
_SPELLING = re.compile(r"[\W_]+")
_SEPARATOR = re.compile(r"([&;])")
_NESTED = re.compile(r"[?&;#,/\s{}\[\]()<>]+")
_AROUND_SIGN = re.compile(r"(?<!\s)\s*+([=:])\s*+")
#: How many layers of percent-encoding are decoded.
_ENCODINGS = 5
#: How many pairs are read: of one query, and inside one value.
_PAIRS = 64
#: A single word with fewer characters is shorter than any secret that is recognised by its form.
_SHORT = 11
_ORIGIN = re.compile(r"(https?)://(?:[^/?#@]*@)?([A-Za-z0-9.\-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?(?=[/?#]|$)")


def clean(text: str) -> str:
    """Return `text`, capped, with what UTF-8 cannot carry (lone surrogates) replaced."""
    if len(text) > _LIMIT:
        text = text[:_LIMIT]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def redact_name(name: str) -> str:
    """Return the name of a cookie without the part that belongs to one visitor: `id_[redacted]`."""
    name = clean(name)
    if name.isascii():
        return _OF_ONE_VISITOR.sub(_MARK, name)
    redacted, marks = _OF_ONE_VISITOR.subn(_MARK, normalize("NFKC", name))
    return redacted if marks else name


def redact_query(query: str) -> str:
    """
    Return the query string with the values of secrets replaced; names, order and the rest stay.

    It decodes percent-encoding (five layers, of UTF-8 and of EUC-KR), other spellings of a name, and pairs inside a
    value. Bytes are read by `escaping.readable`. Everything after the sixty-fourth pair is replaced as a whole, because
    a request shall not pay for more. A pair that the cap on length cuts is replaced too, since half a secret no longer
    looks like one.
    """
    return _redact_pairs(clean(query), cut=len(query) > _LIMIT)


def _redact_pairs(query: str, *, cut: bool) -> str:
    parts = _SEPARATOR.split(query, maxsplit=_PAIRS)
    rest = _MARK if cut or _SEPARATOR.search(parts[-1]) else _redact_pair(parts[-1])
    return "".join([*(part if part in ("&", ";") else _redact_pair(part) for part in parts[:-1]), rest])


def _redact_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    names = _readings(name)
    if not equals:
        return _MARK if any(map(_reveals, names)) else name
    if any(map(_reveals, names)):  # a pair whose "=" is encoded, or a secret instead of a name
        return f"{_MARK}={_MARK}"
    return f"{name}={_MARK if any(map(_is_secret_name, names)) or any(map(_reveals, _readings(value))) else value}"


def _readings(text: str) -> Sequence[str]:
    """
    Return what text may mean. Percent-encoding is decoded as UTF-8. What is not UTF-8 is decoded in the code page of
    Korean Windows (EUC-KR). Both are decoded again where a program took the bytes for Western letters.
    """
    if text.isascii() and not _WRITTEN_OTHERWISE.search(text):
        return (text.replace("+", " "),)
    sent = _unquoted(text)
    plain = _unescaped(sent.decode("utf-8", "replace"))
    if plain.isascii():
        return (plain,)
    readings = [plain]
    if "\ufffd" in plain:
        readings.append(_unescaped(sent.decode("cp949", "replace")))
    if any("\x80" <= char <= "\xff" for char in plain):
        sent = plain.translate(_WINDOWS).encode("latin-1", "replace")
        readings += [sent.decode("utf-8", "replace"), sent.decode("cp949", "replace")]
    return [normalize("NFKC", reading) for reading in readings]


def _unquoted(text: str) -> bytes:
    """Return the bytes of text in percent-encoding, in several layers, or in the escapes of programs."""
    sent = text.encode("utf-8", "replace")
    for _ in range(_ENCODINGS):
        before, sent = sent, sent.replace(b"+", b" ")
        if b"\\x" in sent:
            sent = _BYTE_ESCAPE.sub(rb"%\1", sent.replace(rb"\x5c", b"\\"))
        if b"%" in sent:
            sent = unquote_to_bytes(sent)
        if sent == before:
            break
    return sent


def _unescaped(text: str) -> str:
    if "\\u" in text or "%u" in text:
        text = _UNICODE_ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    return _CHARACTER.sub(lambda match: unescape(match[0]), text) if "&#" in text else text


def _is_secret_name(name: str) -> bool:
    if _SECRET_NAME.search(name):
        return True
    if name.isascii():
        return bool(_SECRET_NAME.search(_SPELLING.sub("", name)))
    letters = _letters(name)
    return bool(_SECRET_NAME.search(letters)) or any(secret in letters for secret in _SECRETS)


def _letters(text: str) -> str:
    """Return only the letters, without accents. Korean ones are decomposed, in full or half width."""
    return _SPELLING.sub("", normalize("NFKD", text).translate(_ONE_BY_ONE))


_SECRETS: Final = tuple(map(_letters, _KOREAN_SECRETS.split()))


def _reveals(text: str) -> bool:
    """Whether decoded text holds a secret, or a pair (also as in JSON) whose name says that it is one."""
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
    Return the URL without user, password and fragment, its query redacted; "" if it is not an http URL.

    Segments of the path are replaced if they are an e-mail address, a web token, a key or a random word, or if the cap
    on length cuts them.
    """
    text = clean(url)
    match = _ORIGIN.match(text)
    if match is None:
        return ""
    rest, fragment, _ = text[match.end() :].partition("#")
    cut = len(url) > _LIMIT and not fragment
    path, mark, query = rest.partition("?")
    *segments, last = path.split("/")
    path = "/".join([*map(_redact_segment, segments), _MARK if cut and not mark else _redact_segment(last)])
    return f"{_site(match)}{path}{mark}{_redact_pairs(query, cut=cut) if mark else ''}"


def _redact_segment(segment: str) -> str:
    """Redact the parameters of a segment (RFC 3986, section 3.3), which are pairs: `;jsessionid=…`."""
    head, *parameters = segment.split(";")
    if "=" in head:
        head = _redact_pair(head)
    secret = any(
        _TELLING.search(text) or _RANDOM_SEGMENT.search(text) or _has_mixed_word(text) for text in _readings(head)
    )
    return ";".join([_MARK if secret else head, *map(_redact_pair, parameters)])


def origin(url: str) -> str:
    """Return scheme, host and port of an http URL, or "" for anything else."""
    match = _ORIGIN.match(clean(url))
    return _site(match) if match else ""


def _site(match: re.Match[str]) -> str:
    return f"{match[1]}://{match[2].lower()}{match[3] or ''}"
