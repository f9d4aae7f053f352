"""A QEMU that refuses its command line: which QEMU, where, and what it was asked for.

QEMU's own words say what it does not like, and not which QEMU says so; with several of them
in a lab (a migration between versions) that is the question. Neighbours: ``guest`` starts QEMUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from harness.errors import VmExited


def machine_of(argv: Sequence[str]) -> str:
    """The machine type of a QEMU command line; empty when it names none."""
    for option, value in pairwise(argv):
        if option in ("-machine", "-M"):
            first = value.split(",")[0]
            return first.removeprefix("type=")
    return ""


def refused(
    error: VmExited, title: str, *, version: str, recipe: str, argv: Sequence[str]
) -> VmExited:
    """The error for a QEMU that ended while it started: with its version and machine type.

    ``title`` names guest and host, ``recipe`` the QEMU as the topology does.
    """
    machine = machine_of(argv)
    # 7.2 to 11.1: `unsupported machine type: "pc-q35-99.9"`, with and without the colon
    if any("unsupported machine type" in line for line in error.evidence):
        return VmExited(
            f"{title}: QEMU {version} (recipe '{recipe}') has no machine type '{machine}'",
            hint="pin one that the QEMU of every host has (the guest's `machine`, or --machine): "
            "the newest of the oldest QEMU, as newer ones keep it for years",
            evidence=error.evidence,
        )
    return VmExited(
        f"{error.message}; it is QEMU {version} (recipe '{recipe}'), machine type '{machine}'",
        hint=error.hint,
        evidence=error.evidence,
    )
