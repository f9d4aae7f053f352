"""A document to a model, or all that is wrong with it.

``survey`` is for rooms that check references between parts: it takes out what is wrong,
validates the rest, and says what it took out, so that one bad value does not hide the
problems of the others.

Neighbours: ``wording`` says each problem; ``read`` makes documents.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from harness.document.compose import Path
from harness.document.read import Document
from harness.document.wording import Fault, faults
from harness.errors import Problem, ProblemsError

M = TypeVar("M", bound=BaseModel)

# Each round takes something out, from the leaves towards the root.
_ROUNDS = 50


class Damage:
    """Paths of a document that are not known, with quick answers about what they concern."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = frozenset(paths)
        self._around = frozenset(path[:n] for path in self._paths for n in range(len(path) + 1))

    def covers(self, path: Path) -> bool:
        """``path``, or a part around it, is not known."""
        return any(path[:n] in self._paths for n in range(len(path) + 1))

    def is_within(self, path: Path) -> bool:
        """``path``, or something in it, is not known."""
        return path in self._around


@dataclass(frozen=True, slots=True)
class Survey(Generic[M]):
    """What a document yields. ``model`` lacks what was ``damaged``; None if nothing is left."""

    model: M | None
    problems: tuple[Problem, ...]
    damaged: frozenset[Path]


def validate(document: Document, model: type[M]) -> M:
    """The model that ``document`` says; raises ``ProblemsError`` with all problems.

    Validators see the document as their context (``info.context``) and can so tell a file
    from values made in Python.
    """
    result = survey(document, model)
    if result.problems or result.model is None:
        raise ProblemsError(result.problems)
    return result.model


def survey(document: Document, model: type[M], *, incomplete: Iterable[Path] = ()) -> Survey[M]:
    """As much of the model as can be had, all problems, and the paths that were left out.

    A missing key is no problem in the parts named by ``incomplete`` (it is missing because
    of a problem reported elsewhere); the part is still left out.
    """
    data = copy.deepcopy(document.data)
    known_incomplete = frozenset(incomplete)
    problems = list(document.problems)
    damaged: set[Path] = set()
    made: M | None = None
    for _ in range(_ROUNDS):
        try:
            made = model.model_validate(data, context=document)
            break
        except ValidationError as error:
            found = faults(error, model, document)
        earlier = Damage(damaged)
        # A misspelt key is one problem, not also the absence of the right one.
        meant = {fault.meant for fault in found if fault.meant is not None}
        for fault in found:
            silent = fault.missing and (fault.path in meant or fault.path[:-1] in known_incomplete)
            if not silent and not (earlier.covers(fault.path) or earlier.is_within(fault.path)):
                problems.append(fault.problem)
            damaged.add(_drop(data, fault))
        damaged |= meant
        if () in damaged:
            break
    return Survey(made, tuple(dict.fromkeys(problems)), frozenset(damaged))


def _drop(data: dict[str, Any], fault: Fault) -> Path:
    """Take the smallest part that holds the fault out of ``data``; its path."""
    path = fault.path[:-1] if fault.missing else fault.path
    while path:
        holder: Any = data
        for part in path[:-1]:
            # A fault reported twice: its part, or one around it, may be gone already.
            if isinstance(holder, list) and isinstance(part, int) and part < len(holder):
                holder = holder[part]
            else:
                holder = holder.get(part) if isinstance(holder, dict) else None
        if isinstance(path[-1], str) and isinstance(holder, dict):
            holder.pop(path[-1], None)
            return path
        if holder is None:
            return path
        path = path[:-1]  # items of a list are not taken out singly: the others would move
    return ()
