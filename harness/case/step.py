"""A step of a case: a mapping with one key, the verb.

To add a verb: write a class whose fields are the verb's arguments and whose ``refers``
names what it refers to (in ``steps``, or in a module of its own), and give ``Step`` a field
of the verb's name. The loader, the JSON Schema and the cross-references follow from that;
``harness.scenario`` gets one function that carries the verb out, marked with
``carries_out(CLASS)``.

What it is not: nothing here acts. Neighbours: ``model`` holds the steps of a case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pydantic import Field, model_validator

from harness.case.migrating import FdbDel, Kill, Migrate, Qmp, Steer, VfMac
from harness.case.references import Reference
from harness.case.steps import Exec, Pause, Wait
from harness.case.steps_devices import Plug, SetHostLink, SetLink, SetTap, TakeAway, Unplug
from harness.case.steps_guests import Cont, Reboot, Reset, Start, Stop
from harness.case.values import Part
from harness.document import Path


class Action(Protocol):
    """The arguments of a verb, and the names in them."""

    def refers(self) -> Iterator[Reference]: ...


class Step(Part):
    """One step: a mapping with exactly one key, the verb."""

    migrate: Migrate | None = None
    wait: Wait | None = None
    pause: Pause | None = None
    exec: Exec | None = None
    migration: Steer | None = None
    kill: Kill | None = None
    qmp: Qmp | None = None
    fdb_del: FdbDel | None = Field(None, alias="fdb-del")
    vf_mac: VfMac | None = Field(None, alias="vf-mac")
    plug: Plug | None = None
    unplug: Unplug | None = None
    set_link: SetLink | None = Field(None, alias="set-link")
    set_tap: SetTap | None = Field(None, alias="set-tap")
    set_host_link: SetHostLink | None = Field(None, alias="set-host-link")
    take_away: TakeAway | None = Field(None, alias="take-away")
    start: Start | None = None
    stop: Stop | None = None
    cont: Cont | None = None
    reset: Reset | None = None
    reboot: Reboot | None = None
    repeat: Repeat | None = None

    @model_validator(mode="after")
    def _one_verb(self) -> Step:
        given = [verb for verb, action in self._actions() if action is not None]
        if len(given) != 1:
            found = "no verb" if not given else "the verbs " + " and ".join(given)
            raise ValueError(f"a step has exactly one verb ({', '.join(VERBS)}), found {found}")
        return self

    def _actions(self) -> Iterator[tuple[str, Action | None]]:
        for name, field in type(self).model_fields.items():
            yield field.alias or name, getattr(self, name)

    @property
    def verb(self) -> str:
        """The step's verb, as written."""
        return next(verb for verb, action in self._actions() if action is not None)

    @property
    def action(self) -> Action:
        """The verb's arguments."""
        return next(action for _, action in self._actions() if action is not None)


class Repeat(Part):
    """Carry steps out several times in a row; the first that fails ends it."""

    times: int = Field(ge=1, le=1000, strict=True)
    steps: tuple[Step, ...] = Field(min_length=1)

    def refers(self) -> Iterator[Reference]:
        for number, step in enumerate(self.steps):
            for one in step.action.refers():
                yield replace(one, path=("steps", number, step.verb, *one.path))


Step.model_rebuild()

VERBS = tuple(field.alias or name for name, field in Step.model_fields.items())
"""Every verb, as written."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A step that is carried out by itself, once: a repeated one comes once for each round.

    ``number`` is what its facts are labelled with: its place from 1, and inside a repeat
    ``PLACE.ROUND.PLACE``. ``path`` leads to it in the case.
    """

    number: str
    path: Path
    step: Step

    @property
    def label(self) -> str:
        """The ``step`` of its facts."""
        return f"{self.number} {self.step.verb}"

    @property
    def place(self) -> int:
        """The place from 1 of the case's own step that it is, or is part of."""
        return int(self.number.partition(".")[0])


def unrolled(
    steps: Sequence[Step], *, before: str = "", path: Path = ("steps",)
) -> Iterator[Placed]:
    """The steps in the order in which they are carried out, repeats taken apart."""
    for number, step in enumerate(steps):
        here = f"{before}{number + 1}"
        if step.repeat is None:
            yield Placed(here, (*path, number), step)
            continue
        inner = (*path, number, "repeat", "steps")
        for turn in range(1, step.repeat.times + 1):
            yield from unrolled(step.repeat.steps, before=f"{here}.{turn}.", path=inner)
