"""After a migration: what two QEMUs (scripted ones) say, and what is made of it."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import VmExited
from harness.observe import QmpEvent
from harness.reach.deadline import Deadline
from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import Sandbox
from harness.scenario import aftermath
from harness.scenario.aftermath import Side, after_completion, after_failure
from harness.vm import MigrationInfo, RunState, Vm

FAKE = Path(__file__).parents[1] / "vm" / "fake_qemu.py"

RUNS = {"query-status": [{"return": {"status": "running"}}]}
GONE = {"query-status": [{"return": {"status": "postmigrate"}}]}
WAITS = {"query-status": [{"return": {"status": "inmigrate"}}]}
STOPPED = {"query-status": [{"return": {"status": "paused"}}]}
RESUMES = {"stop": [{"event": ["RESUME", {}]}, {"return": {}}]}
"""It does so when the test lets it go on, by a command that nothing else here sends."""
FAILED = MigrationInfo("failed", error="Connection reset by peer")

MakeSide = Callable[..., Side]


@pytest.fixture
def side() -> Iterator[MakeSide]:
    """A side of a migration on a host, whose QEMU follows a script."""
    with Sandbox("test") as sandbox:
        machines: list[NamespaceMachine] = []

        def make(host: str, script: dict[str, Any], machine_type: str = "pc-q35-9.2") -> Side:
            machine = NamespaceMachine(sandbox, sandbox.namespace(host), name=host)
            machines.append(machine)
            qmp = f"{machine.scratch}/{host}.sock"
            events: list[QmpEvent] = []
            vm = Vm(
                "g1",
                machine,
                [sys.executable, "-I", str(FAKE), qmp, json.dumps(script)],
                qmp=qmp,
                log=f"{machine.scratch}/{host}.log",
                sink=events.append,
            )
            vm.start(Deadline(10))
            return Side(vm, "10.0.13" if host == "alpha" else "11.1.0", machine_type)

        yield make
        for machine in machines:
            machine.close()


def ends(status: int, *words: str) -> dict[str, Any]:
    return WAITS | {"stop": [*({"print": word} for word in words), {"exit": status}]}


def go(one: Side) -> None:
    """Let the script go on; a QEMU that ends has no answer."""
    try:
        one.vm.pause()
    except VmExited:
        assert one.vm.exit_status is not None


def test_a_guest_that_runs_on_the_destination_only_is_there(side: MakeSide) -> None:
    source, destination = side("alpha", GONE), side("beta", WAITS | RESUMES)
    go(destination)

    found = after_completion(source, destination, Deadline(10))

    assert (found.left, found.wrong) == ("destination", None)


def test_a_source_that_runs_on_beside_the_destination_is_told(side: MakeSide) -> None:
    source, destination = side("alpha", RUNS), side("beta", RUNS | RESUMES)
    go(destination)

    found = after_completion(source, destination, Deadline(10))

    assert found.left == "destination"
    assert found.wrong is not None
    assert found.wrong.message == (
        "g1: after the migration (completed, says the source) it runs on both sides, alpha "
        "(QEMU 10.0.13, pc-q35-9.2) and beta (QEMU 11.1.0, pc-q35-9.2): two guests with the same "
        "addresses and disks"
    )


def test_a_destination_that_ends_after_the_source_completed_has_lost_the_guest(
    side: MakeSide,
) -> None:
    source = side("alpha", GONE)
    destination = side("beta", ends(1, "load of migration failed: Invalid argument"))
    go(destination)

    found = after_completion(source, destination, Deadline(10))

    assert found.left == "source"
    assert "did not run it and ended: the guest was lost" in str(found.wrong)
    assert "load of migration failed: Invalid argument" in str(found.wrong)


def test_a_destination_that_does_not_run_what_it_got_is_told(side: MakeSide) -> None:
    source, destination = side("alpha", GONE), side("beta", STOPPED)

    found = after_completion(source, destination, Deadline(0.2))

    assert found.left == "source"
    assert (
        "the guest does not run on the destination beta (QEMU 11.1.0, pc-q35-9.2), which is "
        in (str(found.wrong))
    )


def test_a_destination_that_cannot_load_is_told_in_its_own_words(side: MakeSide) -> None:
    source = side("alpha", RUNS)
    words = "Machine type received is 'pc-q35-9.2' and local is 'pc-q35-9.1'"
    destination = side("beta", ends(1, words, "load of migration failed"), "pc-q35-9.1")
    go(destination)

    found = after_failure(source, destination, FAILED, since=0)

    assert found.left == "source"
    assert str(found.wrong) == (
        "g1: the migration failed: Connection reset by peer; the destination beta (QEMU 11.1.0, "
        "pc-q35-9.1) ended by itself with status 1; the source is alpha (QEMU 10.0.13, pc-q35-9.2)"
        f"\n    {words}\n    load of migration failed\n"
        "  hint: the machine types differ (pc-q35-9.2 on alpha, pc-q35-9.1 on beta): pin one that "
        "both QEMUs have, with the guest's `machine`"
    )


def test_a_crash_of_the_destination_is_its_own(side: MakeSide) -> None:
    source, destination = side("alpha", RUNS), side("beta", WAITS)
    assert destination.vm.process is not None
    destination.vm.process.signal(signal.SIGABRT)

    found = after_failure(source, destination, FAILED, since=0)

    assert "ended by signal SIGABRT" in str(found.wrong)


def test_a_destination_that_something_else_has_ended_is_no_verdict(side: MakeSide) -> None:
    source, destination = side("alpha", RUNS), side("beta", WAITS)
    assert destination.vm.process is not None
    destination.vm.process.signal(signal.SIGKILL)

    with pytest.raises(VmExited, match="by signal SIGKILL"):
        after_failure(source, destination, FAILED, since=0)


def test_a_destination_that_a_step_has_killed_is_no_broken_lab(side: MakeSide) -> None:
    source, destination = side("alpha", RUNS), side("beta", WAITS)
    destination.vm.kill()

    wanted = after_failure(source, destination, FAILED, since=0, wanted=True)
    unwanted = after_failure(source, destination, FAILED, since=0)

    assert (wanted.left, wanted.wrong) == ("source", None)
    assert "ended by signal SIGKILL" in str(unwanted.wrong)


def test_a_wanted_failure_that_leaves_the_guest_nowhere_is_still_wrong(
    side: MakeSide, quick: None
) -> None:
    source, destination = side("alpha", STOPPED), side("beta", WAITS)

    found = after_failure(source, destination, FAILED, since=0, wanted=True)

    assert "runs on neither side" in str(found.wrong)


def test_a_guest_that_was_stopped_before_may_be_stopped_after(side: MakeSide, quick: None) -> None:
    source, destination = side("alpha", STOPPED), side("beta", WAITS)

    found = after_failure(source, destination, FAILED, since=0, wanted=True, ran=False)

    assert (found.left, found.wrong) == ("source", None)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here is late: a side that does not end, or does not run, is not waited for long."""
    monkeypatch.setattr(aftermath, "AFTERMATH_S", 0.3)


@pytest.mark.usefixtures("quick")
def test_a_guest_that_runs_on_both_sides_after_a_failure_is_told(side: MakeSide) -> None:
    found = after_failure(side("alpha", RUNS), side("beta", RUNS), FAILED, since=0)

    assert found.left == "source"
    assert "after the migration (failed, says the source) it runs on both sides" in str(found.wrong)


@pytest.mark.usefixtures("quick")
def test_a_guest_that_runs_on_the_destination_after_a_failure_is_told(side: MakeSide) -> None:
    found = after_failure(side("alpha", STOPPED), side("beta", RUNS), FAILED, since=0)

    assert "yet the guest runs on the destination beta" in str(found.wrong)


@pytest.mark.usefixtures("quick")
def test_a_guest_that_runs_nowhere_is_told(side: MakeSide) -> None:
    found = after_failure(side("alpha", STOPPED), side("beta", WAITS), FAILED, since=0)

    assert "the guest runs on neither side: the source is paused" in str(found.wrong)


@pytest.mark.usefixtures("quick")
def test_a_failed_migration_that_left_the_guest_where_it_was_is_just_that(side: MakeSide) -> None:
    found = after_failure(side("alpha", RUNS), side("beta", WAITS), FAILED, since=0)

    assert str(found.wrong) == "g1: the migration failed: Connection reset by peer"


def test_a_source_that_goes_on_a_moment_after_it_failed_is_waited_for(side: MakeSide) -> None:
    resumes = [{"become": RUNS}, {"event": ["RESUME", {}]}, {"return": {}}]
    source = side("alpha", STOPPED | {"cont": resumes})
    destination = side("beta", ends(1, "no"))
    go(destination)
    later = threading.Timer(0.3, source.vm.resume)
    later.start()

    found = after_failure(source, destination, FAILED, since=0)

    later.join()
    assert "runs on neither side" not in str(found.wrong)
    assert source.vm.refresh() is RunState.RUNNING
