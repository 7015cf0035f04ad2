"""Which URLs may be fetched, and which addresses their hosts may have.

https everywhere, plain http from this machine alone and only where that was allowed. A host that resolves to this
machine, to a private network or to a cloud's metadata service is not asked, whatever its name: a provider's URL comes
from people who might want to see what the gateway sees. This module never resolves a name and never connects.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_METADATA: Final = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "168.63.129.16", "100.100.100.200",
                                                        "192.0.0.192", "fd00:ec2::254")))  # fmt: skip
"""AWS, Google and others; Azure; Alibaba; Oracle; AWS over IPv6. One of them is a public address."""

_NAT64: Final = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48")))
_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")
_CLOSED: Final[tuple[Network, ...]] = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv6Network("fec0::/10"))
"""Special addresses that some versions of Python take for public ones (RFC 6890, RFC 3879)."""

_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")

_LONGEST_URL: Final = 2048


def split_address(url: str) -> SplitResult | None:
    """The parts of an absolute http(s) URL; None where ``url`` is none, or carries a user, password or fragment."""
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port  # a port that is no number raises here
    except ValueError:
        return None
    if parts.scheme not in {"https", "http"} or not parts.hostname or "@" in parts.netloc or "#" in url:
        return None
    return parts


def is_loopback(host: str) -> bool:
    """Whether ``host`` is ``localhost`` or a loopback address literal. Other names could resolve to anything."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def why_unfetchable(url: str, *, allow_insecure_loopback: bool) -> str | None:
    """A clause that says why ``url`` may not be fetched, such as "it is plain http"; None where it may."""
    parts = split_address(url)
    if parts is None:
        return "it is not an absolute https URL without user name, password and fragment"
    if parts.scheme == "https":
        return None
    if not is_loopback(parts.hostname or ""):
        return "it is plain http, over which anyone on the way could put his own keys"
    if not allow_insecure_loopback:
        return "it is plain http, which is allowed from loopback addresses only and only in development"
    return None


def read_network(text: str) -> Network | None:
    """The network in ``text``, such as 10.0.0.0/8 or one address; None where it is none."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def why_unreachable(address: str, *, allow_loopback: bool, networks: Sequence[Network] = ()) -> str | None:
    """A clause that says why the address of a host may not be connected to; None where it may.

    ``networks`` are private ones that are allowed; link-local and metadata addresses never are. An IPv6 address that
    stands for an IPv4 address is judged as that one, too.
    """
    try:
        given = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "it is not an IP address"
    for one in _meanings(given):
        reason = _why_closed(one, allow_loopback, networks)
        if reason:
            return reason
    return None


def _why_closed(address: Address, allow_loopback: bool, networks: Sequence[Network]) -> str | None:
    if address in _METADATA or address.is_link_local:
        return "it is a link-local or metadata address"
    if address.is_unspecified or address.is_multicast or address == _BROADCAST:
        return "it is no address of a single host"
    if address.is_loopback:
        return None if allow_loopback else "it is this machine itself, which is asked in development only"
    is_public = address.is_global and not any(address in network for network in _CLOSED)
    if is_public or any(address in network for network in networks):
        return None
    return "it is private, and not in issuer_networks"


def _meanings(address: Address) -> list[Address]:
    """The address, or the IPv4 addresses that an IPv6 address leads to by translation or tunnel."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return [*address.teredo]
    if any(address in network for network in _NAT64):
        return [last]
    if address in _COMPATIBLE and not address.is_loopback and not address.is_unspecified:
        return [last]
    return [address]
