"""A case file to a case, and a case bound to one topology.

``load_case`` reads and checks what needs no topology; ``bind`` puts parameters in, loads
the topology and checks the case against it; ``check_case`` does both for every topology of
a case and raises everything that is wrong in one go.

Neighbours: ``scenario`` carries out a bound case, ``verdict`` judges its run.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from harness.case.catalogue import About
from harness.case.check import check_against, check_inside
from harness.case.expect import Expect
from harness.case.gate import Gate
from harness.case.model import CaseFile, Scalar, Stream
from harness.case.parameters import Filled, fill
from harness.case.step import Placed, Step, unrolled
from harness.document import Document, Path, read, suggestion, survey
from harness.errors import InputError, Problem, ProblemsError
from harness.topology import Choices, choose
from harness.topology import load as load_topology
from harness.topology.model import Topology


@dataclass(frozen=True, slots=True)
class Case:
    """A case file, checked as far as that goes without a topology.

    ``topologies`` maps each variant to its topology file.
    """

    path: pathlib.Path
    claim: str
    topologies: Mapping[str, pathlib.Path]
    document: Document = field(repr=False)

    @property
    def variants(self) -> tuple[str, ...]:
        """One name per topology, for test ids."""
        return tuple(self.topologies)


@dataclass(frozen=True, slots=True)
class BoundCase:
    """A case on one topology, parameters put in and all references checked."""

    case: Case
    variant: str
    topology_path: pathlib.Path
    topology: Topology
    parameters: Mapping[str, Scalar]
    traffic: Mapping[str, Stream]
    steps: tuple[Step, ...]
    expect: Expect
    boot: Literal["warm", "cold"] = "warm"
    """Whether the lab's machines may be loaded from saved states, or all boot."""
    gate: Gate | None = None
    about: About = field(default_factory=About)
    choices: Choices = field(default_factory=Choices)
    """What was chosen in the place of what the topology's file says; it is in ``topology``."""

    @property
    def packets(self) -> dict[str, Stream]:
        """The streams of numbered packets: those that have a ``flow``."""
        return {name: one for name, one in self.traffic.items() if one.tcp is None}

    @property
    def tcp(self) -> dict[str, Stream]:
        """The TCP streams."""
        return {name: one for name, one in self.traffic.items() if one.tcp is not None}

    @property
    def placed(self) -> tuple[Placed, ...]:
        """The steps as they are carried out, repeats taken apart."""
        return tuple(unrolled(self.steps))

    def place(self, path: Path) -> str:
        """``file:line`` of a part of the case (or of the part around it)."""
        document = self.case.document
        return f"{document.path}:{document.mark(path, key=True).line}"


def load_case(path: pathlib.Path, *, shown_as: str = "") -> Case:
    """Read a case; raises ``ProblemsError`` with everything that is wrong in the file itself.

    ``shown_as`` is the name its places carry, where the file was copied elsewhere.
    """
    document = read(path)
    if shown_as:
        document = replace(document, path=pathlib.Path(shown_as))
    case = _head(path, document)
    problems: list[Problem] = []
    for variant in case.variants or ("",):
        problems += _surveyed(case, variant, {})[2]
    if problems:
        raise ProblemsError(tuple(dict.fromkeys(problems)))
    return case


def bind(
    case: Case,
    variant: str | None = None,
    *,
    topology_path: pathlib.Path | None = None,
    settings: Mapping[str, Scalar] | None = None,
    choices: Choices | None = None,
) -> BoundCase:
    """Bind a case to one of its topologies, or to another one with ``topology_path``.

    ``variant`` may be left out for a case with one topology, and where ``topology_path`` is
    one of the case's own. ``settings`` override parameters, ``choices`` what the topology
    says of QEMU, kernels and machine types. Raises ``InputError`` for an unknown variant and
    for choices that do not fit, ``ProblemsError`` for all that is wrong in case and topology.
    """
    chosen = _variant(case, variant, topology_path)
    path = topology_path or case.topologies[chosen]
    made, problems = _bound(case, chosen, path, settings or {})
    if problems or made is None:
        raise ProblemsError(problems)
    if not choices:
        return made
    return replace(made, topology=choose(made.topology, choices, str(path)), choices=choices)


def check_case(path: pathlib.Path) -> tuple[BoundCase, ...]:
    """A case on each of its topologies; raises everything wrong with any of them at once."""
    case = _head(path, read(path))
    problems: list[Problem] = []
    bound: list[BoundCase] = []
    for variant in case.variants:
        made, found = _bound(case, variant, case.topologies[variant], {})
        problems += found
        if made is not None:
            bound.append(made)
    if not case.variants:
        problems += _surveyed(case, "", {})[2]
    if problems:
        raise ProblemsError(tuple(dict.fromkeys(problems)))
    return tuple(bound)


def _head(path: pathlib.Path, document: Document) -> Case:
    """What the file says of its topologies, however wrong the rest is."""
    found: dict[str, str] = {}
    several, one = document.data.get("topologies"), document.data.get("topology")
    if isinstance(several, dict):
        found = {str(name): text for name, text in several.items() if isinstance(text, str)}
    elif isinstance(one, str):
        found = {pathlib.PurePath(one).stem: one}
    # normpath: `testcases/../topologies/x.yaml` reads badly in every message.
    topologies = {
        name: pathlib.Path(os.path.normpath(path.parent / text)) for name, text in found.items()
    }
    claim = document.data.get("case")
    return Case(path, claim.strip() if isinstance(claim, str) else "", topologies, document)


def _variant(case: Case, variant: str | None, topology_path: pathlib.Path | None) -> str:
    if variant is not None:
        if variant not in case.topologies:
            raise InputError(
                f"{case.document.path}: '{variant}' is not a topology of this case",
                hint=suggestion(variant, case.variants),
            )
        return variant
    if topology_path is not None:
        for name, path in case.topologies.items():
            if path.exists() and topology_path.exists() and path.samefile(topology_path):
                return name
    if len(case.topologies) == 1:
        return case.variants[0]
    raise InputError(
        f"{case.document.path}: this case has several topologies; say which one",
        hint=f"one of {', '.join(case.variants)}",
    )


def _surveyed(
    case: Case, variant: str, settings: Mapping[str, Scalar]
) -> tuple[CaseFile | None, Filled, list[Problem]]:
    """As much of the typed case as can be had, and all problems inside the file."""
    filled = fill(case.document, variant, case.variants, settings)
    seen = survey(filled.document, CaseFile)
    unfilled = {
        (mark.line, mark.column) for mark in (case.document.mark(path) for path in filled.unfilled)
    }
    problems = list(filled.problems)
    # A value that still holds an unknown parameter is wrong for that reason alone.
    problems += [one for one in seen.problems if (one.line, one.column) not in unfilled]
    if seen.model is not None:
        problems += [
            one
            for one in check_inside(filled.document, seen.model)
            if not _hidden(one, seen.damaged)
        ]
    return seen.model, filled, problems


def _hidden(problem: Problem, damaged: frozenset[Path]) -> bool:
    """Whether a problem may only be there because of a part that was left out as wrong."""
    tops = {path[0] for path in damaged if path}
    return bool(tops & {"traffic", "steps"}) and not problem.path.startswith("traffic")


def _bound(
    case: Case, variant: str, topology_path: pathlib.Path, settings: Mapping[str, Scalar]
) -> tuple[BoundCase | None, tuple[Problem, ...]]:
    model, filled, problems = _surveyed(case, variant, settings)
    topology: Topology | None = None
    try:
        topology = load_topology(topology_path)
    except ProblemsError as error:
        problems += error.problems
    if model is not None and topology is not None:
        problems += check_against(filled.document, model, topology, str(topology_path))
    if problems or model is None or topology is None:
        return None, tuple(dict.fromkeys(problems))
    bound = BoundCase(
        case,
        variant,
        topology_path,
        topology,
        filled.values,
        model.traffic,
        model.steps,
        model.expect,
        model.boot,
        model.gate,
        model.about,
    )
    return bound, ()


def case_schema() -> dict[str, Any]:
    """The JSON Schema of a case file, for editors."""
    schema = CaseFile.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A case: a claim, its traffic, its steps and what has to hold"
    return schema
