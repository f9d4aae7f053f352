"""The options of ``gate`` to what is compared: each case on each topology, with both builds.

Neighbours: ``gates`` carries them out; ``harness.compare`` has the terms.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.case import (
    BoundCase,
    Case,
    Scalar,
    bind,
    declared_endpoints,
    load_case,
    parse_settings,
)
from harness.compare import ERROR, GateTerms, Side
from harness.document import one_of, suggestion
from harness.errors import InputError
from harness.matrix import known_recipes, must_be_recipes
from harness.topology import Choices, parse_choices

_KEYS = ("qemu", "guest-kernel", "host-kernel", "module", "machine", "accelerator")


@dataclass(frozen=True, slots=True)
class Gate:
    """One case on one topology, with both builds."""

    path: Path
    sides: dict[Side, BoundCase]
    settings: dict[str, Scalar]
    terms: GateTerms

    @property
    def title(self) -> str:
        return f"{self.sides[Side.BASELINE].case.claim} [{self.terms.variant}]"


def gates_of(args: argparse.Namespace) -> list[Gate]:
    """Everything that is wrong with any of them is told before anything runs."""
    if args.a_a and args.candidate:
        raise InputError("--a-a compares the baseline with itself", hint="leave --candidate out")
    if not args.a_a and args.baseline == args.candidate:
        raise InputError(
            "the candidate is the baseline: there is nothing to compare",
            hint="--candidate qemu=REF, or --a-a for a build against itself",
        )
    settings = parse_settings(args.set)
    wanted = {
        Side.BASELINE: args.baseline,
        Side.CANDIDATE: args.baseline if args.a_a else args.candidate,
    }
    pairs: list[tuple[Path, dict[Side, BoundCase]]] = []
    for path in args.cases:
        case = load_case(path)
        for variant in [args.variant] if args.variant else case.variants:
            pairs.append(
                (
                    path,
                    {
                        side: _bound(case, variant, settings, side, texts)
                        for side, texts in wanted.items()
                    },
                )
            )
    names = [f"{path.stem}-{sides[Side.BASELINE].variant}" for path, sides in pairs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two of the cases are called {name}", hint="gate them apart")
    gates = [Gate(path, sides, settings, _terms(args, path, sides, len(pairs)))
             for path, sides in pairs]  # fmt: skip
    for one in gates:
        one.terms.terms(args.minutes)
    return gates


def _terms(
    args: argparse.Namespace, path: Path, sides: dict[Side, BoundCase], gates: int
) -> GateTerms:
    bound = sides[Side.BASELINE]
    return GateTerms(
        case_file=str(path),
        variant=bound.variant,
        parameters=dict(bound.parameters),
        baseline=bound.choices.given(),
        candidate=sides[Side.CANDIDATE].choices.given(),
        endpoints=declared_endpoints(bound.gate, bound.traffic) if bound.gate else (),
        runs=args.runs,
        # The promise is for the whole command, however many cases it has (Bonferroni).
        error=ERROR / gates,
    )


def _bound(
    case: Case, variant: str, settings: dict[str, Scalar], side: Side, texts: Sequence[str]
) -> BoundCase:
    """The case with the build of one side."""
    values: dict[str, list[str]] = {key: [] for key in _KEYS}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in values:
            raise InputError(
                f"--{side} {text}: wanted WHAT=REF, WHAT one of {one_of(_KEYS)}",
                hint=suggestion(key, _KEYS),
            )
        if values[key] and key not in ("qemu", "module"):
            raise InputError(f"--{side} {text}: there is a {key} already")
        values[key].append(value)

    def single(key: str) -> str | None:
        return values[key][0] if values[key] else None

    kernel = single("guest-kernel")
    if values["module"]:
        kernel = "+".join([kernel or _kernel_of(case, variant, settings, side), *values["module"]])
    choices = parse_choices(
        qemu=values["qemu"],
        guest_kernel=kernel,
        host_kernel=single("host-kernel"),
        machine=single("machine"),
        accelerator=single("accelerator"),
    )
    must_be_recipes(choices, known_recipes())
    return bind(case, variant, settings=settings, choices=choices)


def _kernel_of(case: Case, variant: str, settings: dict[str, Scalar], side: Side) -> str:
    """The one kernel of the topology's guests, for a module that is put in its place."""
    topology = bind(case, variant, settings=settings, choices=Choices()).topology
    kernels = sorted({guest.kernel for guest in topology.guests.values()})
    if len(kernels) != 1:
        raise InputError(
            f"--{side} module=...: the guests have {len(kernels)} kernels",
            hint=f"say which one is meant: --{side} guest-kernel=REF",
        )
    return kernels[0]
