"""This machine itself, as it is: no sandbox. What is done to it, its agent undoes.

For what is asked of hardware in this machine (``harness.cli.nics``). Labs never use it: they
live in a ``sandbox``. Neighbours: ``machine`` gives the operations.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from harness.errors import CleanupError, ReachError
from harness.reach.agent import BOOTSTRAP, source_line
from harness.reach.clock import MachineClock, read_here
from harness.reach.deadline import Deadline
from harness.reach.machine import Machine
from harness.reach.wire import Wire

_STDERR_LINES = 20


class ThisMachine(Machine):
    """An agent as a process of this machine; it undoes all when this process is gone."""

    def __init__(self, name: str = "this machine") -> None:
        # An anonymous file: readable after the agent's death, and nothing to remove.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the machine
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", BOOTSTRAP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ReachError(f"{name}: the agent was started without pipes")
        stdin.write(source_line())
        stdin.flush()
        wire = Wire(name, stdout, stdin, self._stderr_tail)
        super().__init__(name, wire, local_clock=MachineClock(read_here, local=True))
        self.greet()
        self.clock.start()

    def _disconnect(self, deadline: Deadline) -> None:
        try:
            self._process.wait(deadline.left)
        except subprocess.TimeoutExpired as error:
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
