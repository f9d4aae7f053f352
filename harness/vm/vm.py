"""A VM: one QEMU process on a machine, its QMP session, its run state.

QEMU's events become facts, stamped by QEMU's own clock mapped to the run's, and go to a
sink in QEMU's order. A QEMU that ends, or a session that is lost, ends every wait with an
error that carries the last lines of QEMU's output.

Not here: command lines (``plan``), what a migration should do (``scenario``). Neighbours:
``session`` speaks QMP, ``state`` says what may be done when, ``loop`` owns asyncio.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from harness.errors import DeadlineExceeded, ReachError, VmError, VmExited
from harness.observe import QmpEvent
from harness.observe.record import now_ns
from harness.reach.clock import Stamp
from harness.reach.deadline import Deadline
from harness.reach.machine import Machine, RemoteProcess
from harness.reach.wire import AgentRefused
from harness.versions import QemuWords, words_of_schema
from harness.vm.loop import LoopThread, shared_loop
from harness.vm.migration import (
    ENDED,
    Capability,
    MigrationInfo,
    ParameterValue,
    migration_info,
)
from harness.vm.session import QmpSession, SessionLost
from harness.vm.state import ALIVE, RunState, after_event, from_qemu, requires
from harness.vm.terms import Terms

EventSink = Callable[[QmpEvent], None]
Role = Literal["source", "destination", ""]

_UNKNOWN_TIME_ERROR_NS = 1_000_000_000
_EXIT_WAIT = 5.0
"""Seconds between the end of a QMP session and the news that the process has ended."""


class Vm:
    """One QEMU. ``guest`` names it in facts and errors; ``role`` is its part in a migration.

    ``sink`` gets every event, ``on_exit`` the end of the process; both run on threads that
    must not be kept waiting.
    """

    def __init__(
        self,
        guest: str,
        machine: Machine,
        argv: Sequence[str],
        *,
        qmp: str,
        log: str,
        sink: EventSink,
        on_exit: Callable[[Vm], None] | None = None,
        role: Role = "",
        loop: LoopThread | None = None,
    ) -> None:
        self.guest, self.machine = guest, machine
        self.argv, self.log, self.role = tuple(argv), log, role
        self.title = f"{guest} on {machine.name}"
        self.process: RemoteProcess | None = None
        self._qmp, self._sink, self._on_exit = qmp, sink, on_exit
        self._loop = loop or shared_loop()
        self._session: QmpSession | None = None
        self._changed = threading.Condition()
        self._state = RunState.NEW
        self._events: list[QmpEvent] = []
        self._lost = ""
        self.words = QemuWords()
        """What this QEMU knows, where somebody has asked it."""
        self.killed = False
        """Whether ``kill`` was asked for."""
        self._terms = Terms(self.title)

    @property
    def state(self) -> RunState:
        return self._state

    @property
    def events(self) -> tuple[QmpEvent, ...]:
        """All events so far, in QEMU's order; ``len`` of it is a position for ``wait_event``."""
        with self._changed:
            return tuple(self._events)

    @property
    def exit_status(self) -> int | None:
        """Exit status of QEMU (negative: the signal that ended it); None while it runs."""
        return self.process.status if self.process else None

    @property
    def exited_at(self) -> Stamp | None:
        return self.process.ended_at if self.process else None

    def log_tail(self) -> tuple[str, ...]:
        """The last lines of QEMU's output, or why they cannot be had."""
        if self.process is None:
            return ()
        try:
            return self.process.log_tail()
        except (ReachError, DeadlineExceeded) as error:
            return (f"({self.log} cannot be read: {error.message})",)

    # -- start and end ---------------------------------------------------------------------

    @requires(RunState.NEW)
    def start(self, deadline: Deadline) -> None:
        """Start QEMU and open its QMP session. VmExited with QEMU's words when it gives up."""
        self._state = RunState.STARTING
        self.process = self.machine.spawn(self.argv, log=self.log, on_end=self._ended)
        session = QmpSession(self.title, self._on_event, self._on_lost)
        connection = self._await_socket(deadline)
        try:
            self._loop.run(
                session.open(connection), deadline, f"{self.title}: QMP greeting and negotiation"
            )
        except SessionLost as error:
            raise self._ended_error("starting", str(error)) from error
        self._session = session
        self.refresh()

    def _await_socket(self, deadline: Deadline) -> Any:
        """QEMU makes the socket some time after it was started; nothing announces it."""
        pause = 0.005
        while True:
            try:
                # Answered at once, with or without a socket; not bound by what is left.
                return self.machine.connect(self._qmp)
            except AgentRefused as error:
                last = error.message
            if self.process is None or not self.process.running:
                raise self._ended_error("starting", "")
            if deadline.expired:
                raise deadline.error(f"{self.title}: QMP socket", last)
            self._process_ends_within(deadline.at_most(pause))
            pause = min(pause * 1.5, 0.1)

    @requires(*ALIVE, RunState.STARTING, RunState.FAILED, RunState.EXITED)
    def quit(self, deadline: Deadline) -> int:
        """End QEMU, by QMP if it listens and by SIGKILL at the deadline; its exit status."""
        if self.process is None:
            raise VmError(f"{self.title}: was never started")
        if self._session and self._state is not RunState.EXITED and not self._lost:
            # Suppressed: gone before it answered, or it hangs; both are seen to below.
            with contextlib.suppress(VmError, DeadlineExceeded):
                self._call("quit", None, deadline.at_most(_EXIT_WAIT))
        if not self._process_ends_within(deadline.at_most(_EXIT_WAIT)):
            return self.kill()
        return self.process.wait(deadline)

    def kill(self) -> int:
        """SIGKILL; the exit status. For a QEMU that hangs, and to test what happens then."""
        if self.process is None:
            raise VmError(f"{self.title}: was never started")
        self.killed = True
        self.process.signal(signal.SIGKILL)
        return self.process.wait(Deadline(10))

    # -- QMP -------------------------------------------------------------------------------

    @requires(*ALIVE, RunState.STARTING, RunState.FAILED)
    def execute(
        self, command: str, args: Mapping[str, object] | None = None, *, timeout: float = 30.0
    ) -> object:
        """The value of a QMP command. QmpRefused with QEMU's class and description; VmExited
        when QEMU ends before it answers; DeadlineExceeded after ``timeout`` seconds."""
        return self._call(command, args, Deadline(timeout))

    def version(self) -> str:
        """QEMU's version as it says it itself, e.g. ``10.0.13``."""
        answer = self.execute("query-version")
        if not isinstance(answer, Mapping):
            raise VmError(f"{self.title}: query-version answered {answer!r}")
        numbers = answer["qemu"]
        return f"{numbers['major']}.{numbers['minor']}.{numbers['micro']}"

    def machine_type(self) -> str:
        """The machine that QEMU is, e.g. ``pc-q35-10.0`` where ``q35`` was asked for."""
        answer = self.execute("qom-get", {"path": "/machine", "property": "type"})
        if not isinstance(answer, str):
            raise VmError(f"{self.title}: the type of /machine is {answer!r}")
        return answer.removesuffix("-machine")

    def ask_words(self) -> QemuWords:
        """What this QEMU says it knows (`query-qmp-schema`, 240 kB in QEMU 10.0)."""
        return words_of_schema(self.execute("query-qmp-schema"))

    def refresh(self) -> RunState:
        """Ask QEMU for its run state."""
        while True:
            seen = len(self.events)
            answer = self.execute("query-status")
            if not isinstance(answer, Mapping):
                raise VmError(f"{self.title}: query-status answered {answer!r}")
            with self._changed:
                if self._state is RunState.EXITED:
                    return self._state
                # An event that came in meanwhile may be newer than the answer: ask again.
                if len(self._events) == seen:
                    self._state = from_qemu(str(answer["status"]))
                    return self._state

    def pause(self) -> None:
        self.execute("stop")

    def resume(self) -> None:
        self.execute("cont")

    def ended_within(self, deadline: Deadline) -> bool:
        """Whether QEMU has ended by the deadline."""
        return self._process_ends_within(deadline)

    def must_run(self) -> None:
        """VmExited, with QEMU's last words, when it has ended."""
        # The process may be known to have ended a moment before its state says so.
        if self.process is not None and not self.process.running:
            raise self._ended_error("it should have gone on", "")

    def wait_event(
        self, wanted: Callable[[QmpEvent], bool], deadline: Deadline, *, since: int = 0, what: str
    ) -> QmpEvent:
        """The first event from position ``since`` on that is ``wanted``.

        ``what`` says it in words. VmExited when QEMU ends first; DeadlineExceeded names the
        last event.
        """
        position = since
        with self._changed:
            while True:
                for event in self._events[position:]:
                    if wanted(event):
                        return event
                position = len(self._events)
                if self._lost or self._state is RunState.EXITED:
                    break
                if deadline.expired:
                    last = self._events[-1] if self._events else None
                    seen = f"{last.name} {dict(last.data)}" if last else "no event"
                    raise deadline.error(f"{self.title}: {what}", seen)
                self._changed.wait(deadline.left)
        raise self._ended_error(f"waiting for {what}", self._lost)

    # -- migration -------------------------------------------------------------------------

    @requires(RunState.RUNNING, RunState.PAUSED)
    def migrate(
        self,
        uri: str,
        *,
        capabilities: Capability | None = None,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        """Start a migration to ``uri`` and return; ``wait_migration`` waits for its end."""
        self._prepare(capabilities, parameters)
        self.execute("migrate", {"uri": uri})

    @requires(*ALIVE)
    def recover_incoming(self, uri: str) -> None:
        """Listen at ``uri`` once more, for a paused postcopy.

        Out of band: QEMU's main thread may wait for memory that has not come.
        """
        self._call("migrate-recover", {"uri": uri}, Deadline(10), oob=True)

    def resume_migration(self, uri: str) -> None:
        """Connect the source of a paused postcopy to ``uri`` again."""
        self.execute("migrate", {"uri": uri, "resume": True})

    @requires(RunState.INCOMING)
    def migrate_incoming(
        self,
        uri: str,
        *,
        capabilities: Capability | None = None,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        """Listen at ``uri`` (QEMU was started with ``-incoming defer``)."""
        self._prepare(capabilities, parameters)
        self.execute("migrate-incoming", {"uri": uri})

    def incoming_port(self) -> int:
        """The TCP port that it listens at, after ``migrate_incoming`` with port 0."""
        answer = self.execute("query-migrate")
        addresses = answer.get("socket-address") if isinstance(answer, Mapping) else None
        if not addresses:
            raise VmError(f"{self.title}: does not say where it listens (query-migrate: {answer})")
        return int(addresses[0]["port"])

    def migrate_cancel(self) -> None:
        self.execute("migrate_cancel")

    def query_migrate(self) -> MigrationInfo:
        answer = self.execute("query-migrate")
        if not isinstance(answer, Mapping):
            raise VmError(f"{self.title}: query-migrate answered {answer!r}")
        return migration_info(answer)

    def wait_migration(self, deadline: Deadline, *, since: int = 0) -> MigrationInfo:
        """Wait until the migration is completed, failed or cancelled, and what QEMU says of it.

        ``since`` is the position before ``migrate``. A failure is not an error here.
        """
        self.wait_event(
            lambda event: event.name == "MIGRATION" and event.data.get("status") in ENDED,
            deadline,
            since=since,
            what="end of the migration",
        )
        return self.query_migrate()

    def _prepare(
        self,
        capabilities: Capability | None,
        parameters: Mapping[str, ParameterValue] | None,
    ) -> None:
        self._terms.give(self.execute, self.words, capabilities or {}, parameters or {})

    # -- inside ----------------------------------------------------------------------------

    def _call(
        self,
        command: str,
        args: Mapping[str, object] | None,
        deadline: Deadline,
        *,
        oob: bool = False,
    ) -> object:
        if self._session is None:
            raise VmError(f"{self.title}: there is no QMP session yet")
        try:
            return self._loop.run(
                self._session.execute(command, args, oob=oob),
                deadline,
                f"{self.title}: answer to {command}",
            )
        except SessionLost as error:
            raise self._ended_error(command, str(error)) from error

    def _on_event(self, message: Mapping[str, Any]) -> None:
        """On the loop thread, in QEMU's order."""
        stamp = message.get("timestamp", {})
        time_us = int(stamp.get("seconds", -1)) * 1_000_000 + int(stamp.get("microseconds", 0))
        if time_us >= 0:
            at = self.machine.clock.stamp("realtime", time_us * 1000)
        else:  # QEMU says -1 when it could not read its clock
            at = Stamp(now_ns(), _UNKNOWN_TIME_ERROR_NS)
        event = QmpEvent(
            t_ns=at.t_ns,
            err_ns=at.err_ns + 1000,  # QEMU gives whole microseconds
            guest=self.guest,
            host=self.machine.name,
            role=self.role,
            name=str(message["event"]),
            data=dict(message.get("data", {})),
            qemu_time_us=time_us,
        )
        self._sink(event)
        with self._changed:
            self._events.append(event)
            if self._state in ALIVE:
                status = str(event.data.get("status", ""))
                self._state = after_event(self._state, event.name, status)
            self._changed.notify_all()

    def _on_lost(self, reason: str) -> None:
        with self._changed:
            self._lost = reason
            self._changed.notify_all()

    def _ended(self, _process: RemoteProcess) -> None:
        """On the reading thread of the machine's connection."""
        with self._changed:
            self._state = RunState.EXITED
            self._changed.notify_all()
        if self._on_exit:
            self._on_exit(self)

    def _process_ends_within(self, deadline: Deadline) -> bool:
        if self.process is None:
            return True
        return self.process.ended_within(deadline)

    def _ended_error(self, doing: str, reason: str) -> VmError:
        """The error for a QEMU that went away, with what it said last."""
        if not self._process_ends_within(Deadline(_EXIT_WAIT)):
            return VmError(
                f"{self.title}: the QMP session was lost while {doing}, but QEMU still runs",
                evidence=(reason, *self.log_tail()),
            )
        status = self.exit_status
        how = "in an unknown way (connection lost)"
        if status is not None:
            how = f"with status {status}"
            if status < 0:
                how = f"by signal {signal.Signals(-status).name}"
        return VmExited(
            f"{self.title}: QEMU ended {how} while {doing}",
            hint="its whole output, and the guest's console, are in logs/ of the run directory",
            evidence=self.log_tail(),
        )
