"""A stream's frame, built once by scapy, and frames taken apart by it.

scapy builds 3,000 frames a second; so it builds the first one, and ``layout.Patcher`` makes
the others of it. The numbered payload is defined in ``layout``.

Neighbours: ``client`` gives the template to ``sender``; ``arrivals`` finds the numbers in
captured frames without scapy; tests take them apart with it (``parse``).
"""

from __future__ import annotations

from dataclasses import dataclass

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from harness.traffic.layout import HEAD, MAGIC, Template
from harness.traffic.stream import StreamSpec


@dataclass(frozen=True, slots=True)
class Numbered:
    """What a frame's payload says: see ``layout``."""

    stream_id: int
    seq: int
    sent_ns: int


def build(spec: StreamSpec, seq: int = 0, t_ns: int = 0) -> bytes:
    """Packet ``seq`` of a stream as a whole frame, every checksum by scapy."""
    payload = HEAD.pack(MAGIC, spec.stream_id, 0, seq, t_ns)
    payload += bytes(spec.size - spec.smallest)
    return bytes(_headers(spec, seq) / Raw(payload))


def template(spec: StreamSpec) -> Template:
    """The frame with number and time 0, and where to patch it."""
    frame = build(spec)
    network_at = 14 + (4 if spec.vlan is not None else 0)
    transport_at = network_at + (20 if spec.version == 4 else 40)
    echo = spec.protocol == "icmp-echo"
    checksum_at = transport_at + (2 if echo else 6)
    checksum = int.from_bytes(frame[checksum_at : checksum_at + 2], "big")
    return Template(
        frame=frame,
        head_at=transport_at + 8,
        checksum_at=checksum_at,
        base=~checksum & 0xFFFF,
        echo_seq_at=transport_at + 6 if echo else None,
    )


def parse(frame: bytes) -> Numbered | None:
    """What a frame's payload says, by scapy; None for frames that carry no number."""
    packet = Ether(frame)
    for layer in (UDP, ICMP, ICMPv6EchoRequest, ICMPv6EchoReply):
        if layer in packet:
            inside = packet[layer]
            data = bytes(inside.data if hasattr(inside, "data") else inside.payload)
            if len(data) < HEAD.size:
                return None
            magic, stream_id, _, seq, sent_ns = HEAD.unpack_from(data)
            return Numbered(stream_id, seq, sent_ns) if magic == MAGIC else None
    return None


def _headers(spec: StreamSpec, seq: int) -> Packet:
    ether = Ether(src=spec.source_mac, dst=spec.destination_mac)
    if spec.vlan is not None:
        ether /= Dot1Q(vlan=spec.vlan)
    source, destination, traffic_class = str(spec.source), str(spec.destination), spec.dscp << 2
    network: Packet
    if spec.version == 4:
        network = IP(src=source, dst=destination, tos=traffic_class, flags="DF")
    else:
        network = IPv6(src=source, dst=destination, tc=traffic_class)
    if spec.protocol == "udp":
        return ether / network / UDP(sport=spec.source_port, dport=spec.destination_port)
    if spec.version == 4:
        return ether / network / ICMP(type=8, id=spec.stream_id, seq=seq & 0xFFFF)
    return ether / network / ICMPv6EchoRequest(id=spec.stream_id, seq=seq & 0xFFFF)
