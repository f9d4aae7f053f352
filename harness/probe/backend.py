"""testinfra over anything that runs commands: a namespace, ssh, or a guest's agent.

Neighbours: ``harness.reach`` machines and guests are ``Runs``; ``netdevs`` asks through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

_TIMEOUT = 60.0


class Answers(Protocol):
    """A command that ran to its end."""

    @property
    def status(self) -> int: ...

    @property
    def stdout(self) -> str: ...

    @property
    def stderr(self) -> str: ...


class Runs(Protocol):
    """A machine that runs commands (``harness.reach.machine.Machine``, ``GuestMachine``)."""

    @property
    def name(self) -> str: ...

    def run(self, argv: Sequence[str], *, timeout: float = ..., check: bool = ...) -> Answers: ...


class ReachBackend(BaseBackend):  # type: ignore[misc]  # testinfra is not typed
    """Runs testinfra's shell commands on one machine."""

    NAME = "harness"

    def __init__(self, machine: Runs, *, timeout: float = _TIMEOUT) -> None:
        super().__init__(machine.name)
        self._machine = machine
        self._timeout = timeout

    def run(self, command: str, *args: str, **_kwargs: Any) -> CommandResult:
        """One command by ``sh -c``; a status other than 0 is an answer, not an error."""
        line = self.get_command(command, *args)
        done = self._machine.run(["sh", "-c", line], timeout=self._timeout, check=False)
        return self.result(
            done.status, self.encode(line), done.stdout.encode(), done.stderr.encode()
        )

    def get_encoding(self) -> str:
        """Guests have no locale to ask for; every machine of the lab speaks UTF-8."""
        return "UTF-8"


def host_of(machine: Runs, *, timeout: float = _TIMEOUT) -> Host:
    """testinfra's ``host`` for a machine; ``timeout`` (s) bounds each command."""
    return Host(ReachBackend(machine, timeout=timeout))
