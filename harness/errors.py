"""Every error this package raises on purpose, and the exit code each one means.

::

    HarnessError                 base; never raised itself
    +-- InputError               2  what the user wrote is wrong (topology, case, recipe, option)
    |   +-- ProblemsError        2  all problems of one or more files, each with its place
    +-- LabError                 3  the lab could not be built, or broke; says nothing of the guest
    |   +-- MissingDependency    3  this machine lacks something; the hint says what to install
    |   +-- ImageError           3  an image could not be built, or is damaged
    |   +-- StateError           3  a machine's state cannot be saved or loaded; it can boot
    |   +-- ReachError           3  a machine could not be reached, or the connection was lost
    |   |   +-- CommandFailed    3  a command on a machine ended with an unexpected status
    |   +-- VmError              3  a QEMU process or its QMP session
    |   |   +-- QmpCommandError  3  QEMU refused a command
    |   |   +-- VmExited         3  a QEMU ended when it should not have
    |   |   +-- WrongState       3  the operation needs another run state
    |   +-- DeadlineExceeded     3  a wait ran out of time; says what was last seen
    |   +-- CleanupError         3  something could not be removed; names what is left
    +-- RecordError              4  a record of a run is missing, cut off or contradicts itself
    +-- Interrupted              130  Ctrl-C or SIGTERM

A failed *expectation* is not an error: it is a verdict (exit code 1), and so is "cannot
tell" (exit code 4).

Neighbours: used by every room, imports none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_PASSED = 0
EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_LAB = 3
EXIT_CANNOT_TELL = 4
EXIT_INTERRUPTED = 130
WORST_FIRST = (EXIT_INPUT, EXIT_LAB, EXIT_FAILED, EXIT_CANNOT_TELL, EXIT_PASSED)
"""Of several runs the first of these exit codes is that of all of them."""


class HarnessError(Exception):
    """Base of all errors raised on purpose.

    ``message`` is one sentence: where, what. ``hint`` says what to do. ``evidence`` holds
    lines worth reading (the end of a log, a command and its stderr).
    """

    exit_code: int = EXIT_LAB

    def __init__(self, message: str, *, hint: str = "", evidence: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.evidence = tuple(evidence)

    def __str__(self) -> str:
        parts = [self.message]
        parts += [f"    {line}" for line in self.evidence]
        if self.hint:
            parts.append(f"  hint: {self.hint}")
        return "\n".join(parts)


class InputError(HarnessError):
    """What the user wrote is wrong."""

    exit_code = EXIT_INPUT


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an input file. ``line`` and ``column`` count from 1; 0 is unknown."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = self.file if not self.line else f"{self.file}:{self.line}:{self.column}"
        where = f"{place} {self.path}: " if self.path else f"{place}: "
        return where + self.message + (f" ({self.hint})" if self.hint else "")


class ProblemsError(InputError):
    """All problems found in the input, in the order of their places."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line, p.column)))
        super().__init__("\n".join(str(p) for p in self.problems))


class LabError(HarnessError):
    """The lab could not be built, or broke. Says nothing about the guest under test."""

    exit_code = EXIT_LAB


class MissingDependency(LabError):
    """This machine lacks something the lab needs."""


class ImageError(LabError):
    """An image could not be built, or is damaged."""


class StateError(LabError):
    """A machine's state could not be saved or loaded. It can boot instead."""


class ReachError(LabError):
    """A machine could not be reached, or the connection to it was lost."""


class CommandFailed(ReachError):
    """A command on a machine ended with an unexpected status."""


class VmError(LabError):
    """A QEMU process or its QMP session."""


class QmpCommandError(VmError):
    """QEMU refused a QMP command; ``message`` carries QEMU's own description."""


class VmExited(VmError):
    """A QEMU process ended when it should not have."""


class WrongState(VmError):
    """The operation needs the machine in another run state."""


class DeadlineExceeded(LabError):
    """A wait ran out of time; the message says what was last seen."""


class CleanupError(LabError):
    """Something could not be removed; the message names what is left behind."""


class RecordError(HarnessError):
    """A record of a run is missing, cut off or contradicts itself: nothing can be told."""

    exit_code = EXIT_CANNOT_TELL


class Interrupted(HarnessError):
    """The user asked to stop."""

    exit_code = EXIT_INTERRUPTED
