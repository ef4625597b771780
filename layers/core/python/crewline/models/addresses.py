"""Which addresses a request that a client asked for may go to: those of the public internet."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_LOOPBACK: Final = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""All that is assigned to hosts. Outside are unique local, link-local, multicast, the loopback, and
addresses that carry an IPv4 one: mapped (::ffff:0:0/96), compatible (::/96), NAT64 (64:ff9b::/96)."""
_REFUSED: Final = (
    IPv4Network("100.64.0.0/10"),  # carrier-grade NAT; a cloud's metadata service
    IPv4Network("168.63.129.16/32"),  # a cloud's metadata service, on an address that looks public
    IPv4Network("192.0.0.0/24"),  # protocol assignments; a cloud's metadata service
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv6Network("2001::/23"),  # protocol assignments: Teredo carries IPv4 addresses
    IPv6Network("2002::/16"),  # 6to4 carries IPv4 addresses
    IPv6Network("3fff::/20"),  # documentation
)
"""What the standard library calls global, or will in some version, and is not a host of the internet."""


def is_permitted(address: str, *, loopback: bool) -> bool:
    """Tell whether a request may go to an address.

    Args:
        address: An IP address, as a resolver gives it.
        loopback: Permit this machine too.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if any(found in network for network in _LOOPBACK):
        return loopback
    if isinstance(found, IPv6Address) and found not in _GLOBAL_UNICAST:
        return False
    # Multicast and reserved addresses are "global" in the standard library's sense.
    if not found.is_global or found.is_multicast or found.is_reserved:
        return False
    return not any(found in network for network in _REFUSED)
