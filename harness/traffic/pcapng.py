"""pcapng files, as much as a capture needs: written, and read again.

One interface, Ethernet, nanoseconds of CLOCK_REALTIME (so that Wireshark shows the time of
day). Interface statistics blocks carry what CLOCK_REALTIME was ahead of CLOCK_MONOTONIC, in
a comment; the last one has an end time and the kernel's drop count. A file without it was
cut off. Format: draft-ietf-opsawg-pcapng.

Neighbours: ``capture`` writes, ``arrivals`` reads. Imports nothing heavy.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from harness.errors import RecordError

_SECTION, _INTERFACE, PACKET, _STATISTICS = 0x0A0D0D0A, 1, 6, 5
_STATISTICS_MARK = struct.pack("<I", _STATISTICS)
_ORDER = 0x1A2B3C4D
_COMMENT, _IF_NAME, _IF_TSRESOL, FLAGS = 1, 2, 9, 2
_END_TIME, _RECEIVED, _DROPPED = 3, 4, 5
_SHB_OS, _SHB_PROGRAM = 3, 4
_PACKET_HEAD = struct.Struct("<IIIIIII")  # type, length, interface, time, time, kept, original
_FLAGS_TAIL = struct.Struct("<HHIHHI")  # option epb_flags, end of options, length again
FRAME_AT = _PACKET_HEAD.size
"""Where the frame begins in a packet block."""
PACKET_SMALLEST = FRAME_AT + 4
"""Octets of a packet block without a frame and without options."""
_CLOCK = re.compile(rb"realtime-monotonic=(-?\d+)ns\+-(\d+)ns")
_HINT = "the run cannot be judged on the streams captured there"

Direction = Literal["in", "out", "unknown"]
_DIRECTIONS: tuple[Direction, ...] = ("unknown", "in", "out", "unknown")


@dataclass(frozen=True, slots=True)
class ClockReading:
    """At ``real_ns`` CLOCK_REALTIME was ``offset_ns`` ahead of CLOCK_MONOTONIC, +- ``err_ns``."""

    real_ns: int
    offset_ns: int
    err_ns: int


class PcapngWriter:
    """Writes a capture of one interface; ``flush`` hands it to the kernel."""

    def __init__(self, path: Path, *, interface: str, snaplen: int, program: str) -> None:
        self._file: BinaryIO = path.open("wb", buffering=1 << 20)
        body = struct.pack("<IHHq", _ORDER, 1, 0, -1)
        body += _option(_SHB_OS, b"Linux") + _option(_SHB_PROGRAM, program.encode()) + _option(0)
        self._block(_SECTION, body)
        body = struct.pack("<HHI", 1, 0, snaplen) + _option(_IF_NAME, interface.encode())
        self._block(_INTERFACE, body + _option(_IF_TSRESOL, b"\x09") + _option(0))
        self.count = 0

    def packet(self, real_ns: int, data: bytes, length: int, flags: int) -> None:
        """One frame of ``length`` octets, of which ``data`` was kept; flags: 1 in, 2 out."""
        kept = len(data)
        padding = -kept % 4
        total = _PACKET_HEAD.size + kept + padding + _FLAGS_TAIL.size
        self._file.write(
            _PACKET_HEAD.pack(
                PACKET, total, 0, real_ns >> 32, real_ns & 0xFFFFFFFF, kept, length
            )
            + data + bytes(padding)
            + _FLAGS_TAIL.pack(FLAGS, 4, flags, 0, 0, total)
        )  # fmt: skip
        self.count += 1

    def clock(self, reading: ClockReading, *, dropped: int | None = None) -> None:
        """A reading of the clocks; with ``dropped``, it is the last block of the file."""
        body = struct.pack("<III", 0, reading.real_ns >> 32, reading.real_ns & 0xFFFFFFFF)
        said = f"realtime-monotonic={reading.offset_ns}ns+-{reading.err_ns}ns"
        body += _option(_COMMENT, said.encode())
        if dropped is not None:
            body += _option(
                _END_TIME, struct.pack("<II", reading.real_ns >> 32, reading.real_ns & 0xFFFFFFFF)
            )
            body += _option(_RECEIVED, struct.pack("<Q", self.count + dropped))
            body += _option(_DROPPED, struct.pack("<Q", dropped))
        self._block(_STATISTICS, body + _option(0))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _block(self, kind: int, body: bytes) -> None:
        length = struct.pack("<I", len(body) + 12)
        self._file.write(struct.pack("<I", kind) + length + body + length)


def _option(code: int, value: bytes = b"") -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """One frame; ``data`` is a view that lives as long as the file is open."""

    real_ns: int
    direction: Direction
    length: int
    data: memoryview


class PcapngFile:
    """A capture by ``PcapngWriter``, read block by block: linear in its size.

    Raises RecordError for what is no such file, or was cut off. Use it as a context manager;
    ``clocks`` and ``dropped`` are known when the frames have been read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clocks: list[ClockReading] = []
        self.dropped: int | None = None
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise RecordError(f"{path}: the capture is missing", hint=_HINT) from None
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise RecordError(f"{path}: not a capture: {error}", hint=_HINT) from error
        if self._map[:4] != struct.pack("<I", _SECTION) or self._map[8:12] != struct.pack(
            "<I", _ORDER
        ):
            raise RecordError(f"{path}: not a capture of this harness (pcapng)", hint=_HINT)

    def __enter__(self) -> PcapngFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._map.close()

    def frames(self) -> Iterator[CapturedFrame]:
        """Every frame in the order captured; RecordError at the place where the file ends
        too early, or is damaged."""
        data, size, at = memoryview(self._map), len(self._map), 0
        try:
            while at < size:
                kind, length = struct.unpack_from("<II", data, at) if at + 8 <= size else (0, 0)
                if length < 12 or at + length > size:
                    raise self.cut_off(at)
                if kind == PACKET:
                    if length < PACKET_SMALLEST:
                        raise self.damaged(at)
                    _, _, _, high, low, kept, full = _PACKET_HEAD.unpack_from(data, at)
                    begin = at + FRAME_AT
                    options = begin + kept + (-kept % 4)
                    if options + 4 > at + length:
                        raise self.damaged(at)
                    code = flags = 0
                    if options + 12 <= at + length:
                        code, _, flags = struct.unpack_from("<HHI", data, options)
                    direction = _DIRECTIONS[flags & 3 if code == FLAGS else 0]
                    with data[begin : begin + kept] as frame:
                        yield CapturedFrame(high << 32 | low, direction, full, frame)
                else:
                    self.take_other(bytes(data[at : at + length]), at)
                at += length
        finally:
            data.release()
        self.check_end()

    def __len__(self) -> int:
        """Octets of the file."""
        return len(self._map)

    def piece(self, begin: int, end: int) -> bytes:
        """Octets of the file. What was read before is given back: a capture may be larger
        than the memory that its reading is allowed."""
        done = begin - begin % mmap.PAGESIZE
        if done:
            self._map.madvise(mmap.MADV_DONTNEED, 0, done)
        return self._map[begin:end]

    def take_other(self, block: bytes, at: int) -> None:
        """Take in a block that is no packet: the clocks and drops of statistics."""
        if block.startswith(_STATISTICS_MARK):
            if len(block) < 24:
                raise self.damaged(at)
            self._statistics(block[8:-4])

    def cut_off(self, at: int) -> RecordError:
        return RecordError(
            f"{self.path}: cut off at octet {at}: the capture did not come to its end", hint=_HINT
        )

    def damaged(self, at: int) -> RecordError:
        return RecordError(
            f"{self.path}: damaged: the block at octet {at} is shorter than what it holds",
            hint=_HINT,
        )

    def check_end(self) -> None:
        """RecordError when the last block, which has the drops, has not come."""
        if self.dropped is None:
            raise RecordError(
                f"{self.path}: cut off: the capture did not come to its end", hint=_HINT
            )

    def _statistics(self, body: bytes) -> None:
        _, high, low = struct.unpack_from("<III", body)
        at = 12
        while at + 4 <= len(body):
            code, length = struct.unpack_from("<HH", body, at)
            value = body[at + 4 : at + 4 + length]
            at += 4 + length + (-length % 4)
            if code == _COMMENT and (said := _CLOCK.fullmatch(value)):
                self.clocks.append(ClockReading(high << 32 | low, int(said[1]), int(said[2])))
            elif code == _DROPPED:
                self.dropped = int.from_bytes(value, "little")
            elif code == 0:
                break
