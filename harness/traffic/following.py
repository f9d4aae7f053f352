"""What has arrived so far: a capture read while it is still being written.

It tells that a stream flows, nothing more: the arrivals that count are read when the capture
has ended, by ``arrivals``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.traffic.arrivals import PIECE, matching
from harness.traffic.numbers import damaged, numbered, walk
from harness.traffic.pcapng import PcapngFile
from harness.traffic.stream import StreamSpec


class Following:
    """Follows one capture file. ``counts`` holds each stream's inbound packets by its name."""

    def __init__(self, path: Path, streams: Sequence[StreamSpec]) -> None:
        self.path = path
        self.counts = {spec.name: 0 for spec in streams}
        self._streams = tuple(streams)
        self._at = 0

    def look(self) -> None:
        """Take in what was written since the last look, whole blocks only.

        Raises RecordError for a damaged file.
        """
        if not self.path.stat().st_size:
            return  # the capture has begun, and written nothing yet
        with PcapngFile(self.path) as capture:
            while self._at < len(capture):
                piece = capture.piece(self._at, min(self._at + PIECE, len(capture)))
                blocks = walk(piece)
                if (wrong := damaged(piece, blocks.packets)) is not None:
                    raise capture.damaged(self._at + wrong)
                if blocks.end == 0:
                    return  # the last block is only half there
                frames = numbered(piece, blocks.packets)
                for spec in self._streams:
                    found = matching(frames, spec.stream_id, spec)
                    self.counts[spec.name] += int(found.sum())
                self._at += blocks.end
