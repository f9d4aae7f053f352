"""The statuses that a migration goes through, as a case writes them.

    source: setup, wait-unplug, active, [device], completed

A status in brackets may be missing: QEMUs differ (``device`` since 10.0, ``failing`` since
11.0). Neighbours: ``expect`` holds these; ``harness.verdict.migrations`` judges them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from harness.case.statuses import MIGRATION_STATUSES
from harness.case.values import Part
from harness.document import nearest


@dataclass(frozen=True, slots=True)
class StatusItem:
    """One status of a sequence; ``optional``: it may be missing."""

    status: str
    optional: bool

    def __str__(self) -> str:
        return f"[{self.status}]" if self.optional else self.status


def parse_states(value: object) -> tuple[StatusItem, ...]:
    """Statuses from `setup, active, [device], completed`."""
    if isinstance(value, tuple) and all(isinstance(one, StatusItem) for one in value):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError("wanted statuses, as in `setup, active, [device], completed`")
    return tuple(_item(word.strip()) for word in value.split(","))


def _item(word: str) -> StatusItem:
    optional = word.startswith("[") and word.endswith("]")
    status = word[1:-1].strip() if optional else word
    if status not in MIGRATION_STATUSES:
        near = nearest(status, MIGRATION_STATUSES)
        raise ValueError(
            f"'{status}' is not a migration status" + (f" (did you mean '{near}'?)" if near else "")
        )
    return StatusItem(status, optional)


def matches(wanted: tuple[StatusItem, ...], seen: tuple[str, ...]) -> bool:
    """Whether these are the statuses, with or without the optional ones."""
    if not wanted:
        return not seen
    first, rest = wanted[0], wanted[1:]
    if seen and seen[0] == first.status and matches(rest, seen[1:]):
        return True
    return first.optional and matches(rest, seen)


Sequence = Annotated[
    tuple[StatusItem, ...],
    BeforeValidator(parse_states),
    WithJsonSchema({"type": "string", "examples": ["setup, active, [device], completed"]}),
]


class States(Part):
    """The statuses of one migration, by who reports them; a side left out is not judged."""

    source: Sequence | None = Field(None, description="`setup, wait-unplug, active, completed`")
    destination: Sequence | None = Field(None, description="`setup, active, completed`")

    @model_validator(mode="after")
    def _says_something(self) -> States:
        if self.source is None and self.destination is None:
            raise ValueError("says nothing: give `source` or `destination`")
        return self

    def sides(self) -> dict[Literal["source", "destination"], tuple[StatusItem, ...]]:
        """The sides that are judged."""
        given: dict[Literal["source", "destination"], tuple[StatusItem, ...] | None] = {
            "source": self.source,
            "destination": self.destination,
        }
        return {side: items for side, items in given.items() if items is not None}
