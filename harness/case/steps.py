"""The verbs of a case's steps: one class per verb.

To add a verb: write a class whose fields are the verb's arguments and whose ``refers``
names what it refers to, and give ``Step`` a field of the verb's name. The loader, the JSON
Schema and the cross-references follow from that; ``harness.scenario`` gets one function
that carries the verb out.

What it is not: nothing here acts. Neighbours: ``check`` follows the references.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, RootModel, model_validator
from pydantic.config import ConfigDict

from harness.case.values import Duration, Part


@dataclass(frozen=True, slots=True)
class Reference:
    """A name in a case that has to exist in the topology.

    ``path`` leads from the referring part to the value. ``kind`` says among what: ``guest``,
    ``host``, ``machine`` (a guest, host or namespace), ``endpoint`` (a guest or namespace
    that has an address) or ``standby`` (a NIC of ``guest`` with ``failover: on``).
    """

    path: tuple[str | int, ...]
    kind: Literal["guest", "host", "machine", "endpoint", "standby"]
    name: str
    guest: str = ""


class Migrate(Part):
    """Migrate a guest to another host (precopy) and wait until the migration has ended."""

    guest: str
    to: str = Field(description="the destination host")
    within: Duration = Field(60.0, description="deadline of the whole migration; 60s when absent")

    def refers(self) -> Iterator[Reference]:
        yield Reference(("guest",), "guest", self.guest)
        yield Reference(("to",), "host", self.to)


class PrimaryIs(Part):
    """A state of the primary of one failover pair, as the guest's kernel shows it."""

    guest: str
    primary: str = Field(description="id of the pair's standby: `net1`")
    state: Literal["up", "present", "absent"] = Field(
        description="`up`: enslaved and operationally up; `present`: there; `absent`: gone"
    )

    def refers(self) -> Iterator[Reference]:
        yield Reference(("guest",), "guest", self.guest)
        yield Reference(("primary",), "standby", self.primary, self.guest)


class Wait(Part):
    """Wait until a condition holds; the step fails when it does not within the time."""

    condition: PrimaryIs = Field(alias="for")
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
    """Run a shell command on a machine; the step fails unless it ends with ``rc``."""

    machine: str = Field(description="a guest, a host or a namespace")
    command: Annotated[str, Field(min_length=1)]
    rc: int = Field(0, ge=0, le=255, description="the exit status wanted; 0 when absent")
    within: Duration = Field(10.0, description="deadline; 10s when absent")

    def refers(self) -> Iterator[Reference]:
        yield Reference(("machine",), "machine", self.machine)


Verb = Migrate | Wait | Pause | Exec


class Step(Part):
    """One step: a mapping with exactly one key, the verb."""

    migrate: Migrate | None = None
    wait: Wait | None = None
    pause: Pause | None = None
    exec: Exec | None = None

    @model_validator(mode="after")
    def _one_verb(self) -> Step:
        given = [verb for verb in type(self).model_fields if getattr(self, verb) is not None]
        if len(given) != 1:
            found = "no verb" if not given else "the verbs " + " and ".join(given)
            raise ValueError(
                f"a step has exactly one verb ({', '.join(type(self).model_fields)}), found {found}"
            )
        return self

    @property
    def verb(self) -> str:
        """The step's verb, as written."""
        return next(verb for verb in type(self).model_fields if getattr(self, verb) is not None)

    @property
    def action(self) -> Verb:
        """The verb's arguments."""
        action: Verb = getattr(self, self.verb)
        return action
