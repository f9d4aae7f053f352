"""Names and addresses that a topology leaves open, derived so that they never change.

Interface names end up in command lines and in the kernel, whose limit is 15 characters
(IFNAMSIZ less the terminating zero); every derived name carries a prefix, because a bare
user's name can be a keyword to a tool (``ip link add brd type bridge`` fails).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from harness.topology.model import Interface, Subnet

_IFNAMSIZ = 15


def fitted(whole: str, limit: int) -> str:
    """``whole``, or where it is longer than ``limit`` its beginning and a digest of it."""
    if len(whole) <= limit:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:5]
    return whole[: limit - 6] + "." + digest


def ifname(prefix: str, *parts: str) -> str:
    """``prefix-part-part``, shortened with a digest of the whole where it does not fit."""
    return fitted("-".join((prefix, *parts)), _IFNAMSIZ)


def derived_mac(taken: Iterable[str], *parts: str) -> str:
    """A MAC address in QEMU's own range (52:54:00), a digest of ``parts``, not in ``taken``."""
    used = set(taken)
    for attempt in range(1000):
        octets = hashlib.sha256("/".join((*parts, str(attempt))).encode()).digest()[:3]
        mac = "52:54:00:" + ":".join(f"{octet:02x}" for octet in octets)
        if mac not in used:
            return mac
    raise ValueError("no free MAC address")


def neutral_mac(number: int) -> str:
    """The MAC address that NIC ``number`` (from 1) of every host VM has until it is told its own.

    Locally administered, and in nobody's range: no other NIC of a lab has it by chance.
    """
    return f"02:fa:11:0e:00:{number:02x}"


def free_addresses(
    subnet: Subnet, taken: Iterable[Interface]
) -> Iterator[IPv4Address | IPv6Address]:
    """Host addresses of ``subnet`` in order, without those in ``taken``."""
    used = {interface.ip for interface in taken}
    return (address for address in subnet.hosts() if address not in used)
