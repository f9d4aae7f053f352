"""A step of a case: a mapping with one key, the verb.

To add a verb: write a class whose fields are the verb's arguments and whose ``refers``
names what it refers to (in ``steps``, or in a module of its own), and give ``Step`` a field
of the verb's name. The loader, the JSON Schema and the cross-references follow from that;
``harness.scenario`` gets one function that carries the verb out, marked with
``carries_out(CLASS)``.

What it is not: nothing here acts. Neighbours: ``model`` holds the steps of a case.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from pydantic import model_validator

from harness.case.migrating import Kill, Migrate, Qmp, Steer
from harness.case.references import Reference
from harness.case.steps import Exec, Pause, Wait
from harness.case.values import Part


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
    def action(self) -> Action:
        """The verb's arguments."""
        action: Action = getattr(self, self.verb)
        return action
