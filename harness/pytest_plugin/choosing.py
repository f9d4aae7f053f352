"""What this session's options choose in the place of what topologies say, and its matrix.

The options have the names and the meaning that they have on ``harness run``. They are read
once, when the session begins, so that a wrong one is a usage error.

Neighbours: ``cases`` and ``lab`` ask; ``harness.topology.choices`` and ``harness.matrix``
know what is right.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import InputError
from harness.matrix import Matrix, known_recipes, load_matrix, must_be_recipes
from harness.topology import Choices, parse_choices

_CHOICES = pytest.StashKey[Choices]()
_MATRIX = pytest.StashKey[Matrix]()


def read_options(config: pytest.Config) -> None:
    """Read the options; pytest.UsageError tells what is wrong with them."""
    try:
        choices = parse_choices(
            qemu=config.getoption("qemu"),
            guest_kernel=config.getoption("guest_kernel"),
            host_kernel=config.getoption("host_kernel"),
            machine=config.getoption("machine"),
            accelerator=config.getoption("accelerator"),
        )
        recipes = known_recipes()
        must_be_recipes(choices, recipes)
        config.stash[_CHOICES] = choices
        path: Path | None = config.getoption("matrix")
        if path is not None:
            matrix = load_matrix(path, recipes)
            matrix.must_leave(choices)
            config.stash[_MATRIX] = matrix
    except InputError as error:
        raise pytest.UsageError(str(error)) from None


def choices_of(config: pytest.Config) -> Choices:
    """What the options choose; nothing, where none was given."""
    return config.stash.get(_CHOICES, Choices())


def matrix_of(config: pytest.Config) -> Matrix | None:
    """The matrix of ``--matrix``."""
    return config.stash.get(_MATRIX, None)


def header(config: pytest.Config) -> list[str]:
    """What pytest's head says of the options."""
    lines = []
    if choices := choices_of(config):
        lines.append(f"harness: chosen {' '.join(choices.options())}")
    if matrix := matrix_of(config):
        lines.append(
            f"harness: cases run in {len(matrix.cells)} cells of {matrix.path}, Python tests once"
        )
    return lines
