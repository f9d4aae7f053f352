"""``bisect``: which commit of a git tree, or which published version, broke a case.

Neighbours: ``harness.bisect`` drives git and knows what is tried next; ``bisect_step`` is what
git runs for each commit; ``bisect_versions`` bisects what needs no tree.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import harness
from harness.bisect import (
    Answer,
    Axis,
    BisectDir,
    BisectPlan,
    BisectResult,
    Ended,
    Step,
    Tree,
    must_be,
    render,
)
from harness.bisect.following import follow
from harness.bisect.text import short
from harness.case import BoundCase, bind, load_case, parse_settings
from harness.cli.bisect_versions import bisect_published, wants_versions
from harness.cli.cases import chosen, new_run_path
from harness.errors import EXIT_CANNOT_TELL, EXIT_PASSED, InputError, LabError
from harness.topology import Choices

AXES: dict[str, Axis] = {
    "qemu": "qemu", "guest-kernel": "guest-kernel", "host-kernel": "host-kernel",
}  # fmt: skip
# Without -P the tree that is bisected would come first where Python looks for modules.
_MAIN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from harness.cli import main; sys.exit(main())"
)
COMMAND: Sequence[str] = (
    sys.executable, "-P", "-c", _MAIN, str(Path(harness.__file__).parents[1]),
)  # fmt: skip
"""What starts the harness for a step, wherever it is started."""

# A Python that cannot even start ends with 1, which git would take for "bad": only what
# `bisect-step` alone says counts, and everything else ends the bisection.
STEP_GOOD, STEP_BAD, STEP_SKIP = 10, 11, 12
_SCRIPT = """\
#!/bin/sh
# What `git bisect run` runs for each commit; written by `harness bisect`.
{command}
case $? in
{good}) exit 0 ;;
{bad}) exit 1 ;;
{skip}) exit 125 ;;
*) exit 128 ;; # interrupted, wrong input, or a defect of the harness: git stops
esac
"""


def bisect(args: argparse.Namespace) -> int:
    """Carry ``bisect`` out: 0 found, 2 the ends are not as told, 3 and 4 nothing was found."""
    say = _quiet if args.quiet else _say
    if args.repeat < 1:
        raise InputError(f"--repeat {args.repeat}: wanted 1 or more")
    settings, choices = parse_settings(args.set), chosen(args)
    case = load_case(args.case)
    if wants_versions(args):
        return _show(*bisect_published(args, case, settings, choices, say=say))
    if args.suite:
        raise InputError("--suite goes with --suite-versions")
    missing = [f"--{name}" for name in ("good", "bad", "build") if getattr(args, name) is None]
    if missing:
        raise InputError(
            f"bisect: {', '.join(missing)} missing",
            hint="over a git tree: --good REV --bad REV --build CMD; over published versions: "
            "--between RECIPE RECIPE, or --suite-versions qemu",
        )
    tree = Tree(args.tree)
    tree.must_be_free()
    good, bad = tree.commit_of("--good", args.good), tree.commit_of("--bad", args.bad)
    tree.must_follow(good, bad)
    plain = bind(case, args.variant, topology_path=args.topology, settings=settings,
                 choices=choices)  # fmt: skip
    axis, reference, made = what_is_made(args, tree.path, plain)
    choices = choices.with_these(Choices.model_validate({axis: reference}))
    bound = bind(case, args.variant, topology_path=args.topology, settings=settings,
                 choices=choices)  # fmt: skip
    place = BisectDir.create(args.bisect_dir or new_run_path(f"bisect-{args.case.stem}"))
    if place.path.is_relative_to(tree.path):
        say(f"{place.path} lies in the tree: a build that cleans it (git clean) removes it")
    plan = BisectPlan(
        tree=str(tree.path), good=good, bad=bad, build=args.build,
        axis=axis, reference=reference, result=str(made),
        case_file=str(args.case), variant=bound.variant, settings=settings,
        choices=choices.given(), working_directory=os.getcwd(),
        repeat=args.repeat, expect=args.expect,
    )  # fmt: skip
    shutil.copyfile(bound.case.path, place.file(BisectDir.CASE))
    shutil.copyfile(bound.topology_path, place.file(BisectDir.TOPOLOGY))
    place.write(plan, BisectDir.PLAN)
    return _show(place, _bisect_tree(tree, place, plan, trust=args.trust, say=say))


def _show(place: BisectDir, result: BisectResult) -> int:
    place.write(result, BisectDir.RESULT)
    print(render(result), end="", flush=True)
    return EXIT_PASSED if len(result.first_bad) == 1 else EXIT_CANNOT_TELL


def what_is_made(args: argparse.Namespace, tree: Path, bound: BoundCase) -> tuple[Axis, str, Path]:
    """What ``--as`` and ``--result`` say: the choice, the image's reference, and its path."""
    kind, _, module = args.as_.partition("=")
    if kind == "module" and module:
        return "guest-kernel", *_module(args, tree, bound, module)
    if module or kind not in AXES:
        raise InputError(f"--as {args.as_}: wanted {', '.join(AXES)} or module=NAME")
    if kind in bound.choices.given():
        raise InputError(f"--{kind} and --as {kind} both choose the {kind.replace('-', ' ')}")
    made = tree / (args.result or ("build" if kind == "qemu" else "."))
    return AXES[kind], f"path:{made}", made


def _module(
    args: argparse.Namespace, tree: Path, bound: BoundCase, module: str
) -> tuple[str, Path]:
    file = f"{module}.ko"
    if args.result is None:
        raise InputError(f"--as {args.as_}: wanted --result too, as in --result DIR/{file}")
    made = tree / args.result
    if made.name.replace("-", "_") != file.replace("-", "_"):
        raise InputError(f"--as {args.as_}: --result {args.result} is no {file}")
    kernels = {guest.kernel for guest in bound.topology.guests.values()}
    if len(kernels) > 1:
        raise InputError(
            f"--as {args.as_}: the guests have different kernels ({', '.join(sorted(kernels))})",
            hint="--guest-kernel RECIPE says into which one the module goes",
        )
    return f"{kernels.pop()}+{made}", made


def _bisect_tree(
    tree: Tree, place: BisectDir, plan: BisectPlan, *, trust: bool, say: Callable[[str], None]
) -> BisectResult:
    script, log = place.file(BisectDir.SCRIPT), place.file(BisectDir.LOG)
    command = shlex.join([*COMMAND, "bisect-step", str(place.path)])
    script.write_text(
        _SCRIPT.format(command=command, good=STEP_GOOD, bad=STEP_BAD, skip=STEP_SKIP),
        encoding="utf-8",
    )
    script.chmod(0o755)
    say(f"bisect directory: {place.path}")
    with tree.bisecting():
        if not trust:
            for commit, wanted in ((plan.good, Answer.GOOD), (plan.bad, Answer.BAD)):
                say(f"is {short(commit)} {wanted.value}, as told?")
                tree.check_out(commit)
                follow([str(script)], cwd=tree.path, log=log, say=say)
                must_be(wanted, _last(place, commit))
        ended = tree.run(plan.good, plan.bad, script, log=log, say=say)
        if ended is Ended.STOPPED:
            raise _stopped(place)
        suspects = tree.suspects()
        return BisectResult(
            case_file=plan.case_file,
            of="commit",
            first_bad=suspects,
            last_good=_good_sides(tree, place, plan, suspects[0]),
            steps=place.steps(),
            directory=str(place.path),
        )


def _last(place: BisectDir, commit: str) -> Step:
    """What became of the commit that was tried last."""
    steps = place.steps()
    if not steps or steps[-1].revision != commit:
        raise _stopped(place)
    return steps[-1]


def _stopped(place: BisectDir) -> InputError | LabError:
    """Why a bisection stopped by itself."""
    last = place.steps()[-1:]
    if last and last[0].answer is Answer.STOP:
        return InputError(f"{short(last[0].revision)}: {last[0].reason}")
    log = place.file(BisectDir.LOG).read_text(encoding="utf-8", errors="replace")
    return LabError("git bisect run stopped", evidence=log.splitlines()[-12:],
                    hint=f"all of it is in {place.file(BisectDir.LOG)}")  # fmt: skip


def _good_sides(tree: Tree, place: BisectDir, plan: BisectPlan, first: str) -> tuple[str, ...]:
    """The good commits next to the first suspect: its parents, if they were tried."""
    good = {one.revision for one in place.steps() if one.answer is Answer.GOOD}
    parents = tuple(one for one in tree.parents(first) if one in good or one == plan.good)
    return parents or (plan.good,)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _quiet(_text: str) -> None:
    """Nothing is said."""
