"""A topology file to a topology, or to all of its problems at once.

Shapes first (``model``), then the rules (``check``) over whatever had the right shape: a
typing error in one guest does not hide a wrong reference in another, and a rule keeps
silent where it cannot tell.
"""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Iterator

from harness.document import Damage, Document, Path, read, survey
from harness.errors import Problem, ProblemsError
from harness.topology.check import check
from harness.topology.finding import Finding
from harness.topology.like import Resolved, resolve
from harness.topology.model import Topology


def load(path: pathlib.Path) -> Topology:
    """The topology in the file ``path``; raises ``ProblemsError`` with all that is wrong."""
    return from_document(read(path))


def from_document(document: Document) -> Topology:
    """The topology that ``document`` says; raises ``ProblemsError`` with all that is wrong."""
    resolved = resolve(document)
    whole = resolved.document
    # A part with `like` lacks a key only if the other one lacks it too, and that is said there.
    shapes = survey(whole, Topology, incomplete=resolved.parts | resolved.broken)
    damage = Damage(shapes.damaged | resolved.broken)
    problems = [*resolved.problems, *shapes.problems]
    if shapes.model is not None:
        problems += [
            whole.problem(found.path, found.message, _hint(found, resolved), key=found.at_key)
            for found in _not_repeated(check(shapes.model), resolved)
            if found.is_sound(damage)
        ]
    if problems or shapes.model is None:
        raise ProblemsError(_each_once(problems, resolved))
    return shapes.model


def _not_repeated(findings: Collection[Finding], resolved: Resolved) -> Iterator[Finding]:
    """Without what is wrong in a part only as it is wrong in the one that it is like."""
    known = {(found.path, found.message) for found in findings}
    for found in findings:
        source = resolved.inherited.get(found.path[:3])
        if source is not None:
            origin = source + found.path[3:]
            message = found.message.replace(f"'{found.path[1]}'", f"'{origin[1]}'")
            if (origin, message) in known:
                continue
        yield found


def _hint(found: Finding, resolved: Resolved) -> str:
    """Say so when the place shown is where another part has it from."""
    if found.path[:3] in resolved.inherited:
        return "; ".join(part for part in (found.hint, "it is taken over by 'like'") if part)
    return found.hint


def _each_once(problems: list[Problem], resolved: Resolved) -> list[Problem]:
    """What was taken over by ``like`` is wrong once, where it is written."""
    copies = tuple(_prefix(path) for path in resolved.inherited)
    first: dict[tuple[int, int, str], Problem] = {}
    for problem in problems:
        key = (problem.line, problem.column, problem.message)
        if key not in first or first[key].path.startswith(copies):
            first[key] = problem
    return list(first.values())


def _prefix(path: Path) -> str:
    return ".".join(str(part) for part in path)
