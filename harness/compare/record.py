"""``gate.json``: the terms of a gate, the runs that it has, and in the end its decision.

It is written after each run, so a gate that was interrupted goes on where it was.

Neighbours: whoever runs labs reads and writes it; ``schedule`` needs nothing but its runs.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.case import Endpoint
from harness.compare.decide import Decision, Terms
from harness.compare.figures import Part
from harness.compare.seen import Seen

Chosen = dict[str, str | dict[str, str]]


class GateTerms(Part):
    """What a gate compares, and by what; fixed before its first run."""

    case_file: str
    variant: str
    parameters: dict[str, bool | int | float | str]
    baseline: Chosen = Field(description="choices in the place of what the topology says")
    candidate: Chosen
    endpoints: tuple[Endpoint, ...]
    runs: int = Field(description="budget of each build")
    error: float

    def terms(self, minutes: float | None) -> Terms:
        return Terms(self.endpoints, runs=self.runs, minutes=minutes, error=self.error)


class GateRecord(Part):
    """A whole gate of one case on one topology."""

    schema_version: Literal[1] = Field(1, alias="schema")
    terms: GateTerms
    minutes: float = Field(0.0, description="spent on its runs so far")
    runs: tuple[Seen, ...] = ()
    decision: Decision | None = None

    def with_run(self, run: Seen, minutes: float) -> GateRecord:
        """The record with one run more, that took so long."""
        return self.model_copy(
            update={"runs": (*self.runs, run), "minutes": round(self.minutes + minutes, 3)}
        )

    def to_json(self) -> str:
        return self.model_dump_json(indent=2, by_alias=True) + "\n"


def gate_schema() -> dict[str, Any]:
    """The JSON Schema of ``gate.json``."""
    return GateRecord.model_json_schema(by_alias=True, mode="serialization")
