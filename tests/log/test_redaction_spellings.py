"""A secret under a known name never survives, in whatever bytes the name comes; ordinary text of any bytes does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.policies import POLICY

from consent_mw import ConsentMiddleware
from consent_mw._asgi import Receive, Scope, Send
from consent_mw.cli import main
from consent_mw.log.redaction import redact_name, redact_query, redact_url
from consent_mw.system.escaping import hex_escaped, raw, readable
from consent_mw.testing.driver import drive, http_scope, lifespan

MARK = "[redacted]"
LATIN = ["token", "password", "apiKey", "Authorization", "csrf", "phone", "client-secret", "birth"]
KOREAN = [
    "비밀번호",
    "암호",
    "토큰",
    "이메일",
    "전화",
    "휴대폰",
    "주민번호",
    "회원_비밀번호",
    "인증번호",
    "카드",
    "생년월일",
]

INITIALS, MEDIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ", "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
FINALS = "ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"


def letters(text: str) -> str:
    """Syllables as single letters, as they stand on the keys."""
    singles = []
    for char in text:
        place = ord(char) - 0xAC00
        if not 0 <= place < 11_172:
            singles.append(char)
            continue
        first, second, last = place // 588, place % 588 // 28, place % 28
        singles.append(INITIALS[first] + MEDIALS[second] + (FINALS[last - 1] if last else ""))
    return "".join(singles)


def half_wide(text: str) -> str:
    narrow = {normalize("NFKC", chr(code)): chr(code) for code in range(0xFFA1, 0xFFDD) if normalize("NFKC", chr(code))}
    return "".join(narrow.get(normalize("NFKC", char), char) for char in letters(text))


def full_wide(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


#: How a name may be spelt, as text.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "capitals": str.upper,
    "decomposed": lambda text: normalize("NFD", text),
    "full wide": full_wide,
    "full wide and decomposed": lambda text: normalize("NFD", full_wide(text)),
    "letters": letters,
    "half wide": half_wide,
    "with what nobody sees": "\u200b".join,
    "with a filler": "\u3164".join,
    "with points": ".".join,
    "with accents": "\u0301".join,
}
#: How text becomes bytes.
BYTES: dict[str, Callable[[str], bytes]] = {
    "UTF-8": lambda text: text.encode(),
    "EUC-KR": lambda text: text.encode("cp949", "replace") if encodes(text) else text.encode(),
    "UTF-8 taken for Latin-1": lambda text: text.encode().decode("latin-1").encode(),
    "UTF-8 taken for Windows-1252": lambda text: windows(text.encode()).encode(),
    "EUC-KR taken for Latin-1": lambda text: (text.encode("cp949") if encodes(text) else text.encode())
    .decode("latin-1")
    .encode(),
    "%u": lambda text: "".join(f"%u{ord(char):04X}" if ord(char) > 127 else char for char in text).encode(),
    "\\u": lambda text: "".join(f"\\u{ord(char):04x}" if ord(char) > 127 else char for char in text).encode(),
    "\\x": lambda text: "".join(f"\\x{byte:02x}" if byte > 127 else chr(byte) for byte in text.encode()).encode(),
    "HTML": lambda text: quote("".join(f"&#{ord(char)};" if ord(char) > 127 else char for char in text)).encode(),
    "HTML in hexadecimal": lambda text: quote("".join(f"&#x{ord(char):x};" for char in text)).encode(),
}  # fmt: skip


def encodes(text: str) -> bool:
    try:
        text.encode("cp949")
    except UnicodeEncodeError:
        return False
    return True


def windows(sent: bytes) -> str:
    """Read as browsers read windows-1252: its five holes are controls."""
    return "".join(bytes((code,)).decode("cp1252", "ignore") or chr(code) for code in sent)


def percent(sent: bytes, mask: int, times: int) -> bytes:
    """Percent-encode those bytes that the mask says (none is every other), and the whole again."""
    for turn in range(times):
        whole = b"".join(
            b"%%%02X" % code if turn or mask >> place % 24 & 1 else bytes((code,)) for place, code in enumerate(sent)
        )
        sent = whole
    return sent


@settings(max_examples=600, deadline=None)
@given(
    name=st.sampled_from(LATIN + KOREAN),
    spelling=st.sampled_from(sorted(SPELLINGS)),
    encoding=st.sampled_from(sorted(BYTES)),
    mask=st.integers(0, 2**24 - 1),
    times=st.integers(0, 3),
    word=st.from_regex(r"[a-z]{4,8}[0-9]{2}", fullmatch=True),
    around=st.sampled_from([b"", b"q=1&", "검색=한글&".encode(), b"x=\xff\xfe&", "검색=한글&".encode("cp949")]),
)
@example("비밀번호", "as it is", "UTF-8", 0, 0, "hunter22", b"")
@example("비밀번호", "as it is", "EUC-KR", 2**24 - 1, 1, "hunter22", b"")
def test_no_spelling_of_a_secret_s_name_lets_its_value_through(
    name: str, spelling: str, encoding: str, mask: int, times: int, word: str, around: bytes
) -> None:
    written = percent(BYTES[encoding](SPELLINGS[spelling](name)), mask, times)
    pair = b"%s=%s" % (written, word.encode())
    inside = b"next=" + quote(b"/login?a=1&" + pair).encode()
    for query in (around + pair + b"&z=1", around + inside):
        assert word not in redact_query(readable(query))
        assert word not in redact_url("http://e.example/" + readable(b"?" + query))
        assert word not in redact_url("http://e.example/" + readable(b"a/" + pair))
    for sent in (pair, around):
        redact_query(readable(sent)).encode()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40) | st.sampled_from([b"\\xff", b"\\x5c", b"\\\\x5cxff", "\\x가".encode()]))
def test_the_bytes_are_read_as_text_and_come_back(sent: bytes) -> None:
    text = readable(sent)
    text.encode()
    assert raw(text) == sent
    try:
        if b"\\x" not in sent:
            assert text == sent.decode()
    except UnicodeDecodeError:
        assert "\\x" in text
    assert unquote_to_bytes(hex_escaped(text).replace("%", "%25").replace("\\x", "%")) == sent


@pytest.mark.parametrize(
    "query", ["검색=한글 책&색=빨강", "q=café&n=naïve", "q=日本語&x=Ωmega", "이름=가&값=카페", "메뉴=커피&줌인=1"]
)
def test_ordinary_text_of_any_writing_stays(query: str) -> None:
    for sent in (query.encode(), quote(query, safe="=&").encode()):
        assert redact_query(readable(sent)) == sent.decode()


def test_a_cookie_s_name_loses_an_address_in_whatever_width() -> None:
    assert redact_name("id_kim＠example.com") == MARK
    assert redact_name("방문자") == "방문자"


RECORDED = POLICY.replace(
    "[log.necessary]",
    '[log.necessary]\n"url.query" = "full"\n"user_agent.original" = "full"\n"http.request.header.referer" = "full"',
)


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await send({"type": f"{(await receive())['type']}.complete"})
        await send({"type": f"{(await receive())['type']}.complete"})
        return
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def visited(folder: Path) -> None:
    app = ConsentMiddleware(nothing, policy=folder / "policy.toml", secret_keys=["x" * 32])
    pair = "비밀번호=hunter2".encode()
    async with lifespan(app):
        headers = [(b"user-agent", "카톡/9.0".encode()), (b"referer", b"http://e/?" + pair)]
        await drive(app, http_scope("/", query_string=pair, headers=headers))
        await drive(app, http_scope("/", query_string=b"a=\xff", headers=[(b"user-agent", b'a\xffz"\\xff')]))
        await drive(app, http_scope("/", headers=[(b"user-agent", b"x" + "가".encode() * 600)]))


def test_text_is_kept_as_text_and_its_bytes_reach_the_access_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "policy.toml").write_text(RECORDED)
    asyncio.run(visited(tmp_path))
    export = ["export", "--directory", str(tmp_path / "consent-data"), "--purpose", "necessary", "--reason", "test"]
    assert main([*export, "--format", "jsonl"]) == 0
    out = capsys.readouterr().out
    assert "hunter2" not in out
    first, second, third = map(json.loads, out.splitlines())
    assert (first["url.query"], first["user_agent.original"]) == (f"비밀번호={MARK}", "카톡/9.0")
    assert first["http.request.header.referer"] == f"http://e/?비밀번호={MARK}"
    assert (second["url.query"], second["user_agent.original"]) == (r"a=\xff", r'a\xffz"\x5cxff')
    assert third["user_agent.original"] == "x" + "가" * 511
    assert main([*export, "--format", "combined"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(r'/9.0"')
    assert r'"\xEC\xB9\xB4\xED\x86\xA1/9.0"' in lines[0]  # as nginx writes it
    assert lines[1].endswith(r'"a\xFFz\x22\x5Cxff"')
