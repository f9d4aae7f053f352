"""A capture's arrivals, found frame by frame: what ``harness.traffic.arrivals`` is held to."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RecordError
from harness.traffic.layout import HEAD, MAGIC
from harness.traffic.pcapng import CapturedFrame, ClockReading, PcapngFile
from harness.traffic.stream import StreamSpec

_ECHO_REPLY = {4: 0, 6: 129}


@dataclass(frozen=True)
class SlowArrivals:
    """Kernel stamps and numbers by stream name; the clocks and drops of the capture."""

    arrivals: dict[str, list[tuple[int, int]]]
    clocks: list[ClockReading]
    dropped: int


def slow_arrivals(path: Path, streams: Sequence[StreamSpec]) -> SlowArrivals:
    found: dict[str, list[tuple[int, int]]] = {spec.name: [] for spec in streams}
    with PcapngFile(path) as capture:
        for frame in capture.frames():
            numbered = _number(frame)
            if frame.direction == "out" or numbered is None:
                continue
            for spec in streams:
                if numbered.stream_id == spec.stream_id and numbered.matches(spec):
                    found[spec.name].append((frame.real_ns, numbered.seq))
        if any(stamp >= 1 << 63 for rows in found.values() for stamp, _ in rows):
            raise RecordError(
                f"{path}: damaged: a packet is stamped later than 64 bits of ns can say"
            )
        return SlowArrivals(found, capture.clocks, capture.dropped or 0)


@dataclass(frozen=True, slots=True)
class _NumberedFrame:
    version: int
    protocol: int
    destination_port: int
    icmp_type: int
    stream_id: int
    seq: int

    def matches(self, spec: StreamSpec) -> bool:
        """A datagram to the stream's port, or a reply to its echo request."""
        if self.version != spec.version:
            return False
        if spec.protocol == "udp":
            return self.protocol == 17 and self.destination_port == spec.destination_port
        return self.protocol in (1, 58) and self.icmp_type == _ECHO_REPLY[spec.version]


def _number(frame: CapturedFrame) -> _NumberedFrame | None:
    """The number in a frame; IPv4 options are stepped over, IPv6 extension headers are not."""
    data, at = frame.data, 12
    if len(data) < 14 + 20 + 8 + HEAD.size:
        return None
    kind = data[at] << 8 | data[at + 1]
    while kind in (0x8100, 0x88A8) and at + 6 < len(data):
        at += 4
        kind = data[at] << 8 | data[at + 1]
    at += 2
    if at + 20 > len(data):
        return None
    if kind == 0x0800:
        version, protocol, transport = 4, data[at + 9], at + (data[at] & 15) * 4
    elif kind == 0x86DD:
        version, protocol, transport = 6, data[at + 6], at + 40
    else:
        return None
    if protocol not in (17, 1, 58) or transport + 8 + HEAD.size > len(data):
        return None
    magic, stream_id, _, seq, _ = HEAD.unpack_from(data, transport + 8)
    if magic != MAGIC:
        return None
    (port,) = struct.unpack_from("!H", data, transport + 2)
    return _NumberedFrame(version, protocol, port, data[transport], stream_id, seq)
