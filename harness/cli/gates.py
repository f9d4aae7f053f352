"""``gate``: cases with two builds, run after run, until the comparison is decided.

What is next and what follows is decided in ``harness.compare``; here it is run, and kept in
``gate.json`` after each run, so that the same command goes on where it was interrupted.

Neighbours: ``gate_options`` says what is compared; ``cases`` carries a run out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from harness.cli.cases import must_be_writable, new_run_path, run_one, write_text
from harness.cli.gate_options import Gate, gates_of
from harness.cli.run_options import RunOne, RunOptions
from harness.compare import (
    Decision,
    GateOutcome,
    GateRecord,
    GateTerms,
    NextRun,
    Seen,
    advance,
    broken_run,
    junit,
    markdown,
    measured_bounds,
    render,
    seen_run,
)
from harness.errors import (
    HarnessError,
    ImageError,
    InputError,
    Interrupted,
    MissingDependency,
    RecordError,
)
from harness.record import RunDir

_WORST_FIRST = (
    GateOutcome.WORSE,
    GateOutcome.LAB_BROKE,
    GateOutcome.INCONCLUSIVE,
    GateOutcome.NO_WORSE,
)
_RECORD = "gate.json"


def gate(args: argparse.Namespace) -> int:
    return run_gates(args, run_one=run_one)


def run_gates(args: argparse.Namespace, *, run_one: RunOne) -> int:
    """Gate every case on its topologies; the exit code of the worst.

    A finding of one case does not stop the others: a patch's author wants to know all of it.
    """
    for target in (args.json, args.junit, args.markdown):
        must_be_writable(target)
    gates = gates_of(args)
    folder = args.gate_dir or new_run_path(f"gate-{args.cases[0].stem}")
    done: list[tuple[str, Decision]] = []
    try:
        for one in gates:
            print(_announced(one, args.minutes), file=sys.stderr)
            decision = _carried_out(
                args, one, folder / f"{one.path.stem}-{one.terms.variant}", run_one
            )
            done.append((one.title, decision))
            print(render(decision, one.title), flush=True)
    except Interrupted as error:
        raise Interrupted(
            error.message, hint=f"to go on: the same command with --gate-dir {folder}"
        ) from None
    finally:
        if done:
            _write(args, done)
    print(f"gate directory: {folder}", file=sys.stderr)
    return min((one.outcome for _, one in done), key=_WORST_FIRST.index).exit_code


def _announced(one: Gate, minutes: float | None) -> str:
    looks = ", ".join(str(look.runs) for look in one.terms.terms(minutes).looks)
    names = ", ".join(endpoint.name for endpoint in one.terms.endpoints)
    return f"{one.title}: {names}; looks after {looks} runs of each build"


def _carried_out(args: argparse.Namespace, one: Gate, folder: Path, run_one: RunOne) -> Decision:
    """Run until it is decided, from where a former command has left it."""
    record = _begun(one, folder)
    terms = one.terms.terms(args.minutes)
    while True:
        step = advance(terms, record.runs, minutes=record.minutes)
        if isinstance(step, Decision):
            record = record.model_copy(update={"decision": step})
            _keep(folder, record)
            files = RunDir(folder)
            files.write(RunDir.REPORT, render(step, one.title))
            files.write("report.md", markdown(step, one.title))
            files.write(RunDir.JUNIT, junit([(one.title, step)]))
            return step
        begin = time.monotonic()
        seen = _seen(args, one, step, folder, run_one)
        record = record.with_run(seen, (time.monotonic() - begin) / 60)
        _keep(folder, record)
        print(_told(one, step, seen), file=sys.stderr)


def _begun(one: Gate, folder: Path) -> GateRecord:
    path = folder / _RECORD
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made: {error.strerror}") from error
        return GateRecord(schema_version=1, terms=one.terms)
    try:
        record = GateRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise RecordError(
            f"{path}: was written by another version, or is damaged",
            hint="name a directory that does not exist yet",
            evidence=str(error).splitlines()[:3],
        ) from error
    if record.terms != one.terms:
        differ = [
            name
            for name in GateTerms.model_fields
            if getattr(record.terms, name) != getattr(one.terms, name)
        ]
        raise InputError(
            f"{path}: was begun with other terms: {', '.join(differ)}",
            hint="terms that change after the first run promise nothing; name another directory",
        )
    return record


def _keep(folder: Path, record: GateRecord) -> None:
    RunDir(folder).write(_RECORD, record.to_json())


def _seen(
    args: argparse.Namespace, one: Gate, step: NextRun, folder: Path, run_one: RunOne
) -> Seen:
    """Make one run; what keeps it from being judged is trouble, and no verdict."""
    bound, run_dir = one.sides[step.side], RunDir.create(_free(folder, step))
    options = RunOptions(one.path, boot=args.boot, quiet=args.quiet)
    where = str(run_dir.path)
    try:
        result = run_one(options, bound, one.settings, run_dir)
    except (InputError, Interrupted, ImageError, MissingDependency):
        raise  # a repetition would meet the same
    except HarnessError as error:
        why = error.message.splitlines()[0]
        return broken_run(
            step.number, step.side, why, confirming=step.confirming, run_directory=where
        )
    return seen_run(
        step.number,
        step.side,
        result,
        one.terms.endpoints,
        measured_bounds(bound),
        confirming=step.confirming,
        run_directory=where,
    )


def _free(folder: Path, step: NextRun) -> Path:
    """A directory for a run; one that was interrupted has left its own."""
    name = f"{step.number:03d}-{step.side}"
    attempts = (folder / (name if n == 1 else f"{name}-{n}") for n in range(1, 1000))
    return next(path for path in attempts if not path.exists())


def _told(one: Gate, step: NextRun, seen: Seen) -> str:
    told = [f"does not count: {seen.trouble}"] if seen.trouble else []
    for end in () if seen.trouble else one.terms.endpoints:
        value = seen.figures[end.name].value
        told.append(f"{end.name} {value:g} {end.unit}")
    told += [f"failed: {name}" for name in (*seen.findings, *seen.bounds) if seen.failed(name)]
    return f"run {step.number}, {step.side} ({step.why}): {'; '.join(told)}"


def _write(args: argparse.Namespace, done: Sequence[tuple[str, Decision]]) -> None:
    if args.json:
        listed = [json.loads(decision.to_json()) for _, decision in done]
        several = len(listed) > 1
        write_text(args.json, json.dumps(listed if several else listed[0], indent=2) + "\n")
    if args.junit:
        write_text(args.junit, junit(done))
    if args.markdown:
        write_text(args.markdown, "\n".join(markdown(one, title) for title, one in done))
