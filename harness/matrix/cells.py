"""A matrix file to its cells, or to all that is wrong with it.

A cell is one value for each axis: choices for a run, and perhaps the topology. The same
file gives the same cells in the same order to everybody who asks.

Neighbours: ``model`` has the shapes, ``recipes`` knows which recipes there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path as FilePath
from typing import Any

from harness.case import BoundCase, Case, Scalar, bind
from harness.document import Document, Path, read, suggestion, survey
from harness.errors import InputError, Problem, ProblemsError
from harness.matrix.model import AXES, MatrixFile, Pattern
from harness.matrix.recipes import Recipes, trouble
from harness.topology import Choices

_Value = str | dict[str, str]
_TOPOLOGYS_OWN = "as-it-is"


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination. ``variant`` is None where the matrix leaves the topology open."""

    variant: str | None
    choices: Choices

    @property
    def id(self) -> str:
        """Its name, without the variant: ``qemu-11+kernel-7``. No two cells share one.

        Of signs that pytest's ``-k`` takes, so that a test can be chosen by its cell.
        """
        values = _values(self)
        values.pop("variant", None)
        # A host kernel could have the name of a guest kernel.
        marks = {"host-kernel": "host:"}
        texts = [marks.get(axis, "") + _text(value) for axis, value in values.items()]
        return "+".join(texts) or _TOPOLOGYS_OWN


@dataclass(frozen=True, slots=True)
class Excluded:
    """A cell that is not run, and why."""

    cell: Cell
    reason: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a cell: that the case fails there, why, and with which finding."""

    reason: str
    finding: str | None


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix file that is in order: it has one cell at least."""

    path: FilePath
    cells: tuple[Cell, ...]
    excluded: tuple[Excluded, ...]
    known: tuple[tuple[Cell, Known], ...]

    def known_of(self, cell: Cell) -> Known | None:
        """What is known of a cell."""
        return next((known for one, known in self.known if one == cell), None)

    def must_leave(self, choices: Choices) -> None:
        """Raises InputError where options and a cell choose the same thing."""
        given = set(choices.given())
        for cell in self.cells:
            both = given & set(cell.choices.given())
            if "qemu" in cell.choices.given() or "qemu-on" in cell.choices.given():
                both |= given & {"qemu", "qemu-on"}
            if both:
                name = sorted(both)[0].removesuffix("-on")
                raise InputError(
                    f"--{name} and {self.path} both choose the {name.replace('-', ' ')}",
                    hint="leave the option out, or the axis",
                )

    def runs_of(self, case: Case, wanted: Sequence[str]) -> tuple[tuple[str, Cell], ...]:
        """The runs of ``case`` on its variants ``wanted``: variant and cell, in their order.

        Raises InputError for a variant that the case does not have, and when nothing is left.
        """
        for cell in (*self.cells, *(one.cell for one in self.excluded)):
            if cell.variant is not None and cell.variant not in case.variants:
                raise InputError(
                    f"{self.path}: '{cell.variant}' is not a topology of {case.document.path}",
                    hint=suggestion(cell.variant, case.variants),
                )
        runs = tuple(
            (variant, cell)
            for variant in case.variants
            if variant in wanted
            for cell in self.cells
            if cell.variant in (None, variant)
        )
        if not runs:
            raise InputError(
                f"{self.path}: no cell is on {' or '.join(wanted)}",
                hint="the matrix names other topologies of the case",
            )
        return runs


@dataclass(frozen=True, slots=True)
class BoundCell:
    """A case on one topology, with the choices of a cell."""

    variant: str
    cell: Cell
    bound: BoundCase

    @property
    def id(self) -> str:
        """``flat[qemu-11+kernel-7]``."""
        return f"{self.variant}[{self.cell.id}]"


def bind_cells(
    case: Case,
    matrix: Matrix,
    variants: Sequence[str],
    settings: Mapping[str, Scalar],
    choices: Choices,
) -> tuple[BoundCell, ...]:
    """``case`` with every cell on its ``variants``; the same list for whoever asks.

    ``choices`` hold for all cells. Raises InputError with what is wrong with any of them.
    """
    found: list[BoundCell] = []
    wrong: list[str] = []
    for variant, cell in matrix.runs_of(case, variants):
        both = choices.with_these(cell.choices)
        try:
            bound = bind(case, variant, settings=settings, choices=both)
        except InputError as error:
            wrong.append(str(error))
        else:
            found.append(BoundCell(variant, cell, bound))
    if wrong:
        raise InputError("\n".join(dict.fromkeys(wrong)))
    return tuple(found)


def load_matrix(path: FilePath, recipes: Recipes) -> Matrix:
    """The matrix in ``path``; raises ProblemsError with all that is wrong with it."""
    document = read(path)
    seen = survey(document, MatrixFile)
    problems = list(seen.problems)
    if seen.model is not None:
        problems += _unknown_recipes(document, seen.model, recipes)
        if not seen.problems:
            matrix, found = _cells(document, seen.model)
            if not problems and not found:
                return matrix
            problems += found
    raise ProblemsError(problems)


def _values(part: Pattern | Cell) -> dict[str, _Value]:
    """The values that a pattern or cell names, by axis, in the order of the axes."""
    if isinstance(part, Pattern):
        given: dict[str, Any] = part.model_dump(by_alias=True, exclude_none=True)
    else:
        given = part.choices.given()
        if "qemu-on" in given:
            given["qemu"] = given["qemu-on"]
        if part.variant is not None:
            given["variant"] = part.variant
    return {axis: given[axis] for axis in AXES if axis in given}


def _text(value: _Value) -> str:
    if isinstance(value, str):
        return value
    return "/".join(f"{host}:{ref}" for host, ref in value.items())


def _cell(values: dict[str, _Value]) -> Cell:
    qemu = values.get("qemu")
    choices = {axis: value for axis, value in values.items() if axis not in ("variant", "qemu")}
    if qemu is not None:
        choices["qemu" if isinstance(qemu, str) else "qemu-on"] = qemu
    variant = values.get("variant")
    return Cell(variant if isinstance(variant, str) else None, Choices.model_validate(choices))


def _matches(pattern: Pattern, cell: Cell) -> bool:
    values = _values(cell)
    return all(values.get(axis) == value for axis, value in _values(pattern).items())


def _unknown_recipes(document: Document, file: MatrixFile, recipes: Recipes) -> Iterator[Problem]:
    values: list[tuple[Path, str, _Value]] = []
    for axis, several in file.axes.model_dump(by_alias=True).items():
        values += [(("axes", axis, n), axis, value) for n, value in enumerate(several)]
    for number, one in enumerate(file.include):
        values += [(("include", number, axis), axis, value) for axis, value in _values(one).items()]
    for path, axis, value in values:
        singles = (
            [(path, value)]
            if isinstance(value, str)
            else [((*path, host), ref) for host, ref in value.items()]
        )
        for place, reference in singles:
            wrong = trouble(axis, reference, recipes)
            if wrong is not None:
                yield document.problem(place, *wrong)


def _cells(document: Document, file: MatrixFile) -> tuple[Matrix, list[Problem]]:
    """The cells, and what is wrong with their sum; the shapes are right."""
    problems: list[Problem] = []
    axes = {axis: values for axis in AXES if (values := file.axes.model_dump(by_alias=True)[axis])}
    for name, values in document.data.get("axes", {}).items():
        if not values:
            problems.append(
                document.problem(("axes", name), "the axis has no values", "leave it out", key=True)
            )
    for axis, values in axes.items():
        for number, value in enumerate(values):
            if value in values[:number]:
                problems.append(
                    document.problem(("axes", axis, number), f"'{_text(value)}' is there twice")
                )
    every = [
        _cell(dict(zip(axes, combination, strict=True))) for combination in product(*axes.values())
    ]
    cells = every if axes else []
    excluded: list[Excluded] = []
    for number, exclusion in enumerate(file.exclude):
        path: Path = ("exclude", number)
        before = [cell for cell in every if axes and _matches(exclusion, cell)]
        problems += _idle(document, path, exclusion, before, axes, "excludes")
        if not _values(exclusion):
            continue
        gone = [cell for cell in cells if _matches(exclusion, cell)]
        if before and not gone:
            problems.append(
                document.problem(path, "excludes only what is excluded above already", key=True)
            )
        excluded += [Excluded(cell, exclusion.reason) for cell in gone]
        cells = [cell for cell in cells if cell not in gone]
    for number, inclusion in enumerate(file.include):
        path = ("include", number)
        cell = _cell(_values(inclusion))
        if not _values(inclusion):
            problems.append(document.problem(path, "names no axis", key=True))
        elif cell in cells:
            problems.append(document.problem(path, f"'{cell.id}' is a cell already", key=True))
        elif any(cell == one.cell for one in excluded):
            problems.append(document.problem(path, f"'{cell.id}' is excluded above", key=True))
        cells.append(cell)
    known: list[tuple[Cell, Known]] = []
    for number, expectation in enumerate(file.expect):
        path = ("expect", number)
        meant = [cell for cell in cells if _matches(expectation, cell)]
        problems += _idle(document, path, expectation, meant, axes, "is about")
        for cell in meant:
            if any(one == cell for one, _ in known):
                problems.append(
                    document.problem(path, f"'{cell.id}' has an expectation already", key=True)
                )
            known.append((cell, Known(expectation.reason, expectation.finding)))
    if not cells and not problems:
        what = "every cell is excluded" if excluded else "the matrix has no cells"
        hint = "" if excluded else "give `axes` some values, as in `qemu: [qemu]`"
        problems.append(document.problem((), what, hint))
    return Matrix(document.path, tuple(cells), tuple(excluded), tuple(known)), problems


def _idle(
    document: Document,
    path: Path,
    pattern: Pattern,
    found: Sequence[Cell],
    axes: dict[str, tuple[_Value, ...]],
    verb: str,
) -> Iterator[Problem]:
    """An entry that concerns no cell is a mistake: of its author, or of a later editor."""
    values = _values(pattern)
    if not values:
        yield document.problem(path, "names no axis, and so is about every cell", key=True)
        return
    if found:
        return
    hint = "no cell has these values together"
    for axis, value in values.items():
        known = [_text(one) for one in axes.get(axis, ())]
        if _text(value) not in known:
            hint = suggestion(_text(value), known, none=f"there is no axis '{axis}'")
            hint = f"{axis}: {hint}"
            break
    yield document.problem(path, f"{verb} no cell", hint, key=True)
