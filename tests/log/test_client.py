"""The visitor's address: what a proxy of ours wrote is believed, and nothing else."""

import subprocess
import sys
import tracemalloc
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_mw.exceptions import ConfigurationError
from consent_mw.log.masking import mask
from consent_mw.proxies import Proxies
from consent_mw.testing import strategies

OURS = ["10.0.0.0/8", "2001:db8:ffff::/48", "unix"]


def scope(peer: str | None, *lines: str, name: str = "x-forwarded-for", **more: Any) -> dict[str, Any]:
    client = None if peer is None else (peer, 4711)
    return {
        "type": "http",
        "client": client,
        "headers": [(name.encode(), line.encode("latin-1")) for line in lines],
        **more,
    }


def seen(peer: str | None, *lines: str, name: str = "x-forwarded-for", hops: int | None = None) -> str | None:
    proxies = Proxies(() if hops else OURS, header=name, hops=hops)
    address = proxies.address(scope(peer, *lines, name=name))
    return None if address is None else str(address)


@pytest.mark.parametrize(
    ("peer", "lines", "expected"),
    [
        ("198.51.100.9", ["203.0.113.9"], "198.51.100.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.9, _hidden"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6,"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["[203.0.113.9]"], "10.0.0.1"),
        ("10.0.0.1", ["fe80::1%\x1b[2J"], "fe80::1"),
        ("10.0.0.1", ["01.02.03.04"], "10.0.0.1"),
        ("10.0.0.1", ["1" * 10_000], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("2001:db8:ffff::5", ["203.0.113.9"], "203.0.113.9"),
        ("fe80::1%" + "z" * 100_000, ["203.0.113.9"], "fe80::1"),
        (None, ["203.0.113.9"], "203.0.113.9"),
        (None, ["unknown"], None),
        ("testclient", ["203.0.113.9"], None),
        ("\ud800", ["203.0.113.9"], None),
    ],
)
def test_x_forwarded_for_is_believed_from_right_to_left(peer, lines, expected):
    assert seen(peer, *lines) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["for=203.0.113.9"], "203.0.113.9"),
        (['For="[2001:db8::1]:4711";proto=https;by=_us'], "2001:db8::1"),
        (['for="203.0.113.9:_port"'], "203.0.113.9"),
        (['for="203.0.\\113.9"'], "203.0.113.9"),
        (["for=6.6.6.6, for=203.0.113.9, for=10.0.0.2"], "203.0.113.9"),
        (["for=6.6.6.6, for=203.0.113.9", "for=10.0.0.2"], "203.0.113.9"),
        (["for=203.0.113.9, for=unknown"], "10.0.0.1"),
        (["for=203.0.113.9, proto=https"], "10.0.0.1"),
        (["for=6.6.6.6;for=203.0.113.9"], "10.0.0.1"),
        (['for=6.6.6.6;x=", for=203.0.113.9'], "203.0.113.9"),
        (['for=6.6.6.6;x=", for="203.0.113.9"'], "203.0.113.9"),
        (["for=, for=203.0.113.9"], "203.0.113.9"),
        (['for="203.0.113.9";by="a\\\\", for=10.0.0.2'], "203.0.113.9"),
        (["\\" * 10_000 + '"'], "10.0.0.1"),
        (['for=6.6.6.6;x="', "for=203.0.113.9"], "203.0.113.9"),
        (['for="6.6.6.6, for=10.0.0.2"'], "10.0.0.1"),
        (["for=1.1.1.1 for=2.2.2.2"], "10.0.0.1"),
        (["203.0.113.9"], "10.0.0.1"),
    ],
)
def test_forwarded_is_read_by_its_grammar(lines, expected):
    assert seen("10.0.0.1", *lines, name="forwarded") == expected


def test_a_single_value_header_counts_only_from_our_proxy_and_only_once():
    assert seen("10.0.0.1", "203.0.113.9", name="x-real-ip") == "203.0.113.9"
    assert seen("198.51.100.9", "203.0.113.9", name="x-real-ip") == "198.51.100.9"
    assert seen("10.0.0.1", "203.0.113.9", "6.6.6.6", name="x-real-ip") == "10.0.0.1"
    assert seen("10.0.0.1", "203.0.113.9, 6.6.6.6", name="x-real-ip") == "10.0.0.1"


def test_a_hop_count_counts_from_the_right():
    assert seen("198.51.100.9", "6.6.6.6, 203.0.113.9", hops=1) == "203.0.113.9"
    assert seen("198.51.100.9", "6.6.6.6, 203.0.113.9, 192.0.2.4", hops=2) == "203.0.113.9"
    assert seen("198.51.100.9", "203.0.113.9", hops=3) == "203.0.113.9"
    assert seen("198.51.100.9", "6.6.6.6, 203.0.113.9", hops=3) == "203.0.113.9"  # who went around our outer proxy
    assert seen("198.51.100.9", hops=3) == "198.51.100.9"
    assert seen("198.51.100.9", "203.0.113.9, unknown", hops=2) == "198.51.100.9"
    assert seen(None, "203.0.113.9", hops=1) == "203.0.113.9"


def test_nobody_is_trusted_unless_named():
    assert Proxies().address(scope("10.0.0.1", "203.0.113.9")) == IPv4Address("10.0.0.1")
    assert Proxies().scheme({**scope("10.0.0.1", "https", name="x-forwarded-proto"), "scheme": "http"}) == "http"
    assert Proxies(["10.0.0.0/8"]).address(scope(None, "203.0.113.9")) is None


def test_a_thousand_hops_of_ours_are_walked_to_the_first():
    assert seen("10.0.0.1", "203.0.113.9," + ",".join(["10.0.0.2"] * 1000)) == "203.0.113.9"


@pytest.mark.parametrize(
    ("peer", "own", "lines", "name", "expected"),
    [
        ("10.0.0.1", "http", ["https"], "x-forwarded-for", "https"),
        ("10.0.0.1", "ws", ["wss"], "x-forwarded-for", "https"),
        ("10.0.0.1", "https", ["HTTP"], "x-forwarded-for", "http"),
        ("10.0.0.1", "http", ["https, http"], "x-forwarded-for", "http"),
        ("10.0.0.1", "wss", ["gopher"], "x-forwarded-for", "https"),
        ("198.51.100.9", "http", ["https"], "x-forwarded-for", "http"),
        ("10.0.0.1", "http", ["for=203.0.113.9;proto=https, for=10.0.0.2;proto=http"], "forwarded", "https"),
        ("10.0.0.1", "http", ["for=6.6.6.6;proto=https, for=203.0.113.9;proto=http"], "forwarded", "http"),
        ("10.0.0.1", "http", ["for=unknown;proto=https"], "forwarded", "https"),
        ("198.51.100.9", "http", ["for=203.0.113.9;proto=https"], "forwarded", "http"),
        ("10.0.0.1", "https", [], "forwarded", "https"),
    ],
)
def test_the_scheme_is_believed_only_where_a_proxy_of_ours_wrote_it(peer, own, lines, name, expected):
    carrier = "forwarded" if name == "forwarded" else "x-forwarded-proto"
    assert Proxies(OURS, header=name).scheme(scope(peer, *lines, name=carrier, scheme=own)) == expected


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        ({"trusted": ["0.0.0.0/0"]}, "name the networks of your proxies"),
        ({"trusted": ["::/0"]}, "name the networks of your proxies"),
        ({"trusted": ["*"]}, "name the networks of your proxies"),
        ({"trusted": ["0.0.0.0/1", "128.0.0.0/1"]}, "name the networks of your proxies"),
        ({"trusted": ["::ffff:0:0/96"]}, "name the networks of your proxies"),
        ({"trusted": ["10.0.0.0/8", "128.0.0.0/1"]}, "trusted= covers 128.0.0.0/1"),
        ({"trusted": ["2000::/3"]}, "trusted= covers 2000::/3"),
        ({"trusted": None}, "write for example trusted="),
        ({"header": None}, "no header name"),
        (
            {"trusted": ["10.0.0.1/8"]},
            "trusted[0] '10.0.0.1/8' is no network: it has host bits set; did you mean \"10.0.0.0/8\"?",
        ),
        ({"trusted": ["10.0.0.0/8", "nginx"]}, "trusted[1]"),
        ({"trusted": ["unx"]}, 'did you mean "unix"?'),
        ({"trusted": [10]}, "write it as a string"),
        ({"trusted": "10.0.0.0/8"}, "write a list"),
        ({"trusted": ["10.0.0.0/8"], "hops": 1}, "exclude each other"),
        ({"hops": 0}, "write 1"),
        ({"hops": True}, "write 1"),
        ({"hops": 2, "header": "x-real-ip"}, "write hops=1"),
        ({"header": "x-forwared-for"}, 'did you mean "x-forwarded-for"?'),
        ({"header": "x forwarded"}, "no header name"),
        ({"protocol_header": "x-forward-proto"}, 'did you mean "x-forwarded-proto"?'),
    ],
)
def test_a_wrong_setting_is_refused_with_its_fix(arguments, fix):
    with pytest.raises(ConfigurationError) as caught:
        Proxies(**arguments)
    assert fix in str(caught.value)


def test_a_private_network_may_be_wide():
    assert str(Proxies(["fc00::/7"]).address(scope("fd00::1", "203.0.113.9"))) == "203.0.113.9"


def test_networks_may_be_objects_and_mapped():
    proxies = Proxies([ip_network("10.0.0.0/8"), "::ffff:192.0.2.0/120"], header="X-Forwarded-For")
    assert str(proxies.address(scope("192.0.2.7", "203.0.113.9, 10.0.0.2"))) == "203.0.113.9"


@given(
    strategies.http_scopes() | strategies.websocket_scopes(),
    st.sampled_from(["x-forwarded-for", "forwarded", "x-real-ip"]),
)
def test_no_scope_raises(hostile, header):
    for proxies in (Proxies(), Proxies(OURS, header=header), Proxies(hops=1, header=header)):
        address = proxies.address(hostile)
        assert address is None or ip_address(str(address)) == address
        assert proxies.scheme(hostile) in ("http", "https")


@pytest.mark.parametrize("client", [None, (), [], ("",), (None, 1), 5, "10.0.0.1", (b"10.0.0.1", 1)])
@pytest.mark.parametrize("headers", [None, [], [()], [(b"x-forwarded-for", "text")], 7, [(b"x-forwarded-for", None)]])
def test_a_scope_that_no_server_makes_does_not_raise_either(client, headers):
    broken = {"client": client, "headers": headers, "scheme": 5}
    assert Proxies(OURS).scheme(broken) == "http"
    assert Proxies(OURS).address(broken) is None
    assert Proxies().address({}) is None


ours = st.integers(1, 254).map(lambda last: f"10.0.0.{last}")
foreign = (
    strategies.addresses()
    .map(lambda a: str(getattr(a, "ipv4_mapped", None) or a))
    .filter(lambda t: not t.startswith("10."))
)
asserted = foreign | ours | st.sampled_from(["unknown", "", '"', '6.6.6.6;x="', "\x00"])


@given(
    st.lists(asserted, max_size=5),
    foreign,
    st.lists(ours, max_size=3),
    ours,
    st.sampled_from(["x-forwarded-for", "forwarded"]),
)
def test_the_address_is_what_our_outermost_proxy_saw_whatever_the_visitor_wrote_before(
    forged, visitor, inner, peer, name
):
    """The law: visitor -> our proxies, each appends whom it saw. What stands left changes nothing."""
    write = (lambda node: f'for="{node}"') if name == "forwarded" else str
    honest = ", ".join(map(write, [visitor, *inner]))
    claimed = ", ".join(f"for={node}" if name == "forwarded" else node for node in forged)
    in_one_line = seen(peer, ", ".join(filter(None, [claimed, honest])), name=name)
    in_two_lines = seen(peer, *filter(None, [claimed, honest]), name=name)
    assert in_two_lines == visitor
    assert in_one_line == visitor


garbage = st.text(st.characters(max_codepoint=255), max_size=40) | st.text('",;=\\ \tfor[]:.10%_', max_size=60)


@settings(max_examples=500, deadline=None)
@given(garbage, foreign, st.lists(ours, max_size=2), st.integers(0, 3))
def test_no_text_that_a_visitor_puts_before_changes_what_our_proxies_wrote(before, visitor, inner, style):
    quoted = [f"[{node}]" if ":" in node else node for node in (visitor, *inner)]
    written = ('for="{}"', 'proto=https;for="{}:4711"', 'For="{}" ; host="a,b\\"c;for=6.6.6.6"', 'by="x\\\\";for="{}"')
    line = f"{before},{','.join(map(written[style].format, quoted))}"
    assert seen("10.0.0.1", line, name="forwarded") == visitor
    assert seen("10.0.0.1", f"{before},{','.join([visitor, *inner])}") == visitor


@given(strategies.forwarded_headers(), foreign)
def test_a_peer_that_is_not_ours_cannot_assert_anything(headers, peer):
    for name in ("x-forwarded-for", "forwarded", "x-real-ip"):
        assert str(Proxies(OURS, header=name).address({"client": (peer, 1), "headers": headers})) == str(
            ip_address(peer)
        )


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("2002:cb00:714d::1", "2002:cb00:7100::"),
    ],
)
def test_a_mask_is_the_network(address, expected):
    assert mask(ip_address(address)) == expected


@given(strategies.addresses())
def test_a_mask_of_a_mask_is_itself(address):
    assert mask(ip_address(mask(address))) == mask(address)


def test_the_memory_of_hosts_is_bounded():
    proxies = Proxies()
    for number in range(10_000):
        proxies.address({"client": (str(IPv4Address(number)), 1)})
    tracemalloc.start()
    for number in range(10_000, 20_000):
        proxies.address({"client": (str(IPv4Address(number)), 1)})
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_500_000


def test_importing_it_loads_no_agent_parser():
    script = (
        "import sys, consent_mw.proxies, consent_mw.log.user_agents;"
        "print({'user_agents', 'ua_parser'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "set()\n"
    )


@pytest.mark.parametrize("client", [None, ("", "0"), ["", 0]])
def test_a_peer_without_an_address_came_by_a_unix_socket(client):
    forwarded = {"scheme": "http", "headers": [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")]}
    named = Proxies(["unix"])
    assert str(named.address({**forwarded, "client": client})) == "203.0.113.9"
    assert named.scheme({**forwarded, "client": client}) == "https"
    assert Proxies().unnamed({**forwarded, "client": client}) == 'Proxies(["unix"])'
    assert Proxies(["10.0.0.0/8"]).address({**forwarded, "client": client}) is None
