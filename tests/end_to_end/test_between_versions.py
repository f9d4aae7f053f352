"""Migrations that QEMU refuses, on the flat lab: told in QEMU's words, and the guest goes on.

One QEMU stands for two: the destination's machine type is another one than the source's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.case import BoundCase, bind, load_case
from harness.errors import VmExited
from harness.images import Store
from harness.lab import Lab, LabImages, Progress
from harness.observe import FactLog
from harness.plan import make_plan
from harness.plan.model import Placement, Plan
from harness.record import RunDir
from harness.report.judging import judge_run
from harness.scenario.run import begin_record, carry_out
from harness.scenario.verbs import Verbs
from harness.verdict import Outcome
from tests.end_to_end.runs import FLAT

pytestmark = pytest.mark.lab

CASE = """\
case: a guest migrates
topology: lab.yaml
steps:
  - migrate: {guest: g1, to: beta, within: 60s}
expect: {migration: completed}
"""


def other_destination(plan: Plan, machine: str) -> Plan:
    """The plan with another machine type for what waits on beta."""
    guest = plan.guests["g1"]
    beta = guest.placements["beta"]
    incoming = {
        accelerator: replace(
            command, args=tuple(arg.replace("pc-q35-9.2", machine) for arg in command.args)
        )
        for accelerator, command in beta.incoming.items()
    }
    placements: dict[str, Placement] = {
        **guest.placements,
        "beta": replace(beta, incoming=incoming),
    }
    return replace(plan, guests={**plan.guests, "g1": replace(guest, placements=placements)})


@pytest.fixture
def bound(tmp_path: Path) -> BoundCase:
    text = FLAT.read_text(encoding="utf-8")
    pinned = text.replace("  g1:\n", "  g1:\n    machine: pc-q35-9.2\n")
    assert pinned != text
    (tmp_path / "lab.yaml").write_text(pinned, encoding="utf-8")
    (tmp_path / "case.yaml").write_text(CASE, encoding="utf-8")
    return bind(load_case(tmp_path / "case.yaml"))


@pytest.fixture
def run_dir(tmp_path: Path, bound: BoundCase) -> RunDir:
    run = RunDir.create(tmp_path / "run")
    begin_record(run, bound, {}, "case.yaml")
    return run


@pytest.fixture
def lab(bound: BoundCase, run_dir: RunDir) -> Iterator[Lab]:
    """A lab that is up, whose guest has the machine type pc-q35-9.2."""
    progress = Progress(None)
    made = Lab(
        make_plan(bound.topology),
        LabImages(Store(), progress.say),
        FactLog(run_dir.facts_path),
        logs=run_dir.file(RunDir.LOGS),
        progress=progress,
        name=f"between-{run_dir.path.parent.name}"[-40:],
    )
    try:
        made.up()
        yield made
    finally:
        made.down()
        made.facts.close()


def test_a_destination_that_refuses_is_told_and_the_guest_goes_on(
    lab: Lab, bound: BoundCase, run_dir: RunDir
) -> None:
    guest, plan = lab.guests["g1"], lab.plan
    verbs = Verbs(lab)

    # It does not even start: nothing is said of the guest, the lab cannot do what was asked.
    guest.plan = other_destination(plan, "pc-q35-99.9").guests["g1"]
    with pytest.raises(VmExited) as caught:
        verbs.migrate("g1", "beta")
    assert str(caught.value).startswith(
        "g1 on beta: QEMU 10.0.13 (recipe 'qemu') has no machine type 'pc-q35-99.9'\n"
    )
    assert 'unsupported machine type: "pc-q35-99.9"' in str(caught.value)
    assert "hint: pin one that the QEMU of every host has" in str(caught.value)
    verbs.exec("g1", "true")

    # It starts and cannot load what the source sends: that is a verdict.
    guest.plan = other_destination(plan, "pc-q35-9.1").guests["g1"]
    carry_out(bound, run_dir, lab)
    assert guest.current.host.name == "alpha"
    for qemu in run_dir.versions().qemu:
        assert {"wait-unplug", "device"} <= set(qemu.words.statuses)
    lab.facts.close()
    steps = [f for f in judge_run(run_dir).verdict.of(Outcome.FAILED) if f.path == "steps[0]"]
    (reason,) = {finding.reason for finding in steps}
    assert "the destination beta (QEMU 10.0.13, pc-q35-9.1) ended by itself with status" in reason
    assert "Machine type received is 'pc-q35-9.2' and local is 'pc-q35-9.1'" in reason
    assert "hint: the machine types differ (pc-q35-9.2 on alpha, pc-q35-9.1 on beta)" in reason
