"""The structs of a file of records, and a writer that needs no numpy (for ``sender``).

The format is described in ``records``, which reads it.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

HEAD = struct.Struct("<8sHHIQ")
HEAD_MAGIC = b"FHRECORD"
TAIL = struct.Struct("<8sQI")
TAIL_MAGIC = b"FHR-END\0"
ROW = struct.Struct("<QI")
VERSION = 1
CLOCKS = ("run", "guest")
_FLUSH_ROWS = 4096


class RecordWriter:
    """Appends records as they happen; ``close`` makes the file a whole one."""

    def __init__(self, path: Path, *, stream_id: int, clock: str = "run") -> None:
        self._file: BinaryIO = path.open("wb", buffering=0)
        self._file.write(HEAD.pack(HEAD_MAGIC, VERSION, CLOCKS.index(clock), stream_id, 0))
        self._waiting = bytearray()
        self._checksum = 0
        self.count = 0

    def add(self, t_ns: int, seq: int) -> None:
        self._waiting += ROW.pack(t_ns, seq)
        self.count += 1
        if len(self._waiting) >= _FLUSH_ROWS * ROW.size:
            self._flush()

    def close(self) -> None:
        """Write what waits and the tail."""
        self._flush()
        self._file.write(TAIL.pack(TAIL_MAGIC, self.count, self._checksum))
        self._file.close()

    def _flush(self) -> None:
        self._checksum = zlib.crc32(self._waiting, self._checksum)
        self._file.write(self._waiting)
        self._waiting.clear()
