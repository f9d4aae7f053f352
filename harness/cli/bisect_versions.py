"""``bisect`` over published versions: shipped recipes in their order, or what suites have today.

Neighbours: ``bisecting`` has the command and bisects git trees; ``harness.images.published``
asks the suites; ``harness.bisect`` knows which version is next.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from harness.bisect import (
    Answer,
    Axis,
    BisectDir,
    BisectResult,
    RunOnce,
    Step,
    Tried,
    Version,
    bisect_versions,
    recipes_between,
    try_revision,
)
from harness.bisect.text import told
from harness.case import BoundCase, Case, Scalar, bind
from harness.cli.cases import new_run_path, runs_of
from harness.document import suggestion
from harness.errors import EXIT_LAB, ImageError, InputError, Interrupted
from harness.images import Store
from harness.images.published import Kind, Published, published
from harness.matrix.recipes import known_recipes
from harness.topology import Choices

_KINDS: dict[Axis, Kind] = {"qemu": "toolchain", "guest-kernel": "kernel", "host-kernel": "kernel"}
_ODD = re.compile("[^A-Za-z0-9._-]+")

PrepareVersion = Callable[[Axis, Version, BoundCase, dict[str, Scalar], str], RunOnce]
"""Makes the image of a version, and gives what runs the case with it."""
Say = Callable[[str], None]


def prepare_version(
    axis: Axis, version: Version, bound: BoundCase, settings: dict[str, Scalar], shown_case: str
) -> RunOnce:
    """Real images and real labs."""
    store = Store()
    (store.toolchain if axis == "qemu" else store.kernel)(version.reference)
    return runs_of(bound, settings, shown_case)


PREPARE: PrepareVersion = prepare_version


def wants_versions(args: argparse.Namespace) -> bool:
    """Whether versions are to be bisected, and not a git tree."""
    return bool(args.between or args.suite_versions)


def bisect_published(
    args: argparse.Namespace,
    case: Case,
    settings: dict[str, Scalar],
    choices: Choices,
    *,
    say: Say,
) -> tuple[BisectDir, BisectResult]:
    """Bisect; raises what is wrong with the options, and what ``must_be`` raises."""
    for option in ("build", "result"):
        if getattr(args, option) is not None:
            raise InputError(f"--{option} is for a git tree, and published versions need none")
    axis, found = _recipes(args) if args.between else _packages(args, say)
    if axis in choices.given():
        raise InputError(f"--{axis} is what is bisected: leave it out")

    def bound(reference: str) -> BoundCase:
        return bind(
            case, args.variant, topology_path=args.topology, settings=settings,
            choices=choices.with_these(Choices.model_validate({axis: reference})),
        )  # fmt: skip

    bound(axis)  # what is wrong with the case is told before anything is made
    place = BisectDir.create(args.bisect_dir or new_run_path(f"bisect-{args.case.stem}"))
    say(f"bisect directory: {place.path}")
    versions = [_with_recipe(one, place) for one in found]
    say("from good to bad: " + ", ".join(one.name for one in versions))

    def attempt(version: Version, left: int | None) -> Step:
        directory = place.new_step(version.name)
        after = "" if left is None else f" (at most {left} more after this)"
        say(f"step {directory.name.partition('-')[0]}{after}: {version.name} ({version.origin})")
        try:
            run_once = PREPARE(axis, version, bound(version.reference), settings, str(args.case))
            tried = try_revision(run_once, directory, repeat=args.repeat, expect=args.expect)
        except ImageError as error:
            tried = Tried(Answer.SKIP, f"cannot be had: {error}", (), (), EXIT_LAB)
        step = Step(
            revision=version.name, title=version.origin, answer=tried.answer, reason=tried.reason,
            failed=tried.failed, runs=tried.runs, exit_code=tried.exit_code,
        )  # fmt: skip
        place.write(step, BisectDir.STEP, directory)
        say(told(step))
        return step

    try:
        good, suspects = bisect_versions(versions, attempt, trust=args.trust)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; what was done until then is in {place.path}") from None
    return place, BisectResult(
        case_file=str(args.case),
        of="version",
        first_bad=tuple(one.name for one in suspects),
        last_good=(good.name,),
        steps=place.steps(),
        directory=str(place.path),
    )


def _recipes(args: argparse.Namespace) -> tuple[Axis, list[Version]]:
    """``--between``: two recipes and those between them, or the whole list."""
    recipes, names = known_recipes(), list(args.between)
    for name in names:
        if name not in recipes:
            raise InputError(
                f"--between: there is no image recipe '{name}'", hint=suggestion(name, recipes)
            )
    if args.good is not None or args.bad is not None:
        raise InputError("--between names the good one first and the bad one last",
                         hint="leave --good and --bad out")  # fmt: skip
    if len(names) < 2:
        raise InputError("--between: wanted two recipes at least, the good one first")
    if len(names) == 2:
        names = list(recipes_between(names[0], names[-1], recipes))
    kinds = {recipes[name] for name in names}
    fitting: dict[str, Axis] = {"toolchain": "qemu", "kernel": "guest-kernel"}
    if len(kinds) > 1 or not kinds <= set(fitting):
        raise InputError(f"--between {' '.join(names)}: wanted QEMUs only, or kernels only")
    axis = fitting[kinds.pop()]
    if args.as_ == "host-kernel" and axis == "guest-kernel":
        axis = "host-kernel"
    return axis, [Version(name, "recipe", name) for name in names]


def _packages(args: argparse.Namespace, say: Say) -> tuple[Axis, list[Published]]:
    """``--suite-versions``: what the suites have, from ``--good`` to ``--bad``."""
    axis: Axis = args.suite_versions
    every = list(published(Store(), _KINDS[axis], args.suite, say))
    names = [one.version for one in every]
    ends = []
    for option, given, default in (("good", args.good, names[0]), ("bad", args.bad, names[-1])):
        version = given or default
        if version not in names:
            raise InputError(
                f"--{option} {version}: no suite has it; there is: {', '.join(names)}",
                hint="--suite SUITE looks into others",
            )
        ends.append(names.index(version))
    good, bad = ends
    if good == bad:
        raise InputError(f"good and bad are the same version, {names[good]}",
                         hint=f"there is: {', '.join(names)}")  # fmt: skip
    return axis, every[good : bad + 1] if good < bad else every[bad : good + 1][::-1]


def _with_recipe(one: Version | Published, place: BisectDir) -> Version:
    """A published version gets a recipe of its own in the bisect directory."""
    if isinstance(one, Version):
        return one
    recipes = place.file("recipes")
    recipes.mkdir(exist_ok=True)
    path = recipes / f"{_ODD.sub('-', one.version)}.yaml"
    path.write_text(one.recipe(), encoding="utf-8")
    return Version(one.version, one.suite, str(path))
