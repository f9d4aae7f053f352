"""A stream's arrivals from a capture, on the run's clock.

Kernel stamps are CLOCK_REALTIME; the capture holds readings of what that is ahead of
CLOCK_MONOTONIC, and between two readings the difference is taken to change evenly. When the
readings disagree by more than a millisecond somebody set the clock, and nothing is told.

Neighbours: ``capture`` makes the file; ``records`` keeps the arrivals.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import RecordError
from harness.traffic.layout import HEAD, MAGIC
from harness.traffic.pcapng import CapturedFrame, ClockReading, PcapngFile
from harness.traffic.records import Records
from harness.traffic.stream import StreamSpec

_STEP_NS = 1_000_000
_ECHO_REPLY = {4: 0, 6: 129}


@dataclass(frozen=True, slots=True)
class Extracted:
    """Arrivals of the streams asked for, by name, and what the capture itself missed."""

    records: dict[str, Records]
    dropped: int
    clock_err_ns: int


def read_arrivals(path: Path, streams: Sequence[StreamSpec]) -> Extracted:
    """Every inbound copy of each stream's packets, in the order of capture.

    Reads the file once, in linear time. Raises RecordError for a damaged or cut capture.
    """
    by_id = {spec.stream_id: spec for spec in streams}
    found: dict[int, tuple[list[int], list[int]]] = {key: ([], []) for key in by_id}
    with PcapngFile(path) as capture:
        for frame in capture.frames():
            if frame.direction == "out":
                continue
            numbered = _number(frame)
            if numbered is None or numbered.stream_id not in by_id:
                continue
            if numbered.matches(by_id[numbered.stream_id]):
                times, numbers = found[numbered.stream_id]
                times.append(frame.real_ns)
                numbers.append(numbered.seq)
        clocks, dropped = capture.clocks, capture.dropped or 0
    offsets = _Offsets(path, clocks)
    return Extracted(
        records={
            by_id[key].name: Records(
                stream_id=key, clock="run", t_ns=offsets.to_run(np.array(times, dtype=np.int64)),
                seq=np.array(numbers, dtype=np.int64),
            )
            for key, (times, numbers) in found.items()
        },
        dropped=dropped,
        clock_err_ns=offsets.err_ns,
    )  # fmt: skip


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


class _Offsets:
    """CLOCK_REALTIME to CLOCK_MONOTONIC by the readings in a capture."""

    def __init__(self, path: Path, readings: Sequence[ClockReading]) -> None:
        if not readings:
            raise RecordError(f"{path}: the capture says nothing about its clocks")
        self._real = np.array([one.real_ns for one in readings], dtype=np.int64)
        self._offset = np.array([one.offset_ns for one in readings], dtype=np.int64)
        spread = int(np.max(np.abs(np.diff(self._offset)))) if len(readings) > 1 else 0
        if spread > _STEP_NS:
            raise RecordError(
                f"{path}: CLOCK_REALTIME was set during the capture (by {spread / 1e6:.1f} ms)",
                hint="keep time daemons from stepping the clock during a run",
            )
        self.err_ns = max(one.err_ns for one in readings) + spread

    def to_run(self, real_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        # Interpolated around the first offset: a float holds the differences exactly enough.
        base = int(self._offset[0])
        drift = np.interp(
            (real_ns - self._real[0]).astype(float),
            (self._real - self._real[0]).astype(float),
            (self._offset - base).astype(float),
        )
        shift: npt.NDArray[np.int64] = np.rint(drift).astype(np.int64) + base
        return real_ns - shift
