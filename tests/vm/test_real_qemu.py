"""Vm with a real QEMU: firmware only, no disk, no kernel; small enough for every run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.errors import VmExited
from harness.observe import QmpEvent
from harness.reach.deadline import Deadline
from harness.reach.local import NamespaceMachine
from harness.versions import grammar_of, parse_version
from harness.vm import RunState, Vm
from harness.vm.session import QmpRefused

pytestmark = pytest.mark.lab

MakeQemu = Callable[..., Vm]


@pytest.fixture
def make_qemu(machine: NamespaceMachine, qemu: tuple[str, ...], sunk: list[QmpEvent]) -> MakeQemu:
    """A VM, not started, of the real QEMU; ``tag`` keeps the files of two apart."""

    def make(tag: str, *extra: str, **options: Any) -> Vm:
        qmp = f"{machine.scratch}/{tag}.sock"
        argv = [
            *qemu, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35",
            "-accel", "tcg", "-cpu", "qemu64", "-m", "64M",
            "-chardev", f"socket,id=qmp,path={qmp},server=on,wait=off",
            "-mon", "chardev=qmp,mode=control", *extra,
        ]  # fmt: skip
        log = f"{machine.scratch}/{tag}.log"
        return Vm("g1", machine, argv, qmp=qmp, log=log, sink=sunk.append, **options)

    return make


def test_a_vm_migrates_between_two_real_qemus_through_all_states(
    make_qemu: MakeQemu, machine: NamespaceMachine, sunk: list[QmpEvent]
) -> None:
    source = make_qemu("source", role="source")
    destination = make_qemu("destination", "-incoming", "defer", role="destination")
    source.start(Deadline(30))
    destination.start(Deadline(30))
    assert (source.state, destination.state) == (RunState.RUNNING, RunState.INCOMING)

    uri = f"unix:{machine.scratch}/migration.sock"
    destination.migrate_incoming(uri)
    source.migrate(uri)
    info = source.wait_migration(Deadline(60))
    assert (info.status, info.error) == ("completed", "")
    assert info.downtime_ms is not None
    assert info.ram_transferred
    destination.wait_event(lambda e: e.name == "RESUME", Deadline(10), what="RESUME")
    assert (source.state, destination.state) == (RunState.POSTMIGRATE, RunState.RUNNING)
    # what was derived from events is what QEMU says when asked
    assert (source.refresh(), destination.refresh()) == (RunState.POSTMIGRATE, RunState.RUNNING)

    seen = [(e.name, e.data.get("status")) for e in sunk if e.role == "source"]
    wanted = [("MIGRATION", "active"), ("STOP", None), ("MIGRATION", "completed")]
    assert [one for one in seen if one in wanted] == wanted
    stop = next(e for e in sunk if e.role == "source" and e.name == "STOP")
    resume = next(e for e in sunk if e.role == "destination" and e.name == "RESUME")
    assert stop.t_ns - stop.err_ns < resume.t_ns + resume.err_ns
    assert (source.quit(Deadline(10)), destination.quit(Deadline(10))) == (0, 0)


def test_a_migration_to_nowhere_fails_and_the_source_runs_on(
    make_qemu: MakeQemu, machine: NamespaceMachine
) -> None:
    source = make_qemu("source")
    source.start(Deadline(30))
    # QEMU 10 fails later, with an event; older ones refuse the command itself
    try:
        source.migrate(f"unix:{machine.scratch}/nobody.sock")
        info = source.wait_migration(Deadline(30))
        words = info.error
    except QmpRefused as error:
        words = error.description
    assert "Failed to connect" in words
    assert source.refresh() is RunState.RUNNING
    source.quit(Deadline(10))


def test_qemus_own_complaint_is_in_the_error(make_qemu: MakeQemu) -> None:
    vm = make_qemu("broken", "-device", "no-such-device")
    with pytest.raises(VmExited) as caught:
        vm.start(Deadline(30))
    assert "g1 on alpha: QEMU ended with status 1 while starting" in str(caught.value)
    assert "'no-such-device' is not a valid device model name" in str(caught.value)


def test_a_real_qemu_tells_its_statuses_capabilities_and_events(make_qemu: MakeQemu) -> None:
    vm = make_qemu("words")
    vm.start(Deadline(30))

    words = vm.ask_words()

    assert {"none", "setup", "wait-unplug", "active", "device", "completed"} <= set(words.statuses)
    assert {"events", "multifd", "pause-before-switchover"} <= set(words.capabilities)
    assert {"MIGRATION", "STOP", "RESUME", "UNPLUG_PRIMARY"} <= set(words.events)
    # every change that this QEMU's version brought is one that its schema tells too
    version = parse_version(vm.version())
    assert version is not None
    assert grammar_of(version, words.statuses) == grammar_of(version)
    vm.quit(Deadline(10))
