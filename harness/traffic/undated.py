"""What a guest has told of itself and what has no time on the run's clock yet.

A link event or a kernel message waits here until a later reading of the guest's clock bounds
its time from above; then it becomes a fact, never dated later than its receipt.

Neighbours: ``guestlink`` feeds it and hands its facts on; ``kernellog`` knows when a message was
logged, ``harness.measure.clocks`` what the guest's time is on the run's clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from harness.errors import RecordError
from harness.measure.clocks import GuestClockMap
from harness.observe import Fact, KernelMessage, LinkEvent, Note
from harness.traffic.guestlines import Line
from harness.traffic.kernellog import KernelLog, LoggedMessage


class Undated:
    """The link events and kernel messages of one guest that wait for their time."""

    def __init__(self, guest: str, clock: GuestClockMap) -> None:
        self._guest = guest
        self._clock = clock
        self._links: deque[LinkEvent] = deque()
        self._kernel = KernelLog()

    @property
    def links(self) -> int:
        """How many link events wait."""
        return len(self._links)

    def link(self, event: LinkEvent) -> None:
        """A link event; its time is that of its receipt so far."""
        self._links.append(event)

    def kernel(self, line: Line) -> Note | None:
        """A line of kind ``kmsg``, ``kmsg-clock`` or ``kmsg-gap``; what there is to note."""
        try:
            if line.kind == "kmsg":
                self._kernel.message(line)
            elif line.kind == "kmsg-clock":
                self._kernel.mark(line)
            else:
                return self._gap(line)
        except (KeyError, TypeError, ValueError) as error:
            return Note(
                t_ns=line.received_ns, text=f"guest {self._guest}: {line.kind} line: {error!r}"
            )
        return None

    def _gap(self, line: Line) -> Note:
        why = {
            "flood": "they came faster than the probe passes them on",
            "overwritten": "the kernel overwrote them before the probe had read them",
        }[line.data["why"]]
        count = int(line.data["messages"])
        return Note(
            t_ns=line.received_ns,
            text=f"guest {self._guest}: {count} kernel messages left out: {why}",
        )

    def dated(self, *, bounded_to: int = 0, final: bool = False) -> Iterator[Fact]:
        """The facts that a reading of the guest's clock at ``bounded_to`` ns bounds; at the very
        end (``final``) all."""
        while self._links and (final or self._links[0].guest_ns <= bounded_to):
            event = self._links.popleft()
            yield from self._link(event)
        for message in self._kernel.take(bounded_to, final=final):
            yield from self._message(message)

    def _link(self, event: LinkEvent) -> Iterator[Fact]:
        found = self._between(event.guest_ns, event.guest_ns, event.t_ns)
        if found is None:
            yield self._never_read(event.t_ns, "link event")
        t_ns, err_ns = found or (event.t_ns, 0)
        yield event.model_copy(update={"t_ns": t_ns, "err_ns": err_ns})

    def _message(self, message: LoggedMessage) -> Iterator[Fact]:
        found = self._between(message.from_ns, message.to_ns, message.received_ns)
        if found is None:
            yield self._never_read(message.received_ns, "kernel message")
        t_ns, err_ns = found or (message.received_ns, 0)
        yield KernelMessage(
            t_ns=t_ns, err_ns=err_ns, guest=self._guest, level=message.level, text=message.text,
            seq=message.seq, stamp_us=message.stamp_us, guest_ns=message.read_ns,
        )  # fmt: skip

    def _between(self, from_ns: int, to_ns: int, received_ns: int) -> tuple[int, int] | None:
        """Run time and error of what happened between two guest times and before its receipt."""
        try:
            times, errors = self._clock.to_run(np.array([from_ns, to_ns], dtype=np.int64))
        except RecordError:
            return None
        late = min(int(times[1]) + int(errors[1]), received_ns)
        early = min(int(times[0]) - int(errors[0]), late)
        return (early + late) // 2, (late - early + 1) // 2

    def _never_read(self, t_ns: int, what: str) -> Note:
        return Note(
            t_ns=t_ns,
            text=f"guest {self._guest}: its clock was never read; the next {what} is dated by "
            "its receipt, which may be much later",
        )
