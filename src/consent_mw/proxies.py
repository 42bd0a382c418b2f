"""Find the visitor's address, scheme, host and path prefix, from the scope and the proxies that we trust."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from consent_mw.exceptions import ConfigurationError
from consent_mw.system.bounded_cache import remembering

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network

#: The cache of read addresses: `ipaddress.ip_address` costs 5 microseconds, a cached host 0.2.
_REMEMBERED_BYTES = 1 << 20
#: The size of one entry: an address, its text, and the hop that holds it.
_ADDRESS_BYTES = 200
#: The longest written address has 45 characters; with brackets, a port and a zone of an interface still under 128.
_LONGEST_NODE = 128

#: A wider network cannot be one's own proxies: 2000::/3 is the whole public Internet. fc00::/7 is private, and allowed.
_WIDEST = {4: 8, 6: 16}

_LIST_HEADERS = ("x-forwarded-for", "forwarded")
#: Headers that only a proxy writes.
_TELL_TALES = (*_LIST_HEADERS, "x-forwarded-host", "x-forwarded-prefix")
_SINGLE_HEADERS = (
    "cf-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "true-client-ip",
    "x-azure-clientip",
    "x-client-ip",
    "x-envoy-external-address",
    "x-real-ip",
)
#: RFC 9110, section 7.2, without the forms that no browser sends.
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
#: Without "//", which a browser reads as a host, and without dot segments. Letters of every script.
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[\w.~!$&'()*+;=:@-]{1,100}){1,20}")
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"

# RFC 7239, section 6: node = nodename [ ":" node-port ], an IPv6 address in brackets. X-Forwarded-For has no grammar:
# proxies write it with and without brackets and port, so a bare IPv6 address is accepted too. A zone is dropped, since
# it has no meaning on another machine.
_NODE = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+)(?:%[^\]]*)?\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?|([0-9A-Fa-f:.]+)(?:%.*)?",
    re.DOTALL,
)
# RFC 7239, section 4: token "=" ( token / quoted-string ). Colons and brackets outside of quotes are wrong but common.
# The quantifiers are possessive, so that an unclosed quote of 10 kB is read only once.
_PAIR = re.compile(rf'[ \t]*+({_NAME})=(?:([]\[:!#$%&\'*+.^_`|~0-9A-Za-z-]++)|"((?:[^"\\]|\\.)*+)")[ \t]*+', re.DOTALL)
# The look-behind keeps a run of backslashes from being read once for each of them.
_QUOTE = re.compile(r'(?<!\\)(\\*+)"')


class _Hop(NamedTuple):
    """One address of a chain, and whether it is one of our own proxies."""

    address: IPAddress | None  # None: the text is not an address
    ours: bool


class Proxies:
    """
    The proxies between the visitor and this server.

    A forwarding header is trusted only as far as our own proxies wrote it. It is read from the socket peer, hop by hop,
    from right to left. Without arguments no proxy is trusted, and only the socket counts.

    Args:
        trusted: Networks of our own proxies: "10.0.0.0/8", "192.0.2.7", an `ipaddress` network, or "unix" for every
            program that can open our Unix socket.
        header: The header that the proxies write: "x-forwarded-for", "forwarded", or one with a single value, such
            as "x-real-ip" or "cf-connecting-ip". No other header is read.
        hops: Instead of `trusted`: the number of proxies that every request passes, including the socket peer. Use it
            only if nobody can reach an inner proxy directly. If a chain has fewer entries, somebody went around a
            proxy, so only the last entry counts, which the peer wrote.
        protocol_header: The header for the scheme, unless `header` is "forwarded", which carries its own.
        host_header: The header for the host that the visitor asked for, likewise. None: no such header.
        prefix_header: The header for the prefix that the proxies removed from the path. None: no such header.

    Raises:
        ConfigurationError: A network is malformed, everyone would be trusted, or the options contradict each other.
    """

    def __init__(
        self,
        trusted: Sequence[str | IPNetwork] = (),
        *,
        header: str = "x-forwarded-for",
        hops: int | None = None,
        protocol_header: str = "x-forwarded-proto",
        host_header: str | None = "x-forwarded-host",
        prefix_header: str | None = "x-forwarded-prefix",
    ) -> None:
        self._header = _header_name(header, "header", (*_LIST_HEADERS, *_SINGLE_HEADERS))
        self._protocol_header = _header_name(protocol_header, "protocol_header", ("x-forwarded-proto",))
        known = ("x-forwarded-host", "x-forwarded-prefix")
        self._host_header = _header_name(host_header, "host_header", known[:1]) if host_header else b""
        self._prefix_header = _header_name(prefix_header, "prefix_header", known[1:]) if prefix_header else b""
        self._networks, self._unix = _networks(trusted)
        self._hops = _hop_count(hops, bool(trusted), self._header.decode())
        self._configured = bool(trusted) or self._hops > 0
        self._hop = remembering(self._read_hop, _REMEMBERED_BYTES, lambda hop: _ADDRESS_BYTES)

    @property
    def direct(self) -> bool:
        """Whether no proxy is configured, so that only the connection itself counts."""
        return not self._configured

    def address(self, scope: Mapping[str, Any]) -> IPAddress | None:
        """
        Return the visitor's address, or None if there is no trustworthy one (a Unix socket, a test client).

        The socket peer counts unless it is ours. If it is ours, the header is walked from right to left while hops are
        ours. The first hop that is not ours is the visitor. A token that is not an address (`unknown`, `_hidden`, an
        empty one) ends the walk at the last good address. If the chain holds only our own proxies, its first address
        counts. A single-value header that comes twice, or with a comma, counts as malformed. Never raises; linear in
        the length of the header.
        """
        peer = self._peer(scope)
        if not (self._configured and peer.ours):
            return peer.address
        if self._header not in (b"x-forwarded-for", b"forwarded"):
            return self._single(scope) or peer.address
        return self._walk(peer, self._nodes(scope))[0]

    def scheme(self, scope: Mapping[str, Any]) -> str:
        """
        Return the scheme of the visitor's own connection: "https" or "http" (wss counts as https, ws as http).

        A header counts only if the peer is ours. In `Forwarded` the `proto` of one element counts: the element at which
        the walk for the address ends, which is the farthest one that a proxy of ours wrote. In the other headers the
        last element counts, the only one that the visitor certainly did not write. For any value except http, https,
        ws and wss the result is the server's scheme. Never raises.
        """
        own = _plain_scheme(scope.get("scheme")) or "http"
        if not self._configured:
            return own
        peer = self._peer(scope)
        if not peer.ours:
            return own
        if self._header != b"forwarded":
            return _plain_scheme(_joined(scope, self._protocol_header).rpartition(",")[2]) or own
        return _plain_scheme(self._farthest(scope, peer).get("proto")) or own

    def host(self, scope: Mapping[str, Any]) -> str | None:
        """Return the host that the visitor asked for, if a proxy of ours wrote it. Trusted like `scheme`."""
        peer = self._peer(scope)
        if not (self._configured and peer.ours):
            return None
        if self._header == b"forwarded":
            host = self._farthest(scope, peer).get("host", "")
        else:
            host = _joined(scope, self._host_header).rpartition(",")[2] if self._host_header else ""
        return host.strip(" \t") if _HOST.fullmatch(host.strip(" \t")) else None

    def prefix(self, scope: Mapping[str, Any]) -> str:
        """
        Return the prefix that our proxies removed from the path, such as "/shop", without a slash at its end.

        "" if they removed nothing. If several proxies write their prefixes, the outermost comes first. Trusted like
        `scheme`.
        """
        if not (self._configured and self._prefix_header and self._peer(scope).ours):
            return ""
        parts = [part.strip(" \t").rstrip("/") for part in _joined(scope, self._prefix_header).split(",")]
        try:  # decoded like the scope's path: `/caf%C3%A9` is `/café`
            prefix = unquote_to_bytes("".join(parts).encode("latin-1")).decode()
        except UnicodeError:
            return ""
        return prefix if _PREFIX.fullmatch(prefix) else ""

    def _farthest(self, scope: Mapping[str, Any], peer: _Hop) -> dict[str, str]:
        """Return the element of `Forwarded` at which the walk for the address ends."""
        elements = _forwarded(_values(scope, self._header))
        position = self._walk(peer, [pairs.get("for", "") for pairs in elements])[1]
        return elements[position] if elements else {}

    def unnamed(self, scope: Mapping[str, Any]) -> str | None:
        """
        Return the configuration for a proxy that forwards this request and is not configured: `Proxies(["10.0.0.5"])`.

        None if there is no such proxy. A peer counts as one if it has a private address, or is on a Unix socket, and
        sends a header that only a proxy writes. If the header lists the peer itself, the server has already trusted the
        header and replaced the address, so the peer is not a proxy.
        """
        name = next((name for name in _TELL_TALES if _values(scope, name.encode())), None)
        peer = self._peer(scope)
        if name is None or peer.ours:
            return None
        if peer.address is None:
            trusted = "unix" if _is_unix(scope.get("client")) else None
        else:
            trusted = str(peer.address) if not (peer.address.is_global or _names(scope, peer.address)) else None
        header = f', header="{name}"' if name == "forwarded" else ""
        return f'Proxies(["{trusted}"]{header})' if trusted else None

    def _peer(self, scope: Mapping[str, Any]) -> _Hop:
        client = scope.get("client")
        if isinstance(client, list | tuple) and client and isinstance(client[0], str) and client[0]:
            return self._remembered(client[0])
        return _Hop(None, self._hops > 0 or (self._unix and _is_unix(scope.get("client"))))

    def _single(self, scope: Mapping[str, Any]) -> IPAddress | None:
        # Joined, so that a second line adds a comma. Then the text is not an address.
        return self._remembered(_joined(scope, self._header).strip(" \t")).address

    def _nodes(self, scope: Mapping[str, Any]) -> list[str]:
        if self._header == b"forwarded":
            return [pairs.get("for", "") for pairs in _forwarded(_values(scope, self._header))]
        joined = _joined(scope, self._header)
        return joined.split(",") if joined else []

    def _walk(self, peer: _Hop, nodes: Sequence[str]) -> tuple[IPAddress | None, int]:
        """Return the address at which the trust ends, and the position of the last element that was read."""
        last, position = peer.address, len(nodes)
        stop = 0
        if self._hops:
            # A chain with fewer entries than `hops` did not pass all of our proxies: its left part may be invented.
            stop = len(nodes) - self._hops if len(nodes) >= self._hops else max(0, len(nodes) - 1)
        while position > stop:
            position -= 1
            hop = self._remembered(nodes[position].strip(" \t"))
            if hop.address is None:
                break
            last = hop.address
            if not hop.ours:
                break
        return last, min(position, max(0, len(nodes) - 1))

    def _remembered(self, text: str) -> _Hop:
        # A text that is too long for an address must not fill the cache.
        return self._hop(text) if len(text) <= _LONGEST_NODE else self._read_hop(text.partition("%")[0])

    def _read_hop(self, text: str) -> _Hop:
        address = _read_node(text)
        if self._hops:
            return _Hop(address, ours=True)
        return _Hop(address, ours=address is not None and any(address in network for network in self._networks))


def _is_unix(client: object) -> bool:
    """Whether the peer is on a Unix socket. It has no address then: ASGI writes None, and Granian ("", "0")."""
    return client is None or (isinstance(client, list | tuple) and client[:1] in (("",), [""]))


def _read_node(text: str) -> IPAddress | None:
    match = _NODE.fullmatch(text) if len(text) <= _LONGEST_NODE else None
    if match is None:
        return None
    try:
        address = ip_address(match[1] or match[2] or match[3])
    except ValueError:
        return None
    if match[1] and address.version == 4:
        return None  # brackets are for IPv6 (RFC 7239, section 6)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _names(scope: Mapping[str, Any], address: IPAddress) -> bool:
    """Whether a forwarding header of the request lists this address."""
    nodes = _joined(scope, b"x-forwarded-for").split(",")
    nodes += [pairs.get("for", "") for pairs in _forwarded(_values(scope, b"forwarded"))]
    return any(_read_node(node.strip(" \t")) == address for node in nodes)


def _forwarded(lines: Sequence[str]) -> list[dict[str, str]]:
    """Return the elements of the `Forwarded` lines, in order, as parameters by name. A malformed element is empty."""
    return [_pairs(element) for line in lines for element in _split(line)]


def _split(line: str) -> list[str]:
    """
    Return the elements of one line, split at the commas outside of quotes. Quotes are counted from the right.

    Our proxies write at the right and close the quotes that they open. If quotes were counted from the left, an open
    quote from the visitor would swallow what the proxies wrote, and hide the visitor behind the proxy.
    """
    if '"' not in line:
        return line.split(",")
    quotes = [match.end() - 1 for match in _QUOTE.finditer(line) if len(match[1]) % 2 == 0]
    parts = _cut(line, quotes)
    parts[-2::-2] = [part.replace(",", ".") for part in parts[-2::-2]]
    commas = [i for i, character in enumerate('"'.join(parts)) if character == ","]
    return _cut(line, commas)


def _cut(line: str, positions: Sequence[int]) -> list[str]:
    return [line[left + 1 : right] for left, right in pairwise([-1, *positions, len(line)])]


def _pairs(element: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    position = 0
    while position <= len(element):
        pair = _PAIR.match(element, position)
        if pair is None or pair[1].lower() in pairs or element[pair.end() : pair.end() + 1] not in ("", ";"):
            return {}  # malformed, or a parameter was given twice (RFC 7239, section 4)
        pairs[pair[1].lower()] = pair[2] or re.sub(r"\\(.)", r"\1", pair[3] or "", flags=re.DOTALL)
        position = pair.end() + 1
    return pairs


def _values(scope: Mapping[str, Any], name: bytes) -> list[str]:
    try:
        return [str(value, "latin-1") for key, value in scope.get("headers") or () if key == name]
    except (TypeError, ValueError):
        return []  # not a header list as ASGI defines it


def _joined(scope: Mapping[str, Any], name: bytes) -> str:
    # RFC 9110, section 5.3: lines with the same name form one list, in order.
    return ",".join(_values(scope, name))


def _plain_scheme(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    return {"https": "https", "wss": "https", "http": "http", "ws": "http"}.get(value.strip(" \t").lower())


def _header_name(name: str, option: str, known: Sequence[str]) -> bytes:
    lowered = name.lower() if isinstance(name, str) else ""  # pyright: ignore[reportUnnecessaryIsInstance] - as below
    if not re.fullmatch(_NAME, lowered):
        raise ConfigurationError(f'{option}={name!r} is no header name; write for example "{known[0]}"')
    near = get_close_matches(lowered, known, n=1, cutoff=0.85)
    if near and lowered not in known:
        raise ConfigurationError(f'{option}={name!r} is not known; did you mean "{near[0]}"?')
    return lowered.encode("ascii")


def _hop_count(hops: int | None, networks: bool, header: str) -> int:
    if hops is None:
        return 0
    if networks:
        raise ConfigurationError("hops= and trusted= exclude each other; name the networks and drop hops=")
    if isinstance(hops, bool) or not isinstance(hops, int) or hops < 1:  # pyright: ignore[reportUnnecessaryIsInstance] - options come from untyped code too
        raise ConfigurationError(
            f"hops={hops!r} is no count of proxies; write 1 for one proxy, or leave it out for none"
        )
    if hops > 1 and header not in _LIST_HEADERS:
        raise ConfigurationError(f'hops={hops} needs a header that lists hops; "{header}" has one value: write hops=1')
    return hops


def _networks(trusted: Sequence[str | IPNetwork]) -> tuple[tuple[IPNetwork, ...], bool]:
    """Return the networks, with mapped IPv6 ones as IPv4, and whether the Unix socket is trusted."""
    if isinstance(trusted, str):
        raise ConfigurationError(f"trusted={trusted!r} is one string; write a list: trusted=[{trusted!r}]")
    if not isinstance(trusted, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
        raise ConfigurationError(f'trusted={trusted!r} is no list; write for example trusted=["10.0.0.0/8"]')
    networks = [_network(item, f"trusted[{i}]") for i, item in enumerate(trusted) if item != "unix"]
    v4 = [*collapse_addresses(network for network in networks if isinstance(network, IPv4Network))]
    v6 = [*collapse_addresses(network for network in networks if isinstance(network, IPv6Network))]
    # Check the collapsed networks, so that two halves of the world are found too.
    together: tuple[IPNetwork, ...] = (*v4, *v6)
    for network in together:
        if network.prefixlen < _WIDEST[network.version] and not network.is_private:
            raise ConfigurationError(
                f"trusted= covers {network}, so almost any visitor could claim any address; name the networks of your "
                "proxies"
            )
    return together, "unix" in trusted


def _network(item: str | IPNetwork, place: str) -> IPNetwork:
    if item == "*":
        raise ConfigurationError(f'{place} "*" would trust everyone; name the networks of your proxies')
    if not isinstance(item, str | IPv4Network | IPv6Network):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
        raise ConfigurationError(f'{place} {item!r} is no network; write it as a string such as "10.0.0.0/8"')
    try:
        network = ip_network(item)
    except ValueError as error:
        raise ConfigurationError(f"{place} {item!r} is no network: {_mend(item)}") from error
    # Addresses are unmapped before they are compared, so networks must be unmapped too.
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        return IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


def _mend(item: str | IPNetwork) -> str:
    try:
        return f'it has host bits set; did you mean "{ip_network(item, strict=False)}"?'
    except ValueError:
        near = get_close_matches(str(item).lower(), ["unix"], n=1)
        return f'did you mean "{near[0]}"?' if near else 'write an address or a network such as "10.0.0.0/8"'
