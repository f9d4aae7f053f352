"""What the kernel of a host that the lab booted logs, as facts with their times.

Only of host VMs: the log of this machine, and that of a real one, is its owner's, and
marks (``reach.agent.kmsg``) are not written into it.

Neighbours: ``lab`` begins and ends one for each host VM; ``harness.traffic.kernellog`` narrows
the times, as it does for guests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict

from harness.errors import DeadlineExceeded, ReachError
from harness.observe import KernelMessage, Note
from harness.observe.record import now_ns
from harness.reach.kernellog import KernelLogWatch, LogEntry, LogGap, LogRecord
from harness.reach.machine import Machine
from harness.reach.wire import AgentRefused
from harness.traffic.guestlines import Line
from harness.traffic.kernellog import KernelLog, LoggedMessage

Record = Callable[[KernelMessage | Note], None]


class HostLog:
    """The log of one host, from ``begin`` to ``end``."""

    def __init__(self, host: str, machine: Machine, record: Record) -> None:
        self._host = host
        self._machine = machine
        self._record = record
        self._log = KernelLog()
        self._watch: KernelLogWatch | None = None

    def begin(self, path: str = "/dev/kmsg") -> None:
        """Follow from now on. A log that cannot be read is noted: it is no reason to end a run."""
        machine = self._machine
        try:
            self._watch = KernelLogWatch(machine.call, machine.wire, self._told, path)
        except AgentRefused as error:
            self._record(Note(t_ns=now_ns(), text=error.message))

    def end(self) -> None:
        """Record what still waits for its time, and nothing more."""
        watch, self._watch = self._watch, None
        if watch is None:
            return
        try:
            watch.stop()
        except (ReachError, DeadlineExceeded) as error:
            self._record(Note(t_ns=now_ns(), text=f"{self._host}: kernel log: {error.message}"))
        self._dated(self._log.take(0, final=True))

    def _told(self, entry: LogEntry) -> None:
        """On the thread that reads from the machine's agent: only record."""
        if isinstance(entry, LogGap):
            count = str(entry.messages) if entry.messages else "all further"
            text = f"{self._host}: {count} kernel messages left out: {entry.why}"
            self._record(Note(t_ns=now_ns(), text=text))
        elif isinstance(entry, LogRecord):
            data = {**asdict(entry), "guest_ns": entry.read_ns}
            self._log.message(Line(0, "kmsg", None, data, now_ns()))
            self._dated(self._log.take(entry.read_ns))
        else:
            self._log.mark(Line(0, "kmsg-clock", None, asdict(entry), now_ns()))
            self._dated(self._log.take(entry.to_ns))

    def _dated(self, messages: Iterable[LoggedMessage]) -> None:
        for message in messages:
            early = self._machine.clock.stamp("monotonic", message.from_ns)
            late = self._machine.clock.stamp("monotonic", message.to_ns)
            until = min(late.t_ns + late.err_ns, message.received_ns)
            since = min(early.t_ns - early.err_ns, until)
            self._record(
                KernelMessage(
                    t_ns=(since + until) // 2, err_ns=(until - since + 1) // 2, host=self._host,
                    level=message.level, text=message.text, seq=message.seq,
                    stamp_us=message.stamp_us,
                )
            )  # fmt: skip
