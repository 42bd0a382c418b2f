"""Who is asking for what: the scope and the proxies that we trust in, the visitor's address and scheme out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
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
from socket import AF_INET, inet_ntoa, inet_pton
from typing import Any, NamedTuple, TypeAlias

from consent_mw.exceptions import ConfigurationError
from consent_mw.system.bounded_cache import remembering

__all__ = ["IPAddress", "IPNetwork", "Proxies", "mask", "masked_ipv4"]

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network

#: `ipaddress.ip_address` costs 5 microseconds, a remembered host 0.2.
_REMEMBERED_BYTES = 1 << 20
#: An address beside its text, with the hop that holds it.
_ADDRESS_BYTES = 200
#: What is remembered of a mask is two numbers and a text of 20 letters at most: half a mebibyte together.
_REMEMBERED_MASKS = 2048
#: The longest written address has 45 characters; with brackets, a port and a zone of an interface still under 128.
_LONGEST_NODE = 128

#: A wider network is none of anybody's proxies: 2000::/3 is the whole public Internet. fc00::/7 is private, and may be.
_WIDEST = {4: 8, 6: 16}

_LIST_HEADERS = ("x-forwarded-for", "forwarded")
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
#: RFC 9110, section 7.2, without what no browser sends.
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
#: Never "//", which a browser reads as a host, nor a dot segment.
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+;=:@-]{1,100}){1,20}")
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"

# RFC 7239, section 6: node = nodename [ ":" node-port ], an IPv6 address in brackets. X-Forwarded-For has no grammar
# and is written with and without both, so a bare IPv6 address is taken too. A zone means nothing elsewhere.
_NODE = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+)(?:%[^\]]*)?\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?|([0-9A-Fa-f:.]+)(?:%.*)?",
    re.DOTALL,
)
# RFC 7239, section 4: token "=" ( token / quoted-string ). Colons and brackets outside of quotes are wrong but common.
# Possessive, so that an unclosed quote of 10 kB is read once.
_PAIR = re.compile(rf'[ \t]*+({_NAME})=(?:([]\[:!#$%&\'*+.^_`|~0-9A-Za-z-]++)|"((?:[^"\\]|\\.)*+)")[ \t]*+', re.DOTALL)
# The look-behind keeps a run of backslashes from being read once for each of them.
_QUOTE = re.compile(r'(?<!\\)(\\*+)"')


class _Hop(NamedTuple):
    """One address of a chain, and whether it is one of our own proxies."""

    address: IPAddress | None  # None: no address at all
    ours: bool


class Proxies:
    """
    The one description of who stands between the visitor and this server.

    A header that says where a request comes from is believed only as far as our own proxies wrote it: from the socket
    peer, hop by hop, from right to left. Without an argument nobody is trusted and the socket alone counts.

    Args:
        trusted: Networks of our own proxies: "10.0.0.0/8", "192.0.2.7", an `ipaddress` network, or "unix" for whoever
            can open our Unix socket.
        header: The one header that the proxies write: "x-forwarded-for", "forwarded", or one with a single value, such
            as "x-real-ip" or "cf-connecting-ip". No other is read.
        hops: Instead of `trusted`: how many proxies every request passes, the socket peer included. Right only where
            nobody can reach an inner proxy directly. Of a chain with fewer entries only the last is believed, which
            the peer wrote: somebody went around a proxy.
        protocol_header: Where the proxies write the scheme, unless `header` is "forwarded", which carries its own.
        host_header: Where they write the host that the visitor asked for, likewise; None: nowhere.
        prefix_header: Where they write what they took off the beginning of the path; None: nowhere.

    Raises:
        ConfigurationError: A network is malformed or everyone would be trusted, or the options contradict each other.
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
        """Whether nothing stands in front of the server, so that only the connection itself counts."""
        return not self._configured

    def address(self, scope: Mapping[str, Any]) -> IPAddress | None:
        """
        Return the visitor's address, or None where nobody vouches for one (a Unix socket, a test client).

        The socket peer counts unless it is ours. If it is, the header is walked from right to left while hops are ours;
        the first that is not is the visitor. A token that is no address (`unknown`, `_hidden`, an empty one) ends
        the walk at the last good address; a chain of our own proxies only gives its first. A single-value header that
        comes twice, or with a comma, counts as malformed. Never raises; linear in the length of the header.
        """
        peer = self._peer(scope)
        if not (self._configured and peer.ours):
            return peer.address
        if self._header not in (b"x-forwarded-for", b"forwarded"):
            return self._single(scope) or peer.address
        return self._walk(peer, self._nodes(scope))[0]

    def scheme(self, scope: Mapping[str, Any]) -> str:
        """
        Return "https" or "http": how the visitor's own connection came in (wss counts as https, ws as http).

        Believed only from a peer that is ours. Of `Forwarded` it is the `proto` of the element at which the walk for
        the address ends, the farthest one that a proxy of ours wrote; of the other headers the last element, the only
        one that certainly is not the visitor's own. Anything else than http, https, ws and wss leaves the
        server's scheme. Never raises.
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
        """Return the host that the visitor asked for, where a proxy of ours says it; believed as `scheme` is."""
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
        Return what proxies of ours took off the beginning of the path, "" for nothing; "/shop", without a slash at its
        end. Several of them write theirs one after the other, the outermost first. Believed as `scheme` is.
        """
        if not (self._configured and self._prefix_header and self._peer(scope).ours):
            return ""
        parts = [part.strip(" \t").rstrip("/") for part in _joined(scope, self._prefix_header).split(",")]
        prefix = "".join(parts)
        return prefix if _PREFIX.fullmatch(prefix) else ""

    def _farthest(self, scope: Mapping[str, Any], peer: _Hop) -> dict[str, str]:
        """Return the element of `Forwarded` at which the walk for the address ends."""
        elements = _forwarded(_values(scope, self._header))
        position = self._walk(peer, [pairs.get("for", "") for pairs in elements])[1]
        return elements[position] if elements else {}

    def unnamed(self, scope: Mapping[str, Any]) -> str | None:
        """
        Return what to write for a proxy that forwards this request and was not named: `Proxies(["10.0.0.5"])`. None
        where there is none.

        A peer with a private address, or on a Unix socket, that says for whom it forwards is one. Where the server has
        believed it already, the peer is one of those that it names.
        """
        name = next((name for name in _LIST_HEADERS if _values(scope, name.encode())), None)
        peer = self._peer(scope)
        if name is None or peer.ours:
            return None
        if peer.address is None:
            trusted = "unix" if _is_unix(scope.get("client")) else None
        else:
            trusted = str(peer.address) if not (peer.address.is_global or _names(scope, peer.address)) else None
        header = f', header="{name}"' if name != _LIST_HEADERS[0] else ""
        return f'Proxies(["{trusted}"]{header})' if trusted else None

    def _peer(self, scope: Mapping[str, Any]) -> _Hop:
        client = scope.get("client")
        if isinstance(client, list | tuple) and client and isinstance(client[0], str) and client[0]:
            return self._remembered(client[0])
        return _Hop(None, self._hops > 0 or (self._unix and _is_unix(scope.get("client"))))

    def _single(self, scope: Mapping[str, Any]) -> IPAddress | None:
        # Joined: a second line leaves a comma, and with it no address.
        return self._remembered(_joined(scope, self._header).strip(" \t")).address

    def _nodes(self, scope: Mapping[str, Any]) -> list[str]:
        if self._header == b"forwarded":
            return [pairs.get("for", "") for pairs in _forwarded(_values(scope, self._header))]
        joined = _joined(scope, self._header)
        return joined.split(",") if joined else []

    def _walk(self, peer: _Hop, nodes: Sequence[str]) -> tuple[IPAddress | None, int]:
        """Return the address at which the trust ends, and the position of the last element that was looked at."""
        last, position = peer.address, len(nodes)
        stop = 0
        if self._hops:
            # A shorter chain than every request has did not pass all of our proxies: what stands left may be invented.
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
        # What is too long for an address must not fill the memory either.
        return self._hop(text) if len(text) <= _LONGEST_NODE else self._read_hop(text.partition("%")[0])

    def _read_hop(self, text: str) -> _Hop:
        address = _read_node(text)
        if self._hops:
            return _Hop(address, ours=True)
        return _Hop(address, ours=address is not None and any(address in network for network in self._networks))


def mask(address: IPAddress) -> str:
    """
    Return the network that the address belongs to, written as its first address: "203.0.113.0", "2001:db8:1::".

    IPv4 keeps 24 bits and IPv6 keeps 48. A 6to4 address (RFC 3056) holds a whole IPv4 address in its first 48 bits, so
    it keeps 40, which is 24 of the IPv4 address. The mask of a mask is itself.
    """
    return _mask(int(address), address.version)


def masked_ipv4(text: str) -> str | None:
    """
    Return the mask of an IPv4 address; None for anything else, IPv6 included. Two calls of the system's library, a
    tenth of what `mask` takes of an address that is met for the first time, and less than to remember it.
    """
    try:
        return inet_ntoa(inet_pton(AF_INET, text)[:3] + b"\0")
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=_REMEMBERED_MASKS)
def _mask(number: int, version: int) -> str:
    if version == 4:
        return str(IPv4Address(number >> 8 << 8))
    mapped = IPv6Address(number).ipv4_mapped
    if mapped is not None:
        return mask(mapped)
    dropped = 88 if number >> 112 == 0x2002 else 80
    return str(IPv6Address(number >> dropped << dropped))


def _is_unix(client: object) -> bool:
    """Whether the peer came by a Unix socket: it has no address, which ASGI writes as None and Granian as ("", "0")."""
    return client is None or (isinstance(client, list | tuple) and client[:1] in (("",), [""]))


def _read_node(text: str) -> IPAddress | None:
    found = _NODE.fullmatch(text) if len(text) <= _LONGEST_NODE else None
    if found is None:
        return None
    try:
        address = ip_address(found[1] or found[2] or found[3])
    except ValueError:
        return None
    if found[1] and address.version == 4:
        return None  # brackets are for IPv6 (RFC 7239, section 6)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _names(scope: Mapping[str, Any], address: IPAddress) -> bool:
    """Whether a header of the request names this address as one that it was forwarded for."""
    nodes = _joined(scope, b"x-forwarded-for").split(",")
    nodes += [pairs.get("for", "") for pairs in _forwarded(_values(scope, b"forwarded"))]
    return any(_read_node(node.strip(" \t")) == address for node in nodes)


def _forwarded(lines: Sequence[str]) -> list[dict[str, str]]:
    """Return the elements of the `Forwarded` lines, in order, as parameters by name; a malformed one is empty."""
    return [_pairs(element) for line in lines for element in _split(line)]


def _split(line: str) -> list[str]:
    """
    Return the elements of one line, parted by the commas outside of quotes, the quotes counted from the right.

    Our proxies write at the right and close what they open; counted from the left, a quote that the visitor left
    open would swallow what they wrote, and hide the visitor behind the proxy.
    """
    if '"' not in line:
        return line.split(",")
    quotes = [found.end() - 1 for found in _QUOTE.finditer(line) if len(found[1]) % 2 == 0]
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
            return {}  # among them a parameter given twice (RFC 7239, section 4)
        pairs[pair[1].lower()] = pair[2] or re.sub(r"\\(.)", r"\1", pair[3] or "", flags=re.DOTALL)
        position = pair.end() + 1
    return pairs


def _values(scope: Mapping[str, Any], name: bytes) -> list[str]:
    try:
        return [str(value, "latin-1") for key, value in scope.get("headers") or () if key == name]
    except (TypeError, ValueError):
        return []  # no header list as ASGI has it


def _joined(scope: Mapping[str, Any], name: bytes) -> str:
    # RFC 9110, section 5.3: lines of one name are one list, in order.
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
    """Return the networks, mapped IPv6 ones as IPv4, and whether the Unix socket is trusted."""
    if isinstance(trusted, str):
        raise ConfigurationError(f"trusted={trusted!r} is one string; write a list: trusted=[{trusted!r}]")
    if not isinstance(trusted, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
        raise ConfigurationError(f'trusted={trusted!r} is no list; write for example trusted=["10.0.0.0/8"]')
    networks = [_network(item, f"trusted[{i}]") for i, item in enumerate(trusted) if item != "unix"]
    v4 = [*collapse_addresses(network for network in networks if isinstance(network, IPv4Network))]
    v6 = [*collapse_addresses(network for network in networks if isinstance(network, IPv6Network))]
    # Together, so that two halves of the world are seen as well.
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
    # The addresses are unmapped before they are compared, so the networks have to be too.
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        return IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


def _mend(item: str | IPNetwork) -> str:
    try:
        return f'it has host bits set; did you mean "{ip_network(item, strict=False)}"?'
    except ValueError:
        near = get_close_matches(str(item).lower(), ["unix"], n=1)
        return f'did you mean "{near[0]}"?' if near else 'write an address or a network such as "10.0.0.0/8"'
