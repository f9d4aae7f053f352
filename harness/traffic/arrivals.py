"""A stream's arrivals from a capture, on the run's clock; and its packets that were seen there.

Kernel stamps are CLOCK_REALTIME; the capture holds readings of what that is ahead of
CLOCK_MONOTONIC, and between two readings the difference is taken to change evenly. When the
readings disagree by more than a millisecond, and by more than their own errors, somebody set the
clock, and nothing is told.

Neighbours: ``capture`` makes the file, ``numbers`` finds the numbers in it; ``records`` keeps
the arrivals.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import RecordError
from harness.traffic.numbers import Ints, NumberedFrames, damaged, numbered, walk
from harness.traffic.pcapng import ClockReading, PcapngFile
from harness.traffic.records import Records
from harness.traffic.stream import StreamSpec

_STEP_NS = 1_000_000
_ECHO_REPLY = {4: 0, 6: 129}
_ECHO_REQUEST = {4: 8, 6: 128}
PIECE = 16 << 20
"""Octets of a capture that are read at once."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """Arrivals of the streams asked for, by name, and what the capture itself missed.

    ``dscp_changed``: arrivals of each whose DSCP was not the one it was sent with.
    """

    records: dict[str, Records]
    dscp_changed: dict[str, int]
    dropped: int
    clock_err_ns: int


def read_arrivals(path: Path, streams: Sequence[StreamSpec]) -> Extracted:
    """Every inbound copy of each stream's packets, in the order of capture.

    Reads the file once, in linear time. Raises RecordError for a damaged or cut capture.
    """
    by_id = {spec.stream_id: spec for spec in streams}
    found: dict[int, list[tuple[Ints, Ints]]] = {key: [] for key in by_id}
    changed = {spec.name: 0 for spec in streams}
    with PcapngFile(path) as capture:
        for frames in _numbered_frames(capture):
            for key in np.unique(frames.stream_id).tolist():
                if key in by_id:
                    mine = matching(frames, key, by_id[key])
                    found[key].append((frames.real_ns[mine], frames.seq[mine]))
                    other = frames.dscp[mine] != by_id[key].dscp
                    changed[by_id[key].name] += int(np.count_nonzero(other))
        clocks, dropped = capture.clocks, capture.dropped or 0
    if any((times < 0).any() for pieces in found.values() for times, _ in pieces):
        raise RecordError(f"{path}: damaged: a packet is stamped later than 64 bits of ns can say")
    offsets = _Offsets(path, clocks)
    return Extracted(
        records={
            by_id[key].name: Records(
                stream_id=key, clock="run",
                t_ns=_joined([offsets.to_run(times) for times, _ in pieces]),
                seq=_joined([numbers for _, numbers in pieces]),
            )
            for key, pieces in found.items()
        },
        dscp_changed=changed,
        dropped=dropped,
        clock_err_ns=offsets.err_ns,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Leg:
    """Packets of a stream on their way over a tap: of an echo its requests, or its replies.

    ``outgoing``: those that left through the interface, else those that came in.
    """

    spec: StreamSpec
    reply: bool
    outgoing: bool


def read_seen(path: Path, legs: Sequence[Leg]) -> tuple[Records, ...]:
    """Every copy of the packets of each leg in a capture, in the order of capture.

    Reads the file once, in linear time. Raises RecordError for a damaged or cut capture.
    """
    found: list[list[tuple[Ints, Ints]]] = [[] for _ in legs]
    with PcapngFile(path) as capture:
        for frames in _numbered_frames(capture):
            for leg, pieces in zip(legs, found, strict=True):
                spec = leg.spec
                mine = _going(frames, spec.stream_id, spec, leg.outgoing, leg.reply)
                pieces.append((frames.real_ns[mine], frames.seq[mine]))
        offsets = _Offsets(path, capture.clocks)
    return tuple(
        Records(
            stream_id=leg.spec.stream_id,
            clock="run",
            t_ns=_joined([offsets.to_run(times) for times, _ in pieces]),
            seq=_joined([numbers for _, numbers in pieces]),
        )
        for leg, pieces in zip(legs, found, strict=True)
    )


def _numbered_frames(capture: PcapngFile) -> Iterator[NumberedFrames]:
    """The numbered frames of a capture, a piece of the file at a time."""
    at, size, room = 0, len(capture), PIECE
    while at < size:
        piece = capture.piece(at, min(at + room, size))
        blocks = walk(piece)
        wrong = damaged(piece, blocks.packets)
        for other in blocks.others:
            if wrong is None or other < wrong:
                (length,) = struct.unpack_from("<I", piece, other + 4)
                capture.take_other(piece[other : other + length], at + other)
        if wrong is not None:
            raise capture.damaged(at + wrong)
        yield numbered(piece, blocks.packets)
        if blocks.end == 0:  # not one whole block
            (length,) = struct.unpack_from("<I", piece, 4) if len(piece) >= 8 else (0,)
            if length < 12 or at + length > size:
                raise capture.cut_off(at)
            room = length
            continue
        at += blocks.end
        room = PIECE
    capture.check_end()


def matching(frames: NumberedFrames, key: int, spec: StreamSpec) -> npt.NDArray[np.bool_]:
    """Inbound datagrams to the stream's port, or replies to its echo requests."""
    return _going(frames, key, spec, outgoing=False, reply=True)


def _going(
    frames: NumberedFrames, key: int, spec: StreamSpec, outgoing: bool, reply: bool
) -> npt.NDArray[np.bool_]:
    """Datagrams to the stream's port, or its echo requests or replies, of one direction."""
    mine: npt.NDArray[np.bool_] = (frames.stream_id == key) & (frames.outgoing == outgoing)
    mine &= frames.version == spec.version
    if spec.protocol == "udp":
        mine &= (frames.protocol == 17) & (frames.port == spec.destination_port)
    else:
        mine &= np.isin(frames.protocol, (1, 58))
        types = _ECHO_REPLY if reply else _ECHO_REQUEST
        mine &= frames.icmp_type == types[spec.version]
    return mine


def _joined(pieces: list[Ints]) -> Ints:
    return np.concatenate([np.empty(0, dtype=np.int64), *pieces])


class _Offsets:
    """CLOCK_REALTIME to CLOCK_MONOTONIC by the readings in a capture."""

    def __init__(self, path: Path, readings: Sequence[ClockReading]) -> None:
        if not readings:
            raise RecordError(f"{path}: the capture says nothing about its clocks")
        self._real = np.array([one.real_ns for one in readings], dtype=np.int64)
        self._offset = np.array([one.offset_ns for one in readings], dtype=np.int64)
        spread = int(np.max(np.abs(np.diff(self._offset)))) if len(readings) > 1 else 0
        # Two readings may differ by their errors though nobody touched the clock.
        errors = np.array([one.err_ns for one in readings], dtype=np.int64)
        if np.any(np.abs(np.diff(self._offset)) > _STEP_NS + errors[:-1] + errors[1:]):
            raise RecordError(
                f"{path}: CLOCK_REALTIME was set during the capture (by {spread / 1e6:.1f} ms)",
                hint="keep time daemons from stepping the clock during a run",
            )
        self.err_ns = max(one.err_ns for one in readings) + spread

    def to_run(self, real_ns: Ints) -> Ints:
        # Interpolated around the first offset: a float holds the differences exactly enough.
        base = int(self._offset[0])
        drift = np.interp(
            (real_ns - self._real[0]).astype(float),
            (self._real - self._real[0]).astype(float),
            (self._offset - base).astype(float),
        )
        shift: Ints = np.rint(drift).astype(np.int64) + base
        return real_ns - shift
