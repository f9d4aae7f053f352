"""When a guest's kernel logged its messages, on the guest's CLOCK_MONOTONIC.

What is certain of a message that labprobe read from /dev/kmsg: it was logged after labprobe
last saw that nothing was unread, and before it read the message. The record's own stamp is
finer, but it is printk's: local_clock(), which is another clock than CLOCK_MONOTONIC, runs at
its own rate, and may jump when a migration brings the guest to another processor. labprobe
therefore writes marks between the messages, each between two readings of CLOCK_MONOTONIC: a mark
and its stamp say how far local_clock() was ahead at that moment. Of a message between two marks
the distance was one between those of the marks (if the clock jumped between them, it jumped
before the message or after it, and both are allowed for).

A tick is allowed for on both sides: where the processor's counter is not stable (``tsc=unstable``,
usual for nested guests), local_clock() is coupled to CLOCK_MONOTONIC only from tick to tick, on
each CPU for itself (kernel/sched/clock.c). Where the stamps contradict what is certain, or there
are no marks (a kernel may refuse them: ``printk.devkmsg=off``), only the certain counts.

Neighbours: ``undated`` maps these times to the run's clock; labprobe has the other half.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.traffic.guestlines import Line

_MARK_LATE_NS = 3_000_000_000
"""A mark follows a message within a second; after this long, none is expected any more."""


@dataclass(frozen=True, slots=True)
class LoggedMessage:
    """A message and the interval of its time: ``from_ns`` to ``to_ns`` of the guest's clock.

    ``read_ns``: when labprobe read it; ``received_ns``: when it came here, on the run's clock.
    """

    seq: int
    level: int
    text: str
    stamp_us: int
    from_ns: int
    to_ns: int
    read_ns: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far printk's clock was ahead of CLOCK_MONOTONIC at one moment: at least, at most."""

    at_least_ns: int
    at_most_ns: int
    tick_ns: int


class KernelLog:
    """Holds messages until the mark that follows them has come."""

    def __init__(self) -> None:
        self._mark: _Mark | None = None
        self._waiting: list[LoggedMessage] = []
        self._ready: list[LoggedMessage] = []

    def message(self, line: Line) -> None:
        """A ``kmsg`` line. Raises KeyError, ValueError, TypeError if it is none."""
        data = line.data
        read_ns = int(data["guest_ns"])
        self._waiting.append(
            LoggedMessage(
                seq=int(data["seq"]), level=int(data["level"]), text=str(data["text"]),
                stamp_us=int(data["stamp_us"]), from_ns=min(int(data["empty_ns"]), read_ns),
                to_ns=read_ns, read_ns=read_ns, received_ns=line.received_ns,
            )
        )  # fmt: skip

    def mark(self, line: Line) -> None:
        """A ``kmsg-clock`` line: what came before it has its second mark."""
        data = line.data
        stamp_ns = int(data["stamp_us"]) * 1000  # printk cuts off what is below a microsecond
        mark = _Mark(
            stamp_ns - int(data["to_ns"]), stamp_ns + 999 - int(data["from_ns"]),
            int(data["tick_ns"]),
        )  # fmt: skip
        self._ready += [_narrowed(one, self._mark, mark) for one in self._waiting]
        self._waiting.clear()
        self._mark = mark

    def take(self, guest_ns: int, *, final: bool = False) -> Iterator[LoggedMessage]:
        """Messages, in their order, that were read before the guest's clock was ``guest_ns``."""
        late = [one for one in self._waiting if one.read_ns < guest_ns - _MARK_LATE_NS]
        if final or late:  # those before a late one are as late
            self._ready += self._waiting if final else late
            self._waiting = [] if final else self._waiting[len(late) :]
        while self._ready and (final or self._ready[0].to_ns <= guest_ns):
            yield self._ready.pop(0)


def _narrowed(message: LoggedMessage, before: _Mark | None, behind: _Mark) -> LoggedMessage:
    """The message with the times that the marks on both of its sides allow."""
    if before is None:
        return message
    tick = max(before.tick_ns, behind.tick_ns)
    stamp_ns = message.stamp_us * 1000
    low = stamp_ns - max(before.at_most_ns, behind.at_most_ns) - tick
    high = stamp_ns + 999 - min(before.at_least_ns, behind.at_least_ns) + tick
    if high < message.from_ns or low > message.to_ns:
        return message
    return LoggedMessage(
        message.seq, message.level, message.text, message.stamp_us, max(low, message.from_ns),
        min(high, message.to_ns), message.read_ns, message.received_ns,
    )  # fmt: skip
