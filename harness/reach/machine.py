"""One interface to a machine, wherever it is: commands, processes, files, sockets.

A machine is reached through an agent (``agent``), whose operations have types here and in
``links`` and ``pci``. What the agent made, it undoes at ``close``, or by itself when the
connection ends.

Kinds: ``local.NamespaceMachine`` (a namespace here), ``ssh.SshMachine`` (a real machine or
a booted host VM). ``guest.GuestMachine`` offers ``run`` in a guest. Neighbours: ``vm``,
``traffic``, ``probe`` and ``lab`` use machines and do not ask which kind they are.
"""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.errors import CleanupError, CommandFailed, ReachError
from harness.reach.clock import MachineClock, Reading, Stamp
from harness.reach.deadline import Deadline
from harness.reach.frames import Frames
from harness.reach.links import Links
from harness.reach.pci import Pci
from harness.reach.wire import Wire

Address = str | tuple[str, int]
"""A unix socket's path, or a TCP host and port, as seen on the machine."""

_QUICK = 30.0
"""Seconds for an operation that normally takes milliseconds."""
_TAIL = 20


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ran to its end."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class FileStatus:
    """Size in octets, mode as in ``stat``, time of the last change on the machine's clock."""

    size: int
    mode: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What an agent said of its machine when the session began."""

    python: str
    kernel: str
    uid: int
    netlink: bool


def must_succeed(machine: str, done: Completed) -> Completed:
    """``done``, or CommandFailed with the command, its status and its last lines."""
    if done.status == 0:
        return done
    command = " ".join(done.argv)
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()[-_TAIL:]
    raise CommandFailed(f"{machine}: `{command}` ended with status {done.status}", evidence=lines)


class RemoteProcess:
    """A process that the agent started; it dies with the agent."""

    def __init__(
        self,
        machine: Machine,
        argv: Sequence[str],
        log: str,
        on_end: Callable[[RemoteProcess], None] | None = None,
    ) -> None:
        self.argv = tuple(argv)
        self._on_end = on_end
        self.log = log
        self.pid = 0
        self._machine = machine
        self._ended = threading.Event()
        self._status: int | None = None
        self._ended_at: Stamp | None = None
        self.handle = machine.wire.handle(self._on_event)

    @property
    def status(self) -> int | None:
        """Exit status (negative: the signal that ended it); None while it runs, or when the
        connection was lost and nobody knows."""
        return self._status

    @property
    def ended_at(self) -> Stamp | None:
        return self._ended_at

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process has ended."""
        self._machine.call("kill", handle=self.handle, number=number)

    def ended_within(self, deadline: Deadline) -> bool:
        """Wait at most until ``deadline``; whether it has ended."""
        return self._ended.wait(deadline.left)

    def wait(self, deadline: Deadline) -> int:
        """The exit status; ReachError when the connection is lost before it is known."""
        if not self._ended.wait(deadline.left):
            raise deadline.error(f"{self._machine.name}: end of {self.argv[0]}", "still running")
        if self._status is None:
            raise ReachError(
                f"{self._machine.name}: connection lost; how {self.argv[0]} ended is not known"
            )
        return self._status

    def log_tail(self, lines: int = _TAIL) -> tuple[str, ...]:
        """The last lines of its output."""
        return tuple(self._machine.read_text(self.log, tail=1 << 16).splitlines()[-lines:])

    def _on_event(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "exit":
            self._status = int(event["status"])
            self._ended_at = self._machine.clock.stamp("monotonic", event["monotonic_ns"])
        if self._ended.is_set():
            return
        self._ended.set()
        if self._on_end:
            self._on_end(self)


class Machine:
    """A machine with an agent. Subclasses connect; this gives the operations."""

    def __init__(self, name: str, wire: Wire, *, local_clock: MachineClock | None = None) -> None:
        self.name = name
        self.wire = wire
        self.clock = local_clock or MachineClock(self._read_clock)
        self.links = Links(name, self.call, wire, self.clock)
        self.pci = Pci(name, self.call, wire, self.clock)
        self.frames = Frames(self.call, wire)
        self._closed = False
        self._scratch: str | None = None
        self.terms = Terms("", "", 0, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def call(self, op: str, *, within: float = _QUICK, **args: Any) -> Any:
        """An operation of the agent by name; the typed methods are made of it."""
        return self.wire.call(op, args, Deadline(within))

    def greet(self, *, lease_s: float = 0.0, path: str | None = None) -> Terms:
        """Agree on the terms of the session and start the clock; called by the subclasses."""
        said = self.call("hello", lease_s=lease_s, path=path)
        self.terms = Terms(said["python"], said["kernel"], said["uid"], said["netlink"])
        return self.terms

    # -- commands and processes ----------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60.0,
        check: bool = True,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run to the end. CommandFailed when ``check`` and the status is not 0;
        DeadlineExceeded, with its last output, when ``timeout`` (s) passed: it is then killed."""
        deadline = Deadline(timeout)
        got = self.call(
            "run", within=timeout + _QUICK, argv=list(argv), timeout=timeout,
            input=base64.b64encode(input).decode(), env=dict(env) if env else None,
        )  # fmt: skip
        stdout, stderr = (
            base64.b64decode(got[key]).decode(errors="replace") for key in ("stdout", "stderr")
        )
        if got["rc"] is None:
            last = (stderr.strip() or stdout.strip()).splitlines()[-1:]
            raise deadline.error(
                f"{self.name}: end of `{' '.join(argv)}`", last[0] if last else "no output"
            )
        done = Completed(tuple(argv), got["rc"], stdout, stderr)
        return must_succeed(self.name, done) if check else done

    def spawn(
        self,
        argv: Sequence[str],
        *,
        log: str,
        env: Mapping[str, str] | None = None,
        on_end: Callable[[RemoteProcess], None] | None = None,
    ) -> RemoteProcess:
        """Start a process whose output is appended to the file ``log`` on the machine.

        ``on_end`` is called once, on the connection's reading thread, when it has ended or
        the connection is lost: it must be quick and must not call the machine.
        """
        process = RemoteProcess(self, argv, log, on_end)
        got = self.call(
            "spawn", handle=process.handle, argv=list(argv), log=log,
            env=dict(env) if env else None,
        )  # fmt: skip
        process.pid = int(got["pid"])
        return process

    def load_module(self, name: str) -> None:
        """Load a kernel module; built in or loaded already is no error."""
        self.call("load_module", within=90, name=name)

    # -- sockets -------------------------------------------------------------------------

    def connect(self, address: Address, *, deadline: Deadline | None = None) -> socket.socket:
        """A socket whose other end is ``address`` on the machine.

        For control channels; refused connections raise AgentRefused at once.
        """
        return self.wire.stream(address, deadline or Deadline(_QUICK))

    # -- files ---------------------------------------------------------------------------

    @property
    def scratch(self) -> str:
        """Path of the session's own directory on the machine; made at first use."""
        if self._scratch is None:
            self._scratch = str(self.call("make_scratch", base=self._scratch_base()))
        return self._scratch

    def make_directory(self, path: str) -> None:
        self.call("make_directory", path=path)

    def read_bytes(self, path: str, *, limit: int = 1 << 24, tail: int = 0) -> bytes:
        """The first ``limit`` octets of a file, or its last ``tail``."""
        return base64.b64decode(
            self.call("read_file", path=path, limit=tail or limit, tail=bool(tail))
        )

    def read_text(self, path: str, *, limit: int = 1 << 24, tail: int = 0) -> str:
        return self.read_bytes(path, limit=limit, tail=tail).decode(errors="replace")

    def write_file(
        self, path: str, data: bytes, *, mode: int | None = None, append: bool = False
    ) -> None:
        """Write a small file, or to a file of sysfs; ``put`` is for large ones."""
        text = base64.b64encode(data).decode()
        self.call("write_file", path=path, data=text, mode=mode, append=append)

    def status(self, path: str) -> FileStatus | None:
        """None when there is nothing at ``path``."""
        got = self.call("stat", path=path)
        return FileStatus(got["size"], got["mode"], got["mtime_ns"]) if got else None

    def exists(self, path: str) -> bool:
        return self.status(path) is not None

    def list_directory(self, path: str) -> tuple[str, ...]:
        return tuple(self.call("listdir", path=path))

    def readlink(self, path: str) -> str:
        return str(self.call("readlink", path=path))

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is no error."""
        self.call("remove", path=path)

    def put(self, source: Path, target: str) -> None:
        """Copy a file of this machine to ``target`` on that one (mode kept)."""
        raise ReachError(f"{self.name}: files cannot be copied to it")

    def get(self, source: str, target: Path) -> None:
        """Copy ``source`` of that machine to the file ``target`` here."""
        raise ReachError(f"{self.name}: files cannot be copied from it")

    # -- the end -------------------------------------------------------------------------

    def close(self, deadline: Deadline | None = None) -> None:
        """Undo everything the agent made and end it. CleanupError names what is left."""
        if self._closed:
            return
        self._closed = True
        self.clock.stop()
        deadline = deadline or Deadline(30)
        try:
            left = tuple(self.wire.call("teardown", {}, deadline)["left"])
        except ReachError as error:
            raise CleanupError(
                f"{self.name}: the agent was gone before it could clean up; an agent whose "
                "connection is cut undoes what it made by itself",
                hint="if the machine is still up, look for what is left there",
                evidence=(error.message, *error.evidence),
            ) from error
        finally:
            self.wire.close()
            self._disconnect(deadline)
        if left:
            raise CleanupError(f"{self.name}: not everything could be undone", evidence=left)

    def _disconnect(self, deadline: Deadline) -> None:
        """End the transport; the agent has been told to end."""

    def _scratch_base(self) -> str | None:
        """Directory in which the scratch directory is made; None: the machine's default."""
        return None

    def _read_clock(self) -> Reading:
        got, sent_ns, received_ns = self.wire.timed_call("ping", {}, Deadline(_QUICK))
        middle, error = (sent_ns + received_ns) // 2, (received_ns - sent_ns + 1) // 2
        return Reading(middle, error, got["monotonic_ns"], got["realtime_ns"])
