"""What labprobe keeps of a stream, as it comes over the port: pieces, a count, a checksum.

Neighbours: ``guestlink`` fetches the pieces; ``records`` and ``tcprecord`` are what they become.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import RecordError
from harness.traffic.guestlines import Line
from harness.traffic.records import Records
from harness.traffic.tcprecord import TcpRecord, rows_of, totals_of

_RAW = np.dtype([("t_ns", "<u8"), ("seq", "<u4"), ("error", "<u4")])
_ECHO_REPLIES = 65536


def echo_replies(stream_id: int) -> int:
    """By which id labprobe knows the record of the replies to a stream of echo requests."""
    return _ECHO_REPLIES + stream_id


@dataclass(frozen=True, slots=True)
class StreamTotals:
    """What labprobe says of a stream at its end. Times in ns of the guest's clock.

    ``unrecorded`` packets found no room in the guest's memory; ``overrun`` were dropped by
    the sink's socket, which was full: neither is the network's loss. ``failed`` sends were
    refused by the guest's kernel and were not sent. ``late``, ``moved_ns``: as in
    ``programs.SendSummary``.
    """

    records: int
    unrecorded: int
    overrun: int = 0
    foreign: int = 0
    sent: int = 0
    failed: int = 0
    late: int = 0
    largest_gap_ns: int = 0
    moved_ns: int = 0

    @property
    def complete(self) -> bool:
        """Whether the records hold all that the socket saw."""
        return self.unrecorded == 0 and self.overrun == 0

    @property
    def attempted(self) -> int:
        """Packets that a sender sent, or had refused by the guest's kernel."""
        return self.records + self.unrecorded


@dataclass(frozen=True, slots=True)
class GuestDump:
    """A stream's records as the guest made them (``clock`` guest), and its totals.

    ``errors`` counts refused sends by errno; they are not among the records.
    """

    records: Records
    totals: StreamTotals
    errors: Mapping[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class RawDump:
    """Whole and unharmed: rows of t_ns, seq, error, and the line that ended the dump."""

    rows: npt.NDArray[np.void]
    end: Line


def assemble(where: str, pieces: Sequence[Line], end: Line) -> RawDump:
    """Put the pieces together; RecordError when what came is not what was sent off."""
    raw = bytearray()
    for piece in pieces:
        if int(piece.data["at"]) * _RAW.itemsize != len(raw):
            raise RecordError(f"{where}: a piece is missing after {len(raw)} octets")
        try:
            raw += base64.b64decode(piece.data["b64"], validate=True)
        except binascii.Error as error:
            raise RecordError(f"{where}: a piece is damaged: {error}") from error
    count, checksum = int(end.data["count"]), int(end.data["crc32"])
    if len(raw) != count * _RAW.itemsize or zlib.crc32(raw) != checksum:
        raise RecordError(
            f"{where}: {len(raw) / _RAW.itemsize:g} records came of {count}, or their "
            "checksum is wrong"
        )
    return RawDump(np.frombuffer(bytes(raw), dtype=_RAW), end)


def guest_dump(stream_id: int, dump: RawDump) -> GuestDump:
    """Of a stream of packets."""
    rows = dump.rows
    good = rows[rows["error"] == 0]
    errors, counts = np.unique(rows["error"][rows["error"] != 0], return_counts=True)
    return GuestDump(
        records=Records(
            stream_id=stream_id % _ECHO_REPLIES, clock="guest",
            t_ns=good["t_ns"].astype(np.int64), seq=good["seq"].astype(np.int64),
        ),
        totals=totals(dump.end),
        errors=dict(zip(errors.tolist(), counts.tolist(), strict=True)),
    )  # fmt: skip


def tcp_dump(stream_id: int, dump: RawDump) -> TcpRecord:
    """Of one end of a TCP stream."""
    said, rows = dump.end.data, dump.rows
    return TcpRecord(
        stream_id=stream_id,
        role="sender" if said["role"] == "tcp-sender" else "sink",
        clock="guest",
        totals=totals_of(dict(said)),
        rows=rows_of(
            zip(rows["t_ns"].tolist(), rows["error"].tolist(), rows["seq"].tolist(), strict=True)
        ),
        missing=int(said["unrecorded"]),
    )


def totals(line: Line) -> StreamTotals:
    fields: dict[str, Any] = {
        name: int(line.data[name])
        for name in StreamTotals.__dataclass_fields__
        if name in line.data
    }
    return StreamTotals(**fields)
