"""Captures on the taps of failover pairs, on whatever host they are.

The standby has a tap on every kind of host; an emulated primary has one too; a virtual
function has none, and what goes through it the host does not see. Which of a stream's
packets went over which tap tells their path.

``tcpdump`` captures: it is on every host worth the name, and in C, where a host may be
emulated. Two run on each tap, because a pcap file keeps no direction: one for what comes
from the guest (``-Q in``), one for what goes to it. (The filter words ``inbound`` and
``outbound`` will not do: libpcap 1.10 lost the first block of the capture by them.) Frames
wait in a block of the kernel for up to a second before tcpdump gets them, and at its end it
drops those that still wait. So both are asked for their counts (SIGUSR1) until together
they have written what the kernel had seen on the tap when they were first asked, and only
then ended. The kernel's count of the second is that of both directions: it has no filter for
what goes out. What comes in the moment before tcpdump listens the kernel may count although
tcpdump never gets it: where the counts have stood still for longer than any frame waits, all has
been written too. Where a wake-up for every frame costs little, frames do not wait at all
(``--immediate-mode``): a second less for whoever waits for the end of a capture.

A host without tcpdump is no failure: there is no capture, and the reason is kept.

Neighbours: ``guest`` begins and ends it with each QEMU; ``harness.scenario.paths`` makes
records of what is fetched.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import DeadlineExceeded, ReachError
from harness.plan.model import PairPlan, Placement
from harness.reach.deadline import Deadline
from harness.reach.machine import Machine, RemoteProcess
from harness.reach.wire import AgentRefused

SNAPLEN = 128
"""Octets kept of a frame: its headers and the number behind them."""
_BUFFER_KIB = 8192
_LISTENING_S = 20.0
_SETTLED_S = 10.0
_END_S = 10.0
_ASK_EVERY_S = 0.2
_STEADY = 12
"""As many equal answers, asked for every 0.2 s, span twice the second that a frame waits."""

Role = Literal["standby", "primary"]
Direction = Literal["in", "out"]

_COUNTS = re.compile(
    r"(\d+) packets? captured,?\s+(\d+) packets? received by filter,?\s+"
    r"(\d+) packets? dropped by kernel"
)


@dataclass(frozen=True, slots=True)
class TcpdumpCounts:
    """What a tcpdump says of itself: frames written, given to it, and lost by the kernel."""

    captured: int
    received: int
    dropped: int


def read_counts(log: str) -> tuple[TcpdumpCounts, ...]:
    """Every count in a tcpdump's output, in their order."""
    return tuple(
        TcpdumpCounts(*(int(number) for number in found)) for found in _COUNTS.findall(log)
    )


def all_written(told: Sequence[Sequence[TcpdumpCounts]]) -> bool:
    """Whether the tcpdumps of one tap, which told these counts one after the other, have written
    all that the kernel had seen when they were first asked; or never will."""
    if not all(told):
        return False
    if any(counts[-1].dropped for counts in told):
        return True  # it never will be whole
    seen = max(counts[0].received for counts in told)
    if sum(counts[-1].captured for counts in told) >= seen:
        return True
    return all(len(counts) >= _STEADY and len(set(counts[-_STEADY:])) == 1 for counts in told)


@dataclass(frozen=True, slots=True)
class TapFile:
    """One direction of a tap's capture, fetched from its host. ``frames``: so many are in it,
    by tcpdump's own count."""

    path: Path
    frames: int


@dataclass(frozen=True, slots=True)
class TapCapture:
    """What was captured on one tap while one QEMU had it.

    ``number`` counts the guest's QEMUs from 1. ``problem`` says why the capture is not whole,
    empty when it is; files that could not be had are None. ``dropped``: frames that the
    kernel could not give to tcpdump.
    """

    guest: str
    host: str
    number: int
    standby: str
    role: Role
    ifname: str
    from_guest: TapFile | None = None
    to_guest: TapFile | None = None
    dropped: int = 0
    problem: str = ""


class _Tcpdump:
    """One tcpdump: one direction of one tap."""

    def __init__(
        self, machine: Machine, ifname: str, direction: Direction, run: str, *, immediate: bool
    ) -> None:
        self.machine = machine
        self._immediate = immediate
        self.ifname = ifname
        # The ending is one that an AppArmor profile of tcpdump lets it write.
        self.path = f"{run}/{ifname}.{direction}.pcap"
        self.log = f"{run}/{ifname}.{direction}.tcpdump"
        self.counts: TcpdumpCounts | None = None
        self.problem = ""
        """Why it cannot be asked any more, or what it lacks."""
        self.late = ""
        """What it did not do in time."""
        self._direction = direction
        self._process: RemoteProcess | None = None

    def start(self) -> None:
        argv = ["tcpdump", "-n", "-p", "-i", self.ifname, "-s", str(SNAPLEN)]
        argv += ["--time-stamp-precision", "nano", "-B", str(_BUFFER_KIB)]
        # Root keeps its rights: another user could not write into root's directory.
        argv += ["-Z", "root", "-w", self.path, "-Q", self._direction]
        argv += ["--immediate-mode"] if self._immediate else []
        try:
            self._process = self.machine.spawn(argv, log=self.log)
        except AgentRefused as error:
            if error.kind != "missing" or "tcpdump" not in error.message:
                raise
            self.problem = f"no tcpdump on {self.machine.name}"

    @property
    def running(self) -> bool:
        """Whether it may still be asked; ``problem`` says why it may not."""
        if self._process is None or self.problem:
            return False
        if not self._process.running:
            said = [line for line in self._said().splitlines() if line.strip()]
            last = f": {said[-1]}" if said else ""
            self.problem = (
                f"tcpdump on {self.ifname} of {self.machine.name} ended by itself with status "
                f"{self._process.status}{last}"
            )
            return False
        return True

    def listening(self) -> bool:
        return not self.running or "listening on" in self._said()

    def ask(self) -> None:
        """Have it say its counts."""
        if self._process is not None and self.running:
            self._process.signal(signal.SIGUSR1)

    def told(self) -> tuple[TcpdumpCounts, ...]:
        """The counts that it has said so far."""
        return read_counts(self._said())

    def end(self) -> None:
        """End it; ``counts`` are its last words."""
        if self._process is None or not self.running:
            return
        self._process.signal(signal.SIGINT)
        if not self._process.ended_within(Deadline(_END_S)):
            self.problem = f"tcpdump on {self.ifname} of {self.machine.name} did not end"
            return
        said = read_counts(self._said())
        if not said:
            self.problem = f"tcpdump on {self.ifname} of {self.machine.name} told no counts"
            return
        self.counts = said[-1]
        if self.counts.dropped:
            self.problem = (
                f"the kernel of {self.machine.name} dropped {self.counts.dropped} frames of the "
                f"capture on {self.ifname}"
            )

    def _said(self) -> str:
        return self.machine.read_text(self.log, tail=1 << 16)


@dataclass(frozen=True, slots=True)
class _Tap:
    standby: str
    role: Role
    ifname: str
    from_guest: _Tcpdump
    to_guest: _Tcpdump

    @property
    def dumps(self) -> tuple[_Tcpdump, _Tcpdump]:
        return self.from_guest, self.to_guest

    def listening(self) -> bool:
        return all(dump.listening() for dump in self.dumps)

    def settled(self) -> bool:
        """Whether all has been written that the kernel had seen here when first asked; or
        never will be, and why is known."""
        if not all(dump.running for dump in self.dumps):
            return True
        for dump in self.dumps:
            dump.ask()
        return all_written([dump.told() for dump in self.dumps])


class TapWatch:
    """The captures on the taps of one QEMU: ``begin`` before it starts, ``wait_listening`` before
    a guest can run in it, ``end`` when nothing that matters comes any more and while the taps are
    still there, then ``fetch``. ``immediate``: frames do not wait in blocks of the kernel."""

    def __init__(
        self,
        machine: Machine,
        placement: Placement,
        pairs: Sequence[PairPlan],
        *,
        run: str,
        number: int,
        immediate: bool = False,
    ) -> None:
        self._machine = machine
        self._guest = placement.guest
        self._number = number
        self._problem = ""
        self._ended = False
        of: dict[str, tuple[str, Role]] = {
            pair.standby: (pair.standby, "standby") for pair in pairs
        }
        of |= {pair.primary: (pair.standby, "primary") for pair in pairs if pair.primary}
        self._taps = tuple(
            _Tap(
                *of[tap.nic],
                tap.ifname,
                _Tcpdump(machine, tap.ifname, "in", run, immediate=immediate),
                _Tcpdump(machine, tap.ifname, "out", run, immediate=immediate),
            )
            for tap in placement.taps
            if tap.nic in of
        )

    @property
    def _dumps(self) -> list[_Tcpdump]:
        return [dump for tap in self._taps for dump in tap.dumps]

    def begin(self) -> None:
        """Start the programs that capture."""
        self._guarded(self._begin)

    def _begin(self) -> None:
        for dump in self._dumps:
            dump.start()

    def wait_listening(self) -> None:
        """Return when every tcpdump listens, or has said why it cannot."""
        self._guarded(self._wait_listening)

    def _wait_listening(self) -> None:
        self._wait(_Tap.listening, Deadline(_LISTENING_S), _ASK_EVERY_S / 4, "listens")

    def end(self) -> None:
        """Let each tcpdump write what it has been given, and end it. Again is no error."""
        if not self._ended:
            self._ended = True
            self._guarded(self._end)

    def _end(self) -> None:
        self._wait(_Tap.settled, Deadline(_SETTLED_S), _ASK_EVERY_S, "has written all it saw")
        for dump in self._dumps:
            dump.end()

    def _wait(
        self, done: Callable[[_Tap], bool], deadline: Deadline, every_s: float, what: str
    ) -> None:
        """Until ``done`` for every tap. A tcpdump's output is a file on another machine: nothing
        announces a new line there, so it is read again and again."""
        pause = threading.Event()
        waiting = [tap for tap in self._taps if not done(tap)]
        while waiting and not deadline.expired:
            pause.wait(every_s)
            waiting = [tap for tap in waiting if not done(tap)]
        for tap in waiting:
            for dump in tap.dumps:
                dump.late = (
                    f"tcpdump on {tap.ifname} of {self._machine.name} {what}: not within "
                    f"{deadline.seconds:g} s"
                )

    def _guarded(self, action: Callable[[], None]) -> None:
        # A capture is no reason to end a run; what it lacks is told instead.
        try:
            action()
        except (ReachError, DeadlineExceeded) as error:
            self._problem = self._problem or f"capture on {self._machine.name}: {error.message}"

    def fetch(self, into: Path) -> tuple[TapCapture, ...]:
        """Copy the files to the directory ``into``; one capture a tap."""
        return tuple(self._fetched(tap, into) for tap in self._taps)

    def _fetched(self, tap: _Tap, into: Path) -> TapCapture:
        problems = [self._problem, *(dump.problem for dump in tap.dumps)]
        problems += [dump.late for dump in tap.dumps]
        files: list[TapFile | None] = []
        for dump in tap.dumps:
            found = None
            if dump.counts is not None:
                name = dump.path.rpartition("/")[2]
                path = into / f"{self._machine.name}-{self._guest}.{self._number}-{name}"
                try:
                    self._machine.get(dump.path, path)
                    found = TapFile(path, dump.counts.captured)
                except (ReachError, DeadlineExceeded, OSError) as error:
                    problems.append(f"the capture on {self._machine.name} is lost: {error}")
            elif not any(problems):
                problems.append(f"the capture on {self._machine.name} was not ended")
            files.append(found)
        return TapCapture(
            guest=self._guest,
            host=self._machine.name,
            number=self._number,
            standby=tap.standby,
            role=tap.role,
            ifname=tap.ifname,
            from_guest=files[0],
            to_guest=files[1],
            dropped=sum(dump.counts.dropped for dump in tap.dumps if dump.counts is not None),
            problem="; ".join(dict.fromkeys(problem for problem in problems if problem)),
        )
