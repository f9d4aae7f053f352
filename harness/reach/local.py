"""Machines of this computer: their agent is run by the interpreter that runs the harness.

Neighbours: ``sandbox`` holds the namespaces; ``machine`` gives the operations.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Protocol

from harness.errors import CleanupError, DeadlineExceeded, ReachError
from harness.reach.agent import BOOTSTRAP, source_line
from harness.reach.clock import MachineClock, read_here
from harness.reach.deadline import Deadline
from harness.reach.machine import Machine
from harness.reach.sandbox import SCRATCH, NetNamespace, Sandbox
from harness.reach.wire import Wire

_STDERR_LINES = 20


class AgentProcess(Protocol):
    """What a machine needs of the process that its agent is."""

    @property
    def stdin(self) -> IO[bytes] | None: ...

    @property
    def stdout(self) -> IO[bytes] | None: ...

    @property
    def kill(self) -> Callable[[], None]: ...

    def wait(self, deadline: Deadline) -> int:
        """Its exit status; DeadlineExceeded while it runs."""


class LocalMachine(Machine):
    """An agent as a process of this computer; what it made, it undoes when that ends.

    ``start`` is given the agent's argument vector and a file for its stderr; its stdin and
    stdout are to be pipes.
    """

    def __init__(
        self, name: str, start: Callable[[Sequence[str], IO[bytes]], AgentProcess]
    ) -> None:
        # An anonymous file: readable after the agent's death, and nothing to remove.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the machine
        self._process = start([sys.executable, "-I", "-c", BOOTSTRAP], self._stderr)
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ReachError(f"{name}: the agent was started without pipes")
        try:
            stdin.write(source_line())
            stdin.flush()
        except BrokenPipeError:
            self._process.kill()
            raise ReachError(
                f"{name}: the agent ended as soon as it was started",
                evidence=self._stderr_tail(),
            ) from None
        wire = Wire(name, stdout, stdin, self._stderr_tail)
        # No time namespace: its CLOCK_MONOTONIC is the run's clock.
        super().__init__(name, wire, local_clock=MachineClock(read_here, local=True))
        self.greet()
        self.clock.start()

    def _disconnect(self, deadline: Deadline) -> None:
        try:
            self._process.wait(deadline)
        except DeadlineExceeded as error:
            self._process.kill()
            raise CleanupError(f"{self.name}: its agent was killed", hint=str(error)) from None
        finally:
            if self.wire.join(Deadline(5)) and self._process.stdout:
                self._process.stdout.close()
            self._stderr.close()

    def _stderr_tail(self) -> tuple[str, ...]:
        if self._stderr.closed:
            return ()
        # pread: the file offset is shared with the agent, which is writing there.
        text = os.pread(self._stderr.fileno(), 1 << 16, 0).decode(errors="replace")
        return tuple(text.splitlines()[-_STDERR_LINES:])


class NamespaceMachine(LocalMachine):
    """An agent in a namespace of a sandbox."""

    def __init__(self, sandbox: Sandbox, space: NetNamespace, *, name: str = "") -> None:
        self.space = space
        pipe = subprocess.PIPE
        super().__init__(
            name or space.name,
            lambda argv, stderr: sandbox.popen(space, argv, stdin=pipe, stdout=pipe, stderr=stderr),
        )

    def put(self, source: Path, target: str) -> None:
        shutil.copy(source, self.space.path(target))

    def get(self, source: str, target: Path) -> None:
        shutil.copy(self.space.path(source), target)

    def _scratch_base(self) -> str:
        return SCRATCH
