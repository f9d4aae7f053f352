"""TCP as a checked stream: what is sent, and what each end keeps of it.

The stream is a ramp: word k, 8 octets in network order, is stream id << 48 | k, so that each
octet's place says what it has to be, and another stream's octets are wrong. Both ends keep a
row a second, a row for each stall, and totals. ``tcp`` is the program for a namespace,
labprobe (``images/guest/labprobe.c``) the same for a guest; ``tcpclient`` and ``guestlink`` give
a ``TcpRecord``. Imports nothing heavy.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Literal, Self

from harness.errors import InputError, RecordError

Role = Literal["sender", "sink"]
RowKind = Literal["progress", "stall", "silence", "retransmitted"]
ROW_KINDS: tuple[RowKind, ...] = ("progress", "stall", "silence", "retransmitted")
"""In the order of labprobe's numbers, from 1."""
STALL_NS = 100_000_000
"""More than this between two receipts is a stall."""
_WORD = (1 << 48) - 1


@dataclass(frozen=True, slots=True)
class TcpSpec:
    """A connection from ``source`` to ``port`` of ``destination``, one way.

    ``rate`` is octets a second. The sender ends after ``octets`` or ``duration_s`` seconds'
    worth of them; with both None when it is told to.
    """

    name: str
    stream_id: int
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    port: int
    rate: float
    octets: int | None = None
    duration_s: float | None = None
    dscp: int = 0

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
            (not 1 <= self.rate <= 1e9, f"rate {self.rate} is not 1 to 1e9 octets a second"),
            (not 0 < self.port <= 0xFFFF, f"port {self.port} is not 1 to 65535"),
            (not 0 <= self.dscp < 64, f"dscp {self.dscp} is not 0 to 63"),
            (self.octets is not None and self.octets <= 0, f"octets {self.octets}"),
        ):
            if wrong:
                raise InputError(f"stream {self.name}: {what}")

    @property
    def version(self) -> int:
        return self.source.version

    @property
    def total(self) -> int | None:
        """How many octets are sent; None: until told to stop."""
        counts = [] if self.octets is None else [self.octets]
        if self.duration_s is not None:
            counts.append(max(1, round(self.duration_s * self.rate)))
        return min(counts) if counts else None


@dataclass(frozen=True, slots=True)
class TcpRow:
    """``value`` is, by ``kind``: octets since the last such row ("progress", each second);
    the length in us of a stall that ended at ``t_ns``, or of a silence that never did; the
    segments retransmitted so far (when that has changed)."""

    t_ns: int
    kind: RowKind
    value: int


@dataclass(frozen=True, slots=True)
class TcpTotals:
    """One end's account.

    ``octets`` taken by the socket, or received; ``corrupt`` of them were wrong, the first at
    ``first_corrupt`` (-1: none). ``whole``: a sink saw the sender's end of the stream.
    ``broken`` is the errno that ended the connection, or 0. ``unacknowledged`` octets had no
    ACK when the sender ended. A sink's ``stalls`` are more than STALL_NS without receipt, a
    sender's those in which its socket took nothing; silences are among them. ``moved_ns`` is
    what the sender was behind its rate and did not make up for.
    """

    connected: bool
    whole: bool
    broken: int
    octets: int
    corrupt: int
    first_corrupt: int
    unacknowledged: int
    stalls: int
    longest_stall_ns: int
    retransmitted: int
    moved_ns: int


@dataclass(frozen=True, slots=True)
class TcpRecord:
    """One end of a checked stream. Times are of ``clock``; ``missing`` rows found no room."""

    stream_id: int
    role: Role
    clock: Literal["run", "guest"]
    totals: TcpTotals
    rows: tuple[TcpRow, ...]
    missing: int = 0

    def stalls(self) -> tuple[TcpRow, ...]:
        """The rows of stalls and of silence, in the order in which they ended."""
        return tuple(row for row in self.rows if row.kind in ("stall", "silence"))


def intact(sender: TcpRecord, sink: TcpRecord) -> bool:
    """Whether all that was sent came, in its place, to its end."""
    return (
        sender.totals.connected
        and sink.totals.whole
        and sink.totals.corrupt == 0
        and sink.totals.octets == sender.totals.octets
    )


def ramp(stream_id: int, at: int, count: int) -> bytes:
    """``count`` octets of the stream from octet ``at`` on."""
    first, last = at // 8, (at + count + 7) // 8
    words = [stream_id << 48 | k & _WORD for k in range(first, last)]
    begin = at - first * 8
    return struct.pack(f"!{len(words)}Q", *words)[begin : begin + count]


def wrong_octets(stream_id: int, at: int, data: bytes) -> tuple[int, int]:
    """How many octets of ``data``, which begins at ``at``, are wrong; where the first is, or -1."""
    wanted = ramp(stream_id, at, len(data))
    if data == wanted:
        return 0, -1
    pairs = zip(data, wanted, strict=True)
    wrong = [place for place, (got, want) in enumerate(pairs) if got != want]
    return len(wrong), at + wrong[0]


def totals_of(said: dict[str, Any]) -> TcpTotals:
    """From labprobe's or the program's words, where booleans may be numbers."""
    kinds = {"connected": bool, "whole": bool}
    fields: dict[str, Any] = {
        name: kinds.get(name, int)(said[name]) for name in TcpTotals.__dataclass_fields__
    }
    return TcpTotals(**fields)


def rows_of(rows: Iterable[tuple[int, int, int]]) -> tuple[TcpRow, ...]:
    """From (time, kind's number, value); RecordError for a kind that there is not."""
    made = []
    for t_ns, kind, value in rows:
        if not 1 <= kind <= len(ROW_KINDS):
            raise RecordError(f"a TCP stream's record has a row of kind {kind}")
        made.append(TcpRow(t_ns, ROW_KINDS[kind - 1], value))
    return tuple(made)


def write_tcp_record(path: Path, record: TcpRecord) -> None:
    """Write the file (JSON) whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps(asdict(record)) + "\n")
    os.replace(unfinished, path)


def read_tcp_record(path: Path) -> TcpRecord:
    """Read a file of ``write_tcp_record``; RecordError says what is wrong with it."""
    hint = "the run cannot be judged on this stream"
    try:
        said = json.loads(path.read_text())
        return TcpRecord(
            stream_id=int(said["stream_id"]), role=said["role"], clock=said["clock"],
            totals=totals_of(said["totals"]), rows=tuple(TcpRow(**row) for row in said["rows"]),
            missing=int(said["missing"]),
        )  # fmt: skip
    except FileNotFoundError:
        raise RecordError(f"{path}: the record is missing", hint=hint) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path}: not a TCP stream's record: {error}", hint=hint) from error
