"""Evidence in, verdict out: one finding per expectation of the case, and the invariants.

To add an expectation: judge it in a function of its own that returns ``Judged`` and make a
finding of it here.

Neighbours: ``evidence`` says what is known; ``netdevs``, ``order``, ``migrations`` and
``streams``, ``paths`` and ``tcp`` judge; ``harness.report`` shows the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from harness.case.check import EVERY_STREAM
from harness.case.pairs import pair_of
from harness.document import Path, dotted
from harness.verdict.evidence import Evidence
from harness.verdict.health import judge_all_steps, judge_kernel, judge_leaks
from harness.verdict.migrations import (
    judge_end,
    judge_grammar,
    judge_sequence,
    judge_steps,
    judge_traffic,
)
from harness.verdict.model import Finding, Judged, Verdict, conclude
from harness.verdict.netdevs import judge_addresses, judge_role
from harness.verdict.order import judge_chain
from harness.verdict.paths import judge_path
from harness.verdict.streams import judge_bound
from harness.verdict.tcp import judge_tcp

_MOMENT = {"start": "at the start", "precopy": "during precopy", "end": "at the end"}


def judge(evidence: Evidence) -> Verdict:
    """The verdict on a run. Pure: the same evidence gives the same verdict."""
    return conclude([*_steps(evidence), *_expected(evidence), *_invariants(evidence)])


def _finding(evidence: Evidence, expectation: str, path: Path, judged: Judged) -> Finding:
    return Finding(
        expectation, dotted(path), evidence.bound.place(path), judged.outcome, judged.reason
    )


def _steps(evidence: Evidence) -> Iterator[Finding]:
    """A step that did not work is a finding; steps that worked are not worth a line each."""
    if (judged_traffic := judge_traffic(evidence)) is not None:
        yield _finding(evidence, "the traffic flows before step 1", ("traffic",), judged_traffic)
    for placed, judged in judge_steps(evidence):
        yield _finding(evidence, f"step {placed.label} works", placed.path, judged)


def _expected(evidence: Evidence) -> Iterator[Finding]:
    expect = evidence.bound.expect
    if expect.migration is not None:
        yield _finding(
            evidence,
            "the migrations are " + ", ".join(expect.migration)
            if isinstance(expect.migration, tuple)
            else f"every migration is {expect.migration}",
            ("expect", "migration"),
            judge_end(evidence, expect.migration),
        )
    for number, item in enumerate(expect.states):
        for side, statuses in item.sides().items():
            yield _finding(
                evidence,
                f"migration {number + 1} by its {side}: {', '.join(map(str, statuses))}",
                ("expect", "states", number, side),
                judge_sequence(evidence, number, side, statuses),
            )
    if expect.steps is not None:
        yield _finding(evidence, "every step works", ("expect", "steps"), judge_all_steps(evidence))
    for guest in expect.leaks:
        yield _finding(
            evidence,
            f"{guest} and its QEMU have in the end what they had at the start",
            ("expect", "leaks", guest),
            judge_leaks(evidence, guest),
        )
    for guest in expect.kernel:
        yield _finding(
            evidence,
            f"{guest}'s kernel complains of nothing",
            ("expect", "kernel", guest),
            judge_kernel(evidence, guest),
        )
    for moment, shapes in expect.netdevs.moments():
        for guest, pairs in shapes.items():
            for standby, shape in pairs.items():
                for role, wanted in shape.roles().items():
                    yield _finding(
                        evidence,
                        f"{_MOMENT[moment]} the {role} of {guest} {standby} is {wanted}",
                        ("expect", "netdevs", moment, guest, standby, role),
                        judge_role(evidence, moment, guest, standby, role, wanted),
                    )
                for role, addresses in shape.carried().items():
                    yield _finding(
                        evidence,
                        f"{_MOMENT[moment]} the {role} of {guest} {standby} carries "
                        + (", ".join(map(str, addresses)) or "no address"),
                        ("expect", "netdevs", moment, guest, standby, "addresses", role),
                        judge_addresses(evidence, moment, guest, standby, role, addresses),
                    )
    for number, chain in enumerate(expect.order):
        yield _finding(
            evidence,
            ", then ".join(str(event) for event in chain),
            ("expect", "order", number),
            judge_chain(evidence, chain),
        )
    for key, bounds in expect.streams.items():
        names = list(evidence.bound.traffic) if key == EVERY_STREAM else [key]
        for limit in bounds.tcp_bounds():
            for name in names:
                if name in evidence.bound.tcp:
                    yield _finding(
                        evidence,
                        f"stream {name}: {limit}",
                        ("expect", "streams", key, *limit.path),
                        judge_tcp(evidence, name, limit),
                    )
        names = [name for name in names if name in evidence.bound.packets]
        for bound in bounds.bounds():
            for name in names:
                yield _finding(
                    evidence,
                    f"stream {name}: {bound}",
                    ("expect", "streams", key, *bound.path),
                    judge_bound(evidence, name, bound),
                )
        for wanted_path in bounds.path_bounds():
            for name in names:
                # A path of every stream is one of those that go through a pair.
                terms, topology = evidence.bound.traffic[name], evidence.bound.topology
                if key != EVERY_STREAM or pair_of(terms, topology):
                    yield _finding(
                        evidence,
                        f"stream {name}: {wanted_path}",
                        ("expect", "streams", key, *wanted_path.path),
                        judge_path(evidence, name, wanted_path),
                    )


def _invariants(evidence: Evidence) -> Iterator[Finding]:
    """What holds in every run, whether a case says it or not."""
    if not evidence.migrations:
        return
    roles: tuple[Literal["source", "destination"], ...] = ("source", "destination")
    for role in roles:
        versions, judged = judge_grammar(evidence, role)
        yield Finding(
            f"the {role}'s migration states follow the grammar of QEMU {versions}",
            f"invariants.migration-states.{role}",
            "",
            judged.outcome,
            judged.reason,
        )
