"""The first verbs of a case's steps: wait, let time pass, run a command.

One class per verb; its fields are the verb's arguments, ``refers`` names what it refers to.
``step`` says how a verb is added. Nothing here acts.

Neighbours: ``step`` makes a step of them; ``check`` follows the references.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, RootModel
from pydantic.config import ConfigDict

from harness.case.conditions import Condition
from harness.case.references import Reference
from harness.case.values import Duration, Part


class Wait(Part):
    """Wait until a condition holds; the step fails when it does not within the time."""

    condition: Condition = Field(alias="for")
    within: Duration

    def refers(self) -> Iterator[Reference]:
        for reference in self.condition.refers():
            yield Reference(
                ("for", *reference.path), reference.kind, reference.name, reference.guest
            )


class Pause(RootModel[Duration]):
    """Let time pass while the traffic goes on."""

    model_config = ConfigDict(frozen=True)

    def refers(self) -> Iterator[Reference]:
        yield from ()


class Exec(Part):
    """Run a shell command on a machine; the step fails unless it ends with ``rc``, and says so."""

    machine: str = Field(description="a guest, a host or a namespace")
    command: Annotated[str, Field(min_length=1)]
    rc: int = Field(0, ge=0, le=255, description="the exit status wanted; 0 when absent")
    says: str | None = Field(None, min_length=1, description="a text that its output holds")
    within: Duration = Field(10.0, description="deadline; 10s when absent")

    def refers(self) -> Iterator[Reference]:
        yield Reference(("machine",), "machine", self.machine)
