"""Which URLs may be fetched: https everywhere, plain http from this machine alone and only where that was allowed.

This module never resolves a name and never connects.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

_LONGEST_URL = 2048


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
