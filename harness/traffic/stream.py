"""What one stream is: who sends what to whom, how often, for how long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal, Self

from harness.errors import InputError
from harness.traffic.layout import HEAD

Address = IPv4Address | IPv6Address


def smallest_packet(version: int) -> int:
    """Octets of the smallest IP packet that holds the number."""
    return (20 if version == 4 else 40) + 8 + HEAD.size


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """Periodic numbered packets (RFC 3432) from ``source`` to ``destination``.

    ``stream_id`` (1 to 65535) tells the streams of a lab apart on the wire. ``rate`` is
    packets a second, ``size`` octets of the IP packet. The stream ends after ``count`` packets
    or ``duration_s`` seconds, with both None when it is told to. Of an ICMP echo stream the
    requests are sent and the replies are its arrivals, at the sender's edge.
    """

    name: str
    protocol: Literal["udp", "icmp-echo"]
    source_mac: str
    destination_mac: str
    source: Address
    destination: Address
    stream_id: int
    rate: float
    size: int
    source_port: int = 0
    destination_port: int = 0
    count: int | None = None
    duration_s: float | None = None
    dscp: int = 0
    vlan: int | None = None

    @classmethod
    def between(cls, source: str, destination: str, **rest: object) -> Self:
        """With the two IP addresses as text; InputError when one is none."""
        try:
            return cls(
                source=ip_address(source), destination=ip_address(destination),
                **rest,  # type: ignore[arg-type]
            )  # fmt: skip
        except ValueError as error:
            raise InputError(f"stream {rest.get('name', '')}: {error}") from None

    def __post_init__(self) -> None:
        for wrong, what in (
            (self.source.version != self.destination.version, "one address is IPv4, one IPv6"),
            (not 1 <= self.stream_id <= 0xFFFF, f"stream id {self.stream_id} is not 1 to 65535"),
            (not 0 < self.rate <= 1e6, f"rate {self.rate} is not above 0 and up to 1,000,000/s"),
            (not self.smallest <= self.size <= 65535,
             f"size {self.size} is not from {self.smallest} (headers and number) to 65535"),
            (self.protocol == "udp" and not (
                0 < self.source_port <= 0xFFFF and 0 < self.destination_port <= 0xFFFF
            ), "a UDP stream has two ports from 1 to 65535"),
            (not 0 <= self.dscp < 64, f"dscp {self.dscp} is not 0 to 63"),
            (self.vlan is not None and not 1 <= self.vlan < 4095, f"vlan {self.vlan}"),
            (self.count is not None and not 0 < self.count < 1 << 32, f"count {self.count}"),
        ):  # fmt: skip
            if wrong:
                raise InputError(f"stream {self.name}: {what}")

    @property
    def version(self) -> int:
        return self.source.version

    @property
    def smallest(self) -> int:
        """Octets of the smallest IP packet that holds the number."""
        return smallest_packet(self.version)

    @property
    def packets(self) -> int | None:
        """How many packets are sent; None: until told to stop."""
        counts = [] if self.count is None else [self.count]
        if self.duration_s is not None:
            counts.append(max(1, round(self.duration_s * self.rate)))
        return min(counts) if counts else None

    def reversed(self, **changes: object) -> StreamSpec:
        """The stream in the other direction, with ``changes`` (a name and an id of its own)."""
        return replace(
            self, source=self.destination, destination=self.source,
            source_mac=self.destination_mac, destination_mac=self.source_mac,
            source_port=self.destination_port, destination_port=self.source_port,
            **changes,  # type: ignore[arg-type]
        )  # fmt: skip
