"""``check``, ``schema`` and ``plan``: read the input, touch nothing."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from pathlib import Path

from harness.case import case_schema, check_case, looks_like_case
from harness.compare import gate_schema
from harness.errors import EXIT_INPUT, EXIT_PASSED, InputError
from harness.matrix import known_recipes, load_matrix, matrix_schema
from harness.plan import make_plan, render
from harness.plan.render import as_json
from harness.report import result_schema
from harness.topology import json_schema, load

SCHEMAS = {
    "topology": json_schema,
    "case": case_schema,
    "gate": gate_schema,
    "matrix": matrix_schema,
    "result": result_schema,
}
# Keys that only a matrix has.
_MATRIX = re.compile(r"^(axes|include|exclude)\s*:", re.MULTILINE)
_ENOUGH = 1 << 20


def check(args: argparse.Namespace) -> int:
    """Check each file as what it is; everything that is wrong, in all of them."""
    status = EXIT_PASSED
    for path in args.files:
        try:
            if _is_matrix(path):
                matrix = load_matrix(path, known_recipes())
                print(f"{path}: a matrix of {len(matrix.cells)} cells: ok")
            elif looks_like_case(path):
                bound = check_case(path)
                print(f"{path}: a case on {', '.join(one.variant for one in bound)}: ok")
            else:
                load(path)
                print(f"{path}: a topology: ok")
        except InputError as error:
            print(error, file=sys.stderr)
            status = EXIT_INPUT
    return status


def _is_matrix(path: Path) -> bool:
    with contextlib.suppress(OSError, UnicodeDecodeError), path.open(encoding="utf-8") as file:
        return _MATRIX.search(file.read(_ENOUGH)) is not None
    return False


def schema(args: argparse.Namespace) -> int:
    print(json.dumps(SCHEMAS[args.of](), indent=2))
    return EXIT_PASSED


def plan(args: argparse.Namespace) -> int:
    made = make_plan(load(args.file))
    print(as_json(made) if args.json else render(made), end="")
    return EXIT_PASSED
