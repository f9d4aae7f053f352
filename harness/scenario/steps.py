"""Steps as they are carried out: numbered, recorded from begin to end, found by their verb.

What the verbs do is not here. Neighbours: ``verbs`` has the first of them and the table of
all; a module with more of them has functions of ``(Steps, ARGUMENTS)`` and a table, which
``verbs`` takes in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from harness.case import Action, Step
from harness.errors import InputError
from harness.lab import Lab, LabGuest
from harness.lab.host import LabHost
from harness.observe import TRAFFIC_STEP, StepFact
from harness.observe.record import now_ns
from harness.vm import Vm

LOG_TAIL = 1 << 20
"""So much of a QEMU's output is looked at."""

Carriers = Mapping[type, Callable[[Any, Any], object]]
"""Class of a verb's arguments -> what carries it out, given the steps and the arguments."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How many events of a QEMU had come, and how long its output was."""

    vm: Vm
    events: int = 0
    log: int = 0


def _mark(guest: LabGuest) -> Mark:
    current = guest.current
    text = current.host.machine.read_text(current.vm.log, tail=LOG_TAIL)
    return Mark(current.vm, len(current.vm.events), len(text))


class Steps:
    """The steps on one lab. They are numbered from 1 in the order in which they begin."""

    carriers: ClassVar[Carriers] = {}

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._number = 0
        self._before = ""
        self._marks: dict[str, Mark] = {}

    def carry_out(self, step: Step) -> None:
        """A step as a case writes it."""
        self.do(step.action)

    def do(self, action: Action) -> object:
        """A verb by its arguments, as a case has them: ``verbs.do(Pause("1s"))``."""
        return self.carriers[type(action)](self, action)

    @contextmanager
    def step(self, verb: str, **about: object) -> Iterator[dict[str, object]]:
        """Records begin and end; what the block puts into the yielded dict goes to the end."""
        self._number += 1
        if verb != "wait":
            self._marks = {
                name: _mark(guest) for name, guest in self.lab.guests.items() if guest.running
            }
        with self._recorded(f"{self._before}{self._number} {verb}", about) as told:
            yield told

    @contextmanager
    def round(self, turn: int) -> Iterator[None]:
        """One round of the `repeat` that is going on: its steps count from 1 again."""
        before, number = self._before, self._number
        self._before, self._number = f"{before}{number}.{turn}.", 0
        try:
            yield
        finally:
            self._before, self._number = before, number

    def mark_of(self, guest: LabGuest) -> Mark:
        """How much the guest's QEMU had told when the last step that is no `wait` began."""
        mark = self._marks.get(guest.name)
        if mark is None or mark.vm is not guest.current.vm:
            return Mark(guest.current.vm)  # another QEMU than then: all it said is new
        return mark

    @contextmanager
    def traffic(self) -> Iterator[None]:
        """Records how the traffic's start went: a step before the first, without a number."""
        with self._recorded(TRAFFIC_STEP, {}):
            yield

    @contextmanager
    def _recorded(self, name: str, about: dict[str, object]) -> Iterator[dict[str, object]]:
        told: dict[str, object] = {}
        self.lab.facts.add(StepFact(t_ns=now_ns(), step=name, phase="begin", data=about))
        try:
            with self.lab.progress.step(f"step {name} " + " ".join(map(str, about.values()))):
                yield told
        except BaseException as error:
            told["reason"] = str(error)
            self._end(name, "failed", told)
            raise
        self._end(name, "done", told)

    def _end(self, name: str, outcome: Literal["done", "failed"], told: dict[str, object]) -> None:
        self.lab.facts.add(
            StepFact(t_ns=now_ns(), step=name, phase="end", outcome=outcome, data=told)
        )

    def guest(self, name: str) -> LabGuest:
        """A guest by its name; InputError lists those there are."""
        try:
            return self.lab.guests[name]
        except KeyError:
            there = ", ".join(self.lab.guests)
            raise InputError(f"no guest {name!r}", hint=f"there are: {there}") from None

    def host(self, name: str) -> LabHost:
        """A host by its name; InputError lists those there are."""
        try:
            return self.lab.hosts[name]
        except KeyError:
            there = ", ".join(self.lab.hosts)
            raise InputError(f"no host {name!r}", hint=f"there are: {there}") from None
