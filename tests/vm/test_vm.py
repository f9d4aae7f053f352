"""A VM's states, events and errors, with a scripted QEMU (a real process, a real socket)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness.errors import DeadlineExceeded, VmError, VmExited, WrongState
from harness.observe import QmpEvent
from harness.reach.deadline import Deadline
from harness.reach.local import NamespaceMachine
from harness.versions import QemuWords
from harness.vm import MigrationInfo, RunState, Vm
from harness.vm.session import QmpRefused

MakeVm = Callable[..., Vm]
MIGRATION = [
    ("UNPLUG_PRIMARY", {"device-id": "net1"}),
    ("MIGRATION", {"status": "wait-unplug"}),
    ("MIGRATION", {"status": "active"}),
    ("STOP", {}),
    ("MIGRATION", {"status": "device"}),
    ("MIGRATION", {"status": "completed"}),
]
INCOMING = {"query-status": [{"return": {"status": "inmigrate", "running": False}}]}


def events(*pairs: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"event": [name, data]} for name, data in pairs]


def started(vm: Vm) -> Vm:
    vm.start(Deadline(10))
    return vm


def test_a_started_vm_is_in_the_state_that_qemu_says(make_vm: MakeVm) -> None:
    vm = make_vm()
    states = [vm.state, started(vm).state]
    assert vm.execute("query-version") == {}
    assert vm.quit(Deadline(10)) == 0
    assert [*states, vm.state] == [RunState.NEW, RunState.RUNNING, RunState.EXITED]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("inmigrate", RunState.INCOMING),
        ("prelaunch", RunState.PAUSED),
        ("paused", RunState.PAUSED),
        ("postmigrate", RunState.POSTMIGRATE),
        ("guest-panicked", RunState.FAILED),
    ],
)
def test_states_of_qemu_map_to_ours(make_vm: MakeVm, status: str, state: RunState) -> None:
    vm = make_vm({"query-status": [{"return": {"status": status, "running": False}}]})
    assert started(vm).state is state


def test_a_migration_is_seen_event_by_event_in_qemus_order(
    make_vm: MakeVm, sunk: list[QmpEvent]
) -> None:
    answer = {
        "status": "completed", "downtime": 23, "total-time": 900, "setup-time": 4,
        "ram": {"transferred": 4096, "total": 8192},
    }  # fmt: skip
    vm = started(
        make_vm(
            {
                "migrate": [{"return": {}}, *events(*MIGRATION)],
                "query-migrate": [{"return": answer}],
            },
            role="source",
        )
    )
    position = len(vm.events)
    vm.migrate("tcp:127.0.0.1:1")
    info = vm.wait_migration(Deadline(10), since=position)
    assert info == MigrationInfo("completed", 23, 900, 4, 4096, "")
    assert [(e.name, e.data) for e in sunk] == MIGRATION
    assert list(vm.events) == sunk
    assert {(e.guest, e.host, e.role) for e in sunk} == {("g1", "alpha", "source")}
    assert vm.state is RunState.POSTMIGRATE


def test_an_incoming_vm_runs_after_resume(make_vm: MakeVm) -> None:
    script = {
        **INCOMING,
        "migrate-incoming": [
            {"return": {}},
            *events(
                ("MIGRATION", {"status": "setup"}), ("MIGRATION", {"status": "active"}),
                ("RESUME", {}), ("MIGRATION", {"status": "completed"}),
            ),
        ],
    }  # fmt: skip
    vm = started(make_vm(script, role="destination"))
    vm.migrate_incoming("tcp:127.0.0.1:0")
    vm.wait_event(
        lambda e: e.data.get("status") == "completed", Deadline(10), what="MIGRATION completed"
    )
    assert vm.state is RunState.RUNNING


def test_a_capability_that_this_qemu_does_not_have_is_told_before_it_is_asked_for(
    make_vm: MakeVm,
) -> None:
    vm = started(make_vm())
    vm.words = QemuWords(capabilities=("events", "multifd"))
    with pytest.raises(VmError) as caught:
        vm.migrate("tcp:127.0.0.1:1", capabilities={"mapped-ram": True})
    assert str(caught.value) == (
        "g1 on alpha: this QEMU has no migration capability 'mapped-ram'\n"
        "  hint: it says it knows events, multifd"
    )
    vm.quit(Deadline(10))


def test_the_events_capability_is_set_for_every_migration_beside_the_wanted_ones(
    make_vm: MakeVm,
) -> None:
    refusal = {"error": ["GenericError", "seen"]}
    vm = started(make_vm({"migrate-set-capabilities": [refusal]}))
    with pytest.raises(QmpRefused):
        vm.migrate("tcp:127.0.0.1:1", capabilities={"multifd": True})
    session = vm._session
    assert session is not None
    # qemu.qmp keeps the request in the error that it raised
    with pytest.raises(QmpRefused) as caught:
        vm.migrate("tcp:127.0.0.1:1", capabilities={"multifd": True})
    sent = caught.value.__cause__.sent["arguments"]  # type: ignore[union-attr]
    assert sent == {
        "capabilities": [
            {"capability": "events", "state": True},
            {"capability": "multifd", "state": True},
        ]
    }


def test_the_time_of_an_event_is_qemus_own_on_the_runs_clock(make_vm: MakeVm) -> None:
    before = time.monotonic_ns()
    vm = started(make_vm({"stop": [{"event": ["STOP", {}]}, {"return": {}}]}))
    vm.pause()
    event = vm.wait_event(lambda e: e.name == "STOP", Deadline(5), what="STOP")
    assert before - 2000 <= event.t_ns <= time.monotonic_ns() + 2000
    assert 1000 <= event.err_ns < 5_000_000
    assert vm.state is RunState.PAUSED


def test_an_event_without_a_time_has_an_error_that_says_so(make_vm: MakeVm) -> None:
    script = {"stop": [{"event": ["STOP", {}], "unknown_time": 1}, {"return": {}}]}
    vm = started(make_vm(script))
    vm.pause()
    event = vm.wait_event(lambda e: e.name == "STOP", Deadline(5), what="STOP")
    assert event.err_ns >= 1_000_000_000


def test_a_refusal_carries_qemus_class_and_words(make_vm: MakeVm) -> None:
    vm = started(make_vm({"device_del": [{"error": ["DeviceNotFound", "Device 'x' not found"]}]}))
    with pytest.raises(QmpRefused) as caught:
        vm.execute("device_del", {"id": "x"})
    assert (caught.value.error_class, caught.value.description) == (
        "DeviceNotFound",
        "Device 'x' not found",
    )
    assert str(caught.value) == (
        "g1 on alpha: QEMU refused device_del: Device 'x' not found (DeviceNotFound)"
    )
    assert vm.state is RunState.RUNNING


def test_a_qemu_that_gives_up_at_once_is_quoted(make_vm: MakeVm) -> None:
    words = "qemu-system-x86_64: -device nonsense: 'nonsense' is not a valid device model name"
    vm = make_vm({"start": [{"print": words, "exit": 1}]})
    with pytest.raises(VmExited, match="ended with status 1 while starting") as caught:
        vm.start(Deadline(10))
    assert words in str(caught.value)
    assert vm.exit_status == 1


def test_a_qemu_that_never_listens_ends_in_a_deadline(make_vm: MakeVm) -> None:
    vm = make_vm({"start": [{"pause": 1}]})
    with pytest.raises(DeadlineExceeded, match=r"g1 on alpha: QMP socket: not within 0\.4 s"):
        vm.start(Deadline(0.4))
    assert vm.quit(Deadline(0.2)) == -9


def test_a_qemu_that_dies_in_a_command_ends_the_wait_with_its_last_words(make_vm: MakeVm) -> None:
    script = {"migrate": [{"print": "qemu: boom"}, {"event": ["STOP", {}]}, {"cut": 3}]}
    vm = started(make_vm(script))
    with pytest.raises(VmExited, match="ended with status 3 while migrate") as caught:
        vm.migrate("tcp:127.0.0.1:1")
    assert "qemu: boom" in str(caught.value)
    assert [event.name for event in vm.events] == ["STOP"]  # said before the end: not lost
    with pytest.raises(WrongState, match=r"execute needs it running or paused .* it is exited"):
        vm.execute("query-status")


def test_every_waiter_hears_of_the_end(make_vm: MakeVm) -> None:
    vm = started(make_vm())
    with ThreadPoolExecutor(4) as pool:
        waits = [
            pool.submit(vm.wait_event, lambda e: e.name == "NEVER", Deadline(20), what="NEVER")
            for _ in range(4)
        ]
        vm.kill()
        for wait in waits:
            with pytest.raises(VmExited, match="by signal SIGKILL while waiting for NEVER"):
                wait.result(10)


def test_a_session_that_ends_while_qemu_runs_on_is_told_apart(
    make_vm: MakeVm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.vm.vm._EXIT_WAIT", 0.2)
    vm = started(make_vm({"stop": [{"hangup": 1}, {"pause": 1}]}))
    with pytest.raises(VmError, match="session was lost while stop, but QEMU still runs"):
        vm.pause()
    assert vm.kill() == -9


def test_a_wait_that_runs_out_of_time_names_the_last_event(make_vm: MakeVm) -> None:
    vm = started(make_vm({"stop": [*events(("STOP", {})), {"return": {}}]}))
    vm.pause()
    vm.wait_event(lambda e: e.name == "STOP", Deadline(5), what="STOP")
    with pytest.raises(DeadlineExceeded, match=r"RESUME: not within 0\.1 s; last seen: STOP"):
        vm.wait_event(lambda e: e.name == "RESUME", Deadline(0.1), what="RESUME")


def test_a_command_that_is_not_answered_ends_in_a_deadline(make_vm: MakeVm) -> None:
    vm = started(make_vm({"stop": [{"pause": 1}]}))
    with pytest.raises(DeadlineExceeded, match=r"answer to stop: not within 0\.2 s"):
        vm.execute("stop", timeout=0.2)


def test_quit_kills_a_qemu_that_does_not_listen(
    make_vm: MakeVm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.vm.vm._EXIT_WAIT", 0.2)
    vm = started(make_vm({"quit": [{"pause": 1}]}))
    assert vm.quit(Deadline(1)) == -9


@pytest.mark.parametrize(
    ("script", "work", "message"),
    [
        ({}, lambda vm: vm.migrate_incoming("x"), "needs it incoming; it is running"),
        (INCOMING, lambda vm: vm.migrate("x"), "needs it running or paused; it is incoming"),
        ({}, lambda vm: vm.start(Deadline(1)), "start needs it new; it is running"),
    ],
)
def test_what_the_state_forbids_is_refused_before_qemu_hears_of_it(
    make_vm: MakeVm, script: dict[str, Any], work: Callable[[Vm], object], message: str
) -> None:
    vm = started(make_vm(script))
    with pytest.raises(WrongState, match=message):
        work(vm)


def test_the_end_of_qemu_is_told_with_its_time(make_vm: MakeVm, machine: NamespaceMachine) -> None:
    told = threading.Event()
    vm = started(make_vm(on_exit=lambda _vm: told.set()))
    before = time.monotonic_ns()
    vm.kill()
    assert told.wait(5)
    assert vm.exited_at is not None
    assert before <= vm.exited_at.t_ns <= time.monotonic_ns()
