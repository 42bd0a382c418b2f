"""Names on the wire. Where browsers and parsers could disagree, each row says which side we are on."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_mw.cookies.cookie_lines import anchored, delete_line, is_deletion, lasts_seconds, name_of, pairs
from consent_mw.testing.strategies import cookie_headers, set_cookie_lines

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"a=1", "a"),
        (b"  a \t= 1", "a"),  # RFC 6265bis trims both sides
        (b"a=b=c", "a"),  # the first = ends the name
        (b"a", None),  # a browser stores a cookie without name: later it would be read as whatever it looks like
        (b"=a=1", None),  # the same, hidden behind an =
        (b"", None),
        (b'"a"=1', '"a"'),  # quotes belong to the name
        (b"a,b=1", "a,b"),  # a comma separates nothing
        (b"a;b=1", None),  # the ; comes first: no = before it
        (b"A=1", "A"),  # case counts
        (b"__host-a=1", "__host-a"),
        (b"a=1\x00b", None),  # browsers drop the line
        (b"a\x07=1", None),
        (b"a=1\tb", "a"),  # tab is the one control character that is allowed
        ("ä=1".encode(), "ä".encode().decode("latin-1")),  # bytes stay bytes
    ],
)
def test_a_name_is_what_a_browser_would_store(line, name):
    assert name_of(line) == name


@pytest.mark.parametrize(
    ("line", "deletes"),
    [
        (b"a=; Max-Age=0", True),
        (b"a=; max-age=-1", True),
        (b"a=; Max-Age=0; Max-Age=9", False),  # the last one wins in a browser
        (b"a=; Max-Age=0; Expires=Wed, 01 Jan 2098 00:00:00 GMT", True),  # Max-Age beats Expires
        (b"a=; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT", False),
        (b"a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT", True),
        (b"a=; expires=Thu, 01-Jan-1970 00:00:00 GMT", True),
        (b"a=; Expires=yesterday", False),
        (b"a=; Expires=Thu, 31 Feb 1970 00:00:00 GMT", False),
        (b"a=; Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", False),  # who ignores x and who does not? judge it
        (b'a=; Max-Age="0"', False),
        (b"a=", False),
        (b"a=; Max-Age=" + b"0" * 1025, False),  # too long an attribute is ignored: the cookie is stored
        (b"a=; Expires=Thu, 01 Jan 0069 00:00:00 GMT", False),  # two digits in disguise: 2069
        (b"a=; Expires=Thu, 01 Jan 1600 00:00:00 GMT", False),  # before 1601 a date is ignored
    ],
)
def test_only_what_every_browser_takes_as_a_deletion_is_one(line, deletes):
    assert is_deletion(line, NOW) is deletes


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"a=1", b"a=1; Path=/books"),
        (b"a=1; Path", b"a=1; Path; Path=/books"),
        (b"a=1; path=x", b"a=1; path=x; Path=/books"),
        (b"a=1; Path=/", b"a=1; Path=/"),
        (b"a=1; path=/x; PATH = /y", b"a=1; path=/x; PATH = /y"),
        (b"a=1; Path=/x; Path=", b"a=1; Path=/x; Path=; Path=/books"),  # the last one wins
    ],
)
def test_a_line_that_will_be_sent_from_elsewhere_says_the_path_it_would_have_had(line, kept):
    assert anchored(line, "/books/3") == kept


@pytest.mark.parametrize(("path", "directory"), [("/", b"/"), ("/a", b"/"), ("/a/", b"/a"), ("/a/b/c", b"/a/b")])
def test_a_default_path_is_the_directory_of_the_address(path, directory):
    assert anchored(b"a=1", path) == b"a=1; Path=" + directory


@given(set_cookie_lines())
def test_reading_a_set_cookie_line_never_raises(line):
    name_of(line)
    is_deletion(line, NOW)


@given(cookie_headers())
def test_every_pair_of_a_cookie_header_is_found_whatever_its_neighbours(lines):
    header = b"; ".join([*lines, b"mine=1"])
    assert (b"mine", b"mine=1") in pairs(header)


@given(st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", fullmatch=True))
def test_what_we_delete_is_a_deletion_of_that_name(name):
    line = delete_line(name, path="/x", domain=".example.com")
    assert name_of(line) == name
    assert is_deletion(line, NOW)


@pytest.mark.parametrize(
    ("attributes", "seconds"),
    [
        (b"", None),
        (b"; Max-Age=3600", 3_600),
        (b"; Max-Age=60; Max-Age=120; Expires=Wed, 02 Dec 2026 00:00:00 GMT", 120),
        (b"; Expires=Wed, 02 Dec 2026 00:00:00 GMT", 86_400),
        (b"; Expires=some day; Max-Age=soon", None),
        (b"; Max-Age=99999999999999", 34_560_000),
        (b"; Expires=Thu, 01 Jan 2099 00:00:00 GMT", 34_560_000),
    ],
)
def test_how_long_a_line_lets_its_cookie_last(attributes: bytes, seconds: int | None) -> None:
    assert lasts_seconds(b"a=b" + attributes, datetime(2026, 12, 1, tzinfo=UTC)) == seconds
