"""Files of sends and arrivals: when which number went out, or came in.

    head     "FHRECORD" | version u16 | clock u16 (0 run, 1 guest) | stream id u32 | 0 u64
    records  t u64, ns | seq u32                         in the order in which they happened
    tail     "FHR-END\\0" | number of records u64 | CRC-32 of the records u32

little-endian, 24, 12 and 20 octets. Without the tail the writer did not come to its end, and
the file is no record. ``sender`` writes the same with the structs of ``recordfile``.

Neighbours: ``arrivals`` makes them from a capture, ``guestlink`` from a guest's dump;
``harness.report`` reads them for ``harness.measure``.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.errors import RecordError
from harness.traffic.recordfile import CLOCKS, HEAD, HEAD_MAGIC, TAIL, TAIL_MAGIC, VERSION

RECORD = np.dtype([("t_ns", "<u8"), ("seq", "<u4")])
_HINT = "the run cannot be judged on this stream"

Clock = Literal["run", "guest"]


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Sends or arrivals of one stream, in the order in which they happened."""

    stream_id: int
    clock: Clock
    t_ns: npt.NDArray[np.int64]
    seq: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.seq.size)


def write_records(path: Path, records: Records) -> None:
    """Write the file whole or not at all (an unfinished one has another name)."""
    rows = np.empty(len(records), dtype=RECORD)
    rows["t_ns"], rows["seq"] = records.t_ns, records.seq & 0xFFFFFFFF
    data = rows.tobytes()
    head = HEAD.pack(HEAD_MAGIC, VERSION, CLOCKS.index(records.clock), records.stream_id, 0)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(head + data + TAIL.pack(TAIL_MAGIC, len(records), zlib.crc32(data)))
    os.replace(unfinished, path)


def read_records(path: Path) -> Records:
    """Read a file of records; RecordError says what is wrong with it."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise RecordError(f"{path}: the record is missing", hint=_HINT) from None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error}", hint=_HINT) from error
    if len(raw) < HEAD.size or not raw.startswith(HEAD_MAGIC):
        raise RecordError(f"{path}: not a record of sends or arrivals", hint=_HINT)
    _, version, clock, stream_id, _ = HEAD.unpack_from(raw)
    if version != VERSION or clock >= len(CLOCKS):
        raise RecordError(
            f"{path}: version {version} of the format, clock {clock}; this harness reads "
            f"version {VERSION}",
            hint=_HINT,
        )
    body = raw[HEAD.size : -TAIL.size]
    whole = len(raw) >= HEAD.size + TAIL.size
    magic, count, checksum = TAIL.unpack(raw[-TAIL.size :]) if whole else (b"", 0, 0)
    if magic != TAIL_MAGIC:
        kept = (len(raw) - HEAD.size) // RECORD.itemsize
        raise RecordError(
            f"{path}: cut off after about {kept} records: its writer did not come to its end",
            hint=_HINT,
        )
    if len(body) != count * RECORD.itemsize or zlib.crc32(body) != checksum:
        raise RecordError(
            f"{path}: damaged: {len(body) / RECORD.itemsize:g} records instead of {count}, or "
            "their checksum is wrong",
            hint=_HINT,
        )
    rows = np.frombuffer(body, dtype=RECORD)
    return Records(
        stream_id=stream_id,
        clock="guest" if CLOCKS[clock] == "guest" else "run",
        t_ns=rows["t_ns"].astype(np.int64),
        seq=rows["seq"].astype(np.int64),
    )
