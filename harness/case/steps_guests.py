"""Verbs about a whole guest: start, stop and go on, reset, reboot.

Neighbours: ``step`` makes steps of them; ``harness.scenario.guests`` carries them out.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from harness.case.references import Reference
from harness.case.values import Duration, Part


class _OfGuest(Part):
    guest: str

    def refers(self) -> Iterator[Reference]:
        yield Reference(("guest",), "guest", self.guest)


class Start(_OfGuest):
    """Start a guest that the topology leaves off (`started: off`) and wait until it is up."""

    refused: str | None = Field(
        None,
        min_length=1,
        description="QEMU has to refuse to start, with this text in its error; else the step fails",
    )


class Stop(_OfGuest):
    """Stop the guest's processors (QMP `stop`); it stands still until `cont`."""


class Cont(_OfGuest):
    """Let a guest that was stopped go on (QMP `cont`)."""


class Reset(_OfGuest):
    """Press the reset button (QMP `system_reset`) and wait until the guest is up again.

    What flows from or to the guest, and its records, end with it.
    """

    wait: bool = Field(
        True,
        description="`no`: go on at once, without waiting for the guest; for a reset during a "
        "migration, after which the guest comes up elsewhere",
    )
    within: Duration = Field(120.0, description="until the guest is up again; 120s when absent")


class Reboot(Reset):
    """Have the guest reboot itself, and wait until it is up again. Else as `reset`."""
