"""What the harness and its programs in a namespace say to each other, as JSON lines.

``client`` writes an order to a program's stdin; the program answers on stdout with events
(``Event``) and, at its end, one summary. Imports nothing heavy.
"""

from __future__ import annotations

import json
import os
import select
import threading
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

EVENT_READY = "ready"
EVENT_FLOWING = "flowing"
EVENT_SUMMARY = "summary"
EVENT_PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class SendOrder:
    """What ``sender`` does: see ``layout.Template`` for the frame. ``count`` 0: until stopped."""

    interface: str
    frame: str
    head_at: int
    checksum_at: int
    base: int
    echo_seq_at: int | None
    stream_id: int
    rate: float
    count: int
    first_seq: int
    sends: str


@dataclass(frozen=True, slots=True)
class SendSummary:
    """How a sender fared. ``late`` packets left more than a period after their time;
    ``moved_ns`` is by how much the schedule was moved in all, in ``moves`` moves.
    ``errors`` counts refused sends, which are in no record, by the name of their errno."""

    sent: int
    failed: int
    late: int
    moves: int
    moved_ns: int
    largest_gap_ns: int
    errors: dict[str, int]


@dataclass(frozen=True, slots=True)
class CaptureOrder:
    """What ``capture`` does. ``outgoing``: frames that leave the interface are kept too."""

    interface: str
    path: str
    snaplen: int
    promiscuous: bool
    outgoing: bool
    harness: str


@dataclass(frozen=True, slots=True)
class CaptureSummary:
    """How a capture fared. ``dropped`` frames did not fit the kernel's buffer: any is a hole.

    The two offsets are CLOCK_REALTIME - CLOCK_MONOTONIC at the start and the end, in ns.
    """

    captured: int
    dropped: int
    offset_start_ns: int
    offset_end_ns: int
    offset_err_ns: int


@dataclass(frozen=True, slots=True)
class TcpOrder:
    """What ``tcp`` does: ``role`` sender or sink; ``octets`` 0: until stopped. A sink listens at
    ``address``, a sender connects to it from ``source``. ``rate`` is octets a second."""

    role: str
    stream_id: int
    address: str
    port: int
    source: str
    rate: float
    octets: int
    dscp: int


_Order = TypeVar("_Order", SendOrder, CaptureOrder, TcpOrder)


def order_line(order: SendOrder | CaptureOrder | TcpOrder) -> bytes:
    return json.dumps(asdict(order)).encode() + b"\n"


def read_order(kind: type[_Order]) -> _Order:
    """The order on stdin's first line (read without taking what follows it)."""
    line = bytearray()
    while not line.endswith(b"\n"):
        octet = os.read(0, 1)
        if not octet:
            raise SystemExit("no order came on stdin")
        line += octet
    return kind(**json.loads(line))


def tell(event: str, **what: Any) -> None:
    """One event to stdout, at once."""
    os.write(1, json.dumps({"event": event, **what}).encode() + b"\n")


def run_ahead() -> bool:
    """Let this program run before others (SCHED_FIFO); False where that is not allowed.

    Emulated machines take every processor there is; a generator that waits for its turn
    behind them measures the scheduler.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    return True


class StopSignal:
    """Set when stdin says anything more, or ends: the harness is done with us, or gone."""

    def __init__(self) -> None:
        self._told = threading.Event()
        threading.Thread(target=self._listen, name="stdin", daemon=True).start()

    def __bool__(self) -> bool:
        return self._told.is_set()

    def wait(self, seconds: float) -> bool:
        return self._told.wait(seconds)

    def _listen(self) -> None:
        select.select([0], [], [])
        self._told.set()
