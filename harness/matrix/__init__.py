"""A case over many combinations of QEMU, kernel, machine type and accelerator.

``load_matrix`` reads a matrix file and gives its cells, or all that is wrong with it.
``MatrixResult`` holds what became of each, ``render``, ``markdown`` and ``matrix_junit``
show it. Nothing is run here.

Neighbours: the CLI runs the cells one after the other, the pytest plugin makes a test of
each, ``as_avocado_variants`` gives them to avocado; ``harness.topology.choices`` says what a
cell may choose.
"""

from harness.matrix.avocado_variants import as_avocado_variants
from harness.matrix.cells import (
    BoundCell,
    Cell,
    Excluded,
    Known,
    Matrix,
    bind_cells,
    load_matrix,
)
from harness.matrix.junit import matrix_junit
from harness.matrix.model import matrix_schema
from harness.matrix.recipes import Recipes, known_recipes, must_be_recipes
from harness.matrix.result import (
    CellOutcome,
    CellResult,
    MatrixResult,
    broken_cell,
    judged_cell,
    known_failure,
)
from harness.matrix.text import markdown, render

__all__ = [
    "BoundCell",
    "Cell",
    "CellOutcome",
    "CellResult",
    "Excluded",
    "Known",
    "Matrix",
    "MatrixResult",
    "Recipes",
    "as_avocado_variants",
    "bind_cells",
    "broken_cell",
    "judged_cell",
    "known_failure",
    "known_recipes",
    "load_matrix",
    "markdown",
    "matrix_junit",
    "matrix_schema",
    "must_be_recipes",
    "render",
]
