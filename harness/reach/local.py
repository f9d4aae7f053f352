"""A machine that is a namespace of this one.

Neighbours: ``sandbox`` holds the namespace; ``machine`` gives the operations.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.errors import CleanupError, DeadlineExceeded, ReachError
from harness.reach.agent import BOOTSTRAP, source_line
from harness.reach.clock import MachineClock, read_here
from harness.reach.deadline import Deadline
from harness.reach.machine import Machine
from harness.reach.sandbox import SCRATCH, NetNamespace, Sandbox
from harness.reach.wire import Wire

_STDERR_LINES = 20


class NamespaceMachine(Machine):
    """An agent in a namespace of a sandbox, run by the interpreter that runs the harness."""

    def __init__(self, sandbox: Sandbox, space: NetNamespace, *, name: str = "") -> None:
        self.space = space
        # An anonymous file: readable after the agent's death, and nothing to remove.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the machine
        self._process = sandbox.popen(
            space,
            [sys.executable, "-I", "-c", BOOTSTRAP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ReachError(f"{space.name}: the agent was started without pipes")
        try:
            stdin.write(source_line())
            stdin.flush()
        except BrokenPipeError:
            self._process.kill()
            raise ReachError(
                f"{space.name}: the agent ended as soon as it was started",
                evidence=self._stderr_tail(),
            ) from None
        wire = Wire(name or space.name, stdout, stdin, self._stderr_tail)
        # No time namespace: CLOCK_MONOTONIC in there is the run's clock.
        super().__init__(name or space.name, wire, local_clock=MachineClock(read_here, local=True))
        self.greet()
        self.clock.start()

    def put(self, source: Path, target: str) -> None:
        shutil.copy(source, self.space.path(target))

    def get(self, source: str, target: Path) -> None:
        shutil.copy(self.space.path(source), target)

    def _scratch_base(self) -> str:
        return SCRATCH

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
