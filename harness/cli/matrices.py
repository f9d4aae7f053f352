"""``matrix``, and ``run --matrix``: a case over the cells of a matrix, one after the other.

Neighbours: ``harness.matrix`` knows the cells and makes the table; ``cases`` runs each.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness.case import Case, Scalar, bind
from harness.cli.run_options import RunOne, RunOptions
from harness.errors import EXIT_PASSED, HarnessError, InputError, Interrupted
from harness.matrix import (
    BoundCell,
    CellResult,
    Matrix,
    MatrixResult,
    as_avocado_variants,
    bind_cells,
    broken_cell,
    judged_cell,
    known_recipes,
    load_matrix,
    markdown,
    matrix_junit,
    render,
)
from harness.record import RunDir
from harness.topology import Choices

NewRun = Callable[[Path | None, str], RunDir]


def cells(args: argparse.Namespace) -> int:
    matrix = load_matrix(args.file, known_recipes())
    if args.avocado:
        print(as_avocado_variants(matrix), end="")
        return EXIT_PASSED
    for cell in matrix.cells:
        known = matrix.known_of(cell)
        note = f"  is known to fail: {known.reason}" if known else ""
        print(f"{cell.variant or '*'}[{cell.id}]{note}")
    for one in matrix.excluded:
        print(f"{one.cell.variant or '*'}[{one.cell.id}]  excluded: {one.reason}")
    return EXIT_PASSED


def run_matrix(
    args: argparse.Namespace,
    case: Case,
    settings: dict[str, Scalar],
    choices: Choices,
    *,
    new_run: NewRun,
    run_one: RunOne,
    write: Callable[[Path, str], None],
) -> int:
    """Run every cell; the exit code of the worst. A lab that breaks does not stop the others."""
    for option, given in {"--run-dir": args.run_dir, "--topology": args.topology}.items():
        if given:
            raise InputError(
                f"{option} is for a single run, and --matrix has several",
                hint="HARNESS_RUNS=DIR says where run directories are made"
                if option == "--run-dir"
                else "name it as a topology of the case",
            )
    matrix = load_matrix(args.matrix, known_recipes())
    matrix.must_leave(choices)
    # All of them before anything runs: what is wrong is told at once.
    if args.variant is not None and args.variant not in case.variants:
        bind(case, args.variant)  # which says what there is
    bound = bind_cells(
        case, matrix, [args.variant] if args.variant else case.variants, settings, choices
    )
    done: list[CellResult] = []
    try:
        for number, one in enumerate(bound, 1):
            place = f"cell {number} of {len(bound)}, {one.id}"
            print(place, file=sys.stderr)
            run_dir = new_run(None, f"{args.case.stem}-{one.id}")
            done.append(_run_cell(args, matrix, one, settings, run_dir, run_one=run_one))
            print(f"{place}: {done[-1].outcome.value}; {run_dir.path}", file=sys.stderr)
    finally:
        # What is known of the finished cells is shown, whatever ended the others.
        if done:
            left = [one.id for one in bound[len(done) :]]
            result = MatrixResult.of(case.claim, str(args.case), matrix, done, not_run=left)
            print(render(result), end="", flush=True)
            for target, text in (
                (args.json, result.to_json),
                (args.junit, lambda: matrix_junit(result)),
                (args.markdown, lambda: markdown(result)),
            ):
                if target:
                    write(target, text())
    return result.exit_code


def _run_cell(
    args: argparse.Namespace,
    matrix: Matrix,
    one: BoundCell,
    settings: dict[str, Scalar],
    run_dir: RunDir,
    *,
    run_one: RunOne,
) -> CellResult:
    known, where, begin = matrix.known_of(one.cell), str(run_dir.path), time.monotonic()
    try:
        options = RunOptions(args.case, boot=args.boot, quiet=args.quiet)
        result = run_one(options, one.bound, settings, run_dir)
    except Interrupted:
        raise
    except HarnessError as error:
        print(error, file=sys.stderr)
        took = time.monotonic() - begin
        return broken_cell(one.cell, one.variant, known, error, duration_s=took, run=where)
    took = time.monotonic() - begin
    return judged_cell(one.cell, one.variant, known, result, duration_s=took, run=where)
