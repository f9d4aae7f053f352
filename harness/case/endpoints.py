"""Between which addresses a stream runs, and the addresses of a tagged one.

The same two rules serve the checks, which have a topology, and the scenario, which has a plan.

A tagged stream needs addresses of its own: a guest sends where its routes lead, and the route
of the plain addresses is the untagged one. They come from the blocks set aside for tests of
networks (198.18.0.0/15, RFC 2544; 2001:2::/48, RFC 5180), a subnet for each VLAN, so that they
are nobody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

Interface = IPv4Interface | IPv6Interface

_FOUR, _SIX = IPv4Address("198.18.0.0"), IPv6Address("2001:2::")
VLAN_MEMBERS = 30
"""Guests and namespaces that can have an address in a VLAN: the IPv4 subnets are /27."""


def first_in_one_subnet(
    near: Sequence[Interface], far: Sequence[Interface], version: int | None
) -> tuple[int, int] | None:
    """Places of the first two addresses in one subnet, of an IP version if one is wanted."""
    for here, one in enumerate(near):
        for there, other in enumerate(far):
            if one.version == other.version == (version or one.version) and (
                one.network == other.network
            ):
                return here, there
    return None


def vlan_address(vlan: int, version: int, member: int) -> Interface:
    """The address of a member (1 to ``VLAN_MEMBERS``) in a VLAN, with its prefix length."""
    if version == 4:
        return IPv4Interface((_FOUR + (vlan << 5) + member, 27))
    return IPv6Interface((_SIX + (vlan << 64) + member, 64))
