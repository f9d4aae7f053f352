"""``bisect-step``: one commit of a bisection, built, run and judged; for ``git bisect run``.

Its exit codes are its own (``bisecting.STEP_GOOD``, ...): the script around it makes git's of
them. Neighbours: ``bisecting`` writes the plan and reads the records.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

from harness.bisect import (
    Answer,
    BisectDir,
    BisectPlan,
    RunOnce,
    Step,
    Tree,
    Tried,
    carry_out_build,
    try_revision,
)
from harness.bisect.following import MARK, end_with_parent
from harness.bisect.text import short, told
from harness.case import BoundCase, bind, load_case
from harness.cli.bisecting import STEP_BAD, STEP_GOOD, STEP_SKIP
from harness.cli.cases import runs_of
from harness.errors import EXIT_INPUT, ImageError, InputError
from harness.images import Store
from harness.topology import Choices

Prepare = Callable[[BisectPlan, BoundCase], RunOnce]
"""Takes what the build made for an image, and gives what runs the case with it."""
_CODES = {Answer.GOOD: STEP_GOOD, Answer.BAD: STEP_BAD, Answer.SKIP: STEP_SKIP}


def prepare(plan: BisectPlan, bound: BoundCase) -> RunOnce:
    """Real images and real labs. InputError and ImageError: it is no image that can be used."""
    store = Store()
    (store.toolchain if plan.axis == "qemu" else store.kernel)(plan.reference)
    return runs_of(bound, plan.settings, plan.case_file)


PREPARE: Prepare = prepare


def step(args: argparse.Namespace) -> int:
    """Carry the step out in the working directory, the tree as git has checked it out."""
    end_with_parent()
    place = BisectDir(args.directory)
    plan = place.plan()
    tree = Tree(Path(plan.tree))
    os.chdir(plan.working_directory)
    commit = tree.head()
    title = tree.subject(commit)
    directory = place.new_step(short(commit))
    left = tree.steps_left()
    after = "" if left is None else f" (about {left} more after this)"
    _say(f"step {directory.name.partition('-')[0]}{after}: {short(commit)} {title}")
    log = directory / BisectDir.BUILD_LOG
    tried = _tried(plan, place, tree, directory, log)
    became = Step(
        revision=commit,
        title=title,
        answer=tried.answer,
        reason=tried.reason,
        failed=tried.failed,
        runs=tried.runs,
        build_log=str(log),
        exit_code=tried.exit_code,
    )
    place.write(became, BisectDir.STEP, directory)
    _say(told(became))
    return _CODES.get(tried.answer, EXIT_INPUT)


def _tried(plan: BisectPlan, place: BisectDir, tree: Tree, directory: Path, log: Path) -> Tried:
    _say(f"building; log: {log}")
    begin = time.monotonic()
    status = carry_out_build(plan.build, tree.path, log)
    if status:
        return _unusable(f"the build ended with status {status}; log: {log}")
    if not Path(plan.result).exists():
        return _unusable(f"the build made no {plan.result}; log: {log}")
    try:
        case = load_case(place.file(BisectDir.CASE), shown_as=plan.case_file)
        bound = bind(
            case,
            plan.variant,
            topology_path=place.file(BisectDir.TOPOLOGY),
            settings=plan.settings,
            choices=Choices.model_validate(plan.choices),
        )
    except InputError as error:
        return Tried(Answer.STOP, str(error), (), (), EXIT_INPUT)
    try:
        run_once = PREPARE(plan, bound)
    except (InputError, ImageError) as error:
        return _unusable(f"what was built cannot be used: {error}")
    _say(f"built in {time.monotonic() - begin:.0f} s; running {plan.case_file}")
    return try_revision(run_once, directory, repeat=plan.repeat, expect=plan.expect)


def _unusable(reason: str) -> Tried:
    return Tried(Answer.SKIP, reason, (), (), EXIT_INPUT)


def _say(text: str) -> None:
    print(f"{MARK}{text}", flush=True)
