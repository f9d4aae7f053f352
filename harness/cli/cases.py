"""``run`` and ``report``: a case on a lab of its own, and a run judged again.

What judges and builds frames takes a third of a second to load: that is done while the lab goes up.

Neighbours: ``harness.scenario`` carries a case out, ``harness.report`` judges its record;
``matrices`` runs a case over a matrix, ``gates`` one with two builds.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from harness.case import BoundCase, Scalar, bind, load_case, parse_settings
from harness.cli.run_options import RunOptions
from harness.errors import (
    EXIT_PASSED,
    WORST_FIRST,
    HarnessError,
    InputError,
    Interrupted,
)
from harness.images import Store
from harness.lab import Lab, Progress, process_began
from harness.lab.control import lab_name
from harness.record import RunDir
from harness.scenario import begin_record, keep_timings, make_lab, run_case
from harness.scenario.service import LabService
from harness.topology import Choices, parse_choices

if TYPE_CHECKING:
    from harness.report import Result

_ODD = re.compile("[^A-Za-z0-9._,-]+")


def new_run(given: Path | None, title: str) -> RunDir:
    """The directory that the user named, or a new one below ``runs/`` (``HARNESS_RUNS``)."""
    return RunDir.create(given if given is not None else new_run_path(title))


def new_run_path(title: str) -> Path:
    """Where a new directory goes, below ``runs/`` (``HARNESS_RUNS``)."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    runs = Path(os.environ.get("HARNESS_RUNS", "runs"))
    return runs / f"{stamp}-{_ODD.sub('-', title).strip('-')}-{os.getpid()}"


def chosen(args: argparse.Namespace) -> Choices:
    """What the options choose in the place of what a topology says; recipes that exist."""
    choices = parse_choices(
        qemu=args.qemu,
        guest_kernel=args.guest_kernel,
        host_kernel=args.host_kernel,
        machine=args.machine,
        accelerator=args.accelerator,
    )
    if choices:
        from harness.matrix import known_recipes, must_be_recipes

        must_be_recipes(choices, known_recipes())
    return choices


def run(args: argparse.Namespace) -> int:
    case = load_case(args.case)
    settings = parse_settings(args.set)
    choices = chosen(args)
    for target in (args.json, args.junit, args.markdown):
        must_be_writable(target)
    if args.matrix:
        from harness.cli.matrices import run_matrix

        return run_matrix(
            args, case, settings, choices, new_run=new_run, run_one=run_one, write=write_text
        )
    if args.markdown:
        raise InputError("--markdown is the table of a matrix", hint="give --matrix FILE as well")
    if args.variant or args.topology or len(case.variants) == 1:
        every = [
            bind(
                case,
                args.variant,
                topology_path=args.topology,
                settings=settings,
                choices=choices,
            )
        ]
    elif args.run_dir:
        raise InputError(
            "--run-dir names one directory, and this case runs on several topologies",
            hint=f"add --variant, one of {', '.join(case.variants)}",
        )
    else:
        # All of them before anything runs: what is wrong is told at once.
        every = [
            bind(case, variant, settings=settings, choices=choices) for variant in case.variants
        ]
    options = RunOptions(args.case, boot=args.boot, quiet=args.quiet, keep=args.keep)
    results: list[Result] = []
    codes = []
    for bound in every:
        try:
            run_dir = new_run(args.run_dir, f"{args.case.stem}-{bound.variant}")
            began = process_began() if bound is every[0] else None
            result = run_one(options, bound, settings, run_dir, began=began)
            _show(result, run_dir, timings=args.timings)
        except Interrupted:
            raise
        except HarnessError as error:
            if len(every) == 1:
                raise
            print(error, file=sys.stderr)
            codes.append(error.exit_code)
        else:
            results.append(result)
            codes.append(result.exit_code)
    _write_results(args, results, several=len(every) > 1)
    return min(codes, key=WORST_FIRST.index)


def run_one(
    options: RunOptions,
    bound: BoundCase,
    settings: dict[str, Scalar],
    run_dir: RunDir,
    *,
    began: float | None = None,
) -> Result:
    """Carry a bound case out and judge it. ``began``: when the program did (``process_began``)."""
    begin_record(run_dir, bound, settings, str(options.case))
    threading.Thread(target=_load_ahead, name="loading", daemon=True).start()
    progress = Progress(None if options.quiet else sys.stderr, began=began)
    lab = make_lab(
        bound,
        run_dir,
        store=Store(),
        progress=progress,
        name=lab_name(options.case.stem, str(os.getpid())),
        boot=options.boot,
    )
    print(f"run directory: {run_dir.path}", file=sys.stderr)
    service = LabService(lab, run_dir=str(run_dir.path.absolute()), title=bound.case.claim)
    try:
        run_case(bound, run_dir, lab, hold=_hold if options.keep else None)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; what was recorded is in {run_dir.path}") from None
    except HarnessError as error:
        error.evidence = (*error.evidence, f"run directory: {run_dir.path}")
        raise
    finally:
        service.close()
    with progress.step("verdict"):
        from harness.report import judge_run, result_of, write_reports

        result = result_of(judge_run(run_dir))
        write_reports(run_dir, result)
    keep_timings(progress, run_dir)
    return result


def _load_ahead() -> None:
    for name in ("harness.traffic.frames", "harness.report"):
        import_module(name)


def _show(result: Result, run_dir: RunDir, *, timings: bool) -> None:
    from harness.report import render, render_timings

    print(render(result, run_dir.path), flush=True)
    if timings:
        print(render_timings(run_dir.timings()), flush=True)


def runs_of(
    bound: BoundCase, settings: dict[str, Scalar], shown_case: str
) -> Callable[[Path], Result]:
    """What runs a case again and again, each time with its record in a given directory."""
    options = RunOptions(Path(shown_case), quiet=True)
    return lambda place: run_one(options, bound, settings, RunDir.create(place))


def _hold(lab: Lab) -> None:
    """Keep a lab up until the user has seen enough of it."""
    print(
        f"lab {lab.name} is kept up; in another terminal: harness exec --lab {lab.name} "
        "MACHINE -- COMMAND\npress Enter to take it down",
        file=sys.stderr,
    )
    sys.stdin.readline()


def must_be_writable(target: Path | None) -> None:
    """Raises InputError now: a result that cannot be written would be noticed after the run."""
    if target is None:
        return
    if target.is_dir():
        raise InputError(f"{target}: cannot be written: it is a directory")
    if not target.absolute().parent.is_dir():
        raise InputError(f"{target}: cannot be written: there is no directory for it")


def _write_results(args: argparse.Namespace, results: Sequence[Result], *, several: bool) -> None:
    if args.json and results:
        texts = [result.to_json() for result in results]
        listed = "[\n" + ",\n".join(text.rstrip("\n") for text in texts) + "\n]\n"
        write_text(args.json, listed if several else texts[0])
    if args.junit and results:
        from harness.report import junit

        write_text(args.junit, junit(results))


def write_text(path: Path, text: str) -> None:
    """Write a file that the user named; InputError where that cannot be done."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def report(args: argparse.Namespace) -> int:
    from harness.report import judge_run, render, render_timings, result_of, timeline

    run_dir = RunDir.open(args.run)
    if args.timings:
        print(render_timings(run_dir.timings()))
        return EXIT_PASSED
    judged = judge_run(run_dir)
    if args.timeline:
        print(timeline(judged.evidence))
        return EXIT_PASSED
    result = result_of(judged)
    print(result.to_json() if args.json else render(result, run_dir.path))
    return result.exit_code
