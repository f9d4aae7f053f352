"""This machine itself, as it is: no sandbox. What is done to it, its agent undoes.

For what is asked of hardware in this machine (``harness.cli.nics``). Labs never use it: they
live in a ``sandbox``. Neighbours: ``local`` runs its agent.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import IO

from harness.reach.deadline import Deadline
from harness.reach.local import LocalMachine


class ThisMachine(LocalMachine):
    """An agent as a process of this machine; it undoes all when this process is gone."""

    def __init__(self, name: str = "this machine") -> None:
        super().__init__(name, _Process)


class _Process:
    """One with pipes, that is waited for until a deadline."""

    def __init__(self, argv: Sequence[str], stderr: IO[bytes]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=stderr)
        self.stdin, self.stdout = self._process.stdin, self._process.stdout
        self.kill = self._process.kill

    def wait(self, deadline: Deadline) -> int:
        try:
            return self._process.wait(deadline.left)
        except subprocess.TimeoutExpired:
            raise deadline.error("end of the agent", "still running") from None
