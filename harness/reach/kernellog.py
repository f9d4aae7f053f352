"""The kernel's log of a machine as it comes: ``KernelLogWatch``.

Neighbours: ``agent/kmsg.py`` reads it on the machine; ``harness.lab.hostlog`` makes facts of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.reach.links import Call
from harness.reach.wire import Wire


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A message. It was logged between ``empty_ns`` and ``read_ns`` (the machine's
    CLOCK_MONOTONIC); ``stamp_us`` is printk's own time of it."""

    seq: int
    level: int
    text: str
    stamp_us: int
    empty_ns: int
    read_ns: int


@dataclass(frozen=True, slots=True)
class LogMark:
    """printk's clock was ``stamp_us`` between ``from_ns`` and ``to_ns`` of CLOCK_MONOTONIC."""

    stamp_us: int
    from_ns: int
    to_ns: int
    tick_ns: int


@dataclass(frozen=True, slots=True)
class LogGap:
    """``messages`` were left out (0: all from now on), and why, in words."""

    messages: int
    why: str


LogEntry = LogRecord | LogMark | LogGap
_WHY = {
    "flood": "they came faster than they are passed on",
    "overwritten": "the kernel overwrote them before they were read",
}


class KernelLogWatch:
    """Gives ``sink`` what the kernel logs from now on, until ``stop`` (on the connection's
    reading thread: be quick and do not call the machine). AgentRefused without the right to."""

    def __init__(
        self, call: Call, wire: Wire, sink: Callable[[LogEntry], None], path: str = "/dev/kmsg"
    ) -> None:
        self._call, self._wire, self._sink = call, wire, sink
        self._handle = wire.handle(self._on_event)
        call("kmsg_watch", handle=self._handle, path=path)

    def _on_event(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "kmsg":
            self._sink(
                LogRecord(
                    event["seq"], event["level"], event["text"], event["stamp_us"],
                    event["empty_ns"], event["read_ns"],
                )
            )  # fmt: skip
        elif kind == "kmsg-clock":
            self._sink(
                LogMark(event["stamp_us"], event["from_ns"], event["to_ns"], event["tick_ns"])
            )
        elif kind == "kmsg-gap":
            self._sink(LogGap(event["messages"], _WHY[event["why"]]))
        elif kind == "kmsg-lost":
            self._sink(LogGap(0, event["problem"]))

    def stop(self) -> None:
        """Nothing is told after this returned."""
        self._call("kmsg_unwatch", within=5, handle=self._handle)
        self._wire.release(self._handle)
