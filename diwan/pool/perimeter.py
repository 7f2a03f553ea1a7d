"""Where an engine may be: inside the perimeter, or outside at an address that operator and ministry both name.

Inside is loopback, the private networks, and what the registry lists. Outside an engine is refused when the pool worker
starts unless the registry lists it under `outside`, and for each call unless the ministry's own policy names it for the
procedure's class of data (activities/egress.py). Names are looked at again whenever they are resolved.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from diwan.domain.errors import InvalidInput, Refused, Unavailable

_ALWAYS = tuple(
    map(ip_network, ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
)


def network_or_name(text: str) -> IPv4Network | IPv6Network | str:
    """A network, or the name of a host in lower case. Raises ValueError for anything else."""
    try:
        return ip_network(text)
    except ValueError:
        labels = text.rstrip(".").split(".")
        if not all(label and label.replace("-", "").isalnum() and label.isascii() for label in labels):
            raise ValueError(f"{text} is neither a network (10.0.0.0/8) nor the name of a host") from None
        if labels[-1].isdigit():
            raise ValueError(f"{text} is no network: bits beyond its mask are set, or a part is missing") from None
        return text.lower().rstrip(".")


class Perimeter:
    """`listed`: networks and names of hosts that are inside beside loopback and the private networks."""

    def __init__(self, listed: Iterable[str] = ()) -> None:
        found = [network_or_name(each) for each in listed]
        self._names = frozenset(each for each in found if isinstance(each, str))
        self._networks = (*_ALWAYS, *(each for each in found if not isinstance(each, str)))

    def holds(self, host: str, address: str) -> bool:
        """Whether `address`, to which `host` was resolved, is inside."""
        if host.lower().rstrip(".") in self._names:
            return True
        known = ip_address(address.partition("%")[0])
        known = known.ipv4_mapped or known if isinstance(known, IPv6Address) else known
        return any(known in network for network in self._networks if network.version == known.version)

    def check(self, host: str, addresses: Iterable[str]) -> None:
        """Raises `Refused` where one of them is outside."""
        if not all(self.holds(host, address) for address in addresses):
            raise outside_of_perimeter(host)


@dataclass(frozen=True)
class Way:
    """The way to one engine. `outside` is its address where it is outside; else every connection stays `within`."""

    within: Perimeter
    outside: str = ""


INSIDE = Way(Perimeter())


async def way_to(url: str, *, inside: Iterable[str] = (), outside: Iterable[str] = ()) -> Way:
    """The way to the engine at `url`, with what the registry lists as inside and as outside and yet to be used.

    Raises `Refused` (`engine.outside_perimeter`), `InvalidInput` for no usable address, `Unavailable` where its name
    cannot be resolved.
    """
    parts = _parts(url)
    host, within = str(parts.hostname), Perimeter(inside)
    try:
        within.check(host, [host] if literal(host) else await _resolved(host))
    except Refused:
        origin = origin_of(url)
        if parts.scheme == "https" and origin in {origin_of(each) for each in outside}:
            return Way(within, outside=origin)
        raise
    return Way(within)


def origin_of(url: str) -> str:
    """Scheme, host and port (where it is not the scheme's own), in one way of writing. Raises `InvalidInput`."""
    parts = _parts(url)
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else str(parts.hostname)
    own = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in (None, own) else "")


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that `host` is itself; None where it is a name."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def outside_of_perimeter(host: str) -> Refused:
    return Refused(
        "engine.outside_perimeter",
        f"The engine's address ({host}) is outside the perimeter.",
        "Use an engine inside; list its network or host under `perimeter` of the registry if it is the ministry's own; "
        "or list its address under `outside` there and have the ministry's policy name it (docs/operations.md).",
    )


def _parts(url: str) -> SplitResult:
    parts = urlsplit(url)
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidInput(
            "engine.bad_address", "An engine's address is http://HOST:PORT, or https.", "Give host and port, no path."
        )
    return parts


async def _resolved(host: str) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        raise Unavailable(
            "engine.unknown_host", f"The engine's host ({host}) has no address.", "Check its name and the resolver."
        ) from None
    return [str(each[4][0]) for each in found]
