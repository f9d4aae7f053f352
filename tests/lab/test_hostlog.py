"""A host's kernel log as facts; a pipe stands for /dev/kmsg."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.lab.hostlog import HostLog
from harness.observe import FactLog, KernelMessage, Note
from harness.observe.record import now_ns
from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import Sandbox


@pytest.fixture
def machine() -> Iterator[NamespaceMachine]:
    with (
        Sandbox("test") as sandbox,
        NamespaceMachine(sandbox, sandbox.namespace("alpha")) as made,
    ):
        yield made


def test_each_message_is_a_fact_within_the_time_it_was_logged_in(
    machine: NamespaceMachine,
) -> None:
    path = f"{machine.scratch}/kmsg"
    machine.run(["mkfifo", path])
    facts = FactLog(None)
    log = HostLog("alpha", machine, facts.add)
    before = now_ns()
    log.begin(path)
    machine.write_file(path, b"3,7,5000,-;vfio-pci: one\n6,9,5001,-;two\n", append=True)
    # The gap between the two is told at once; messages wait for a mark, or for the end.
    assert facts.wait(lambda fact: isinstance(fact, Note), timeout=10)
    log.end()

    found = [fact for fact in facts.facts if isinstance(fact, KernelMessage)]
    assert [(one.host, one.guest, one.level, one.seq, one.text) for one in found] == [
        ("alpha", "", 3, 7, "vfio-pci: one"),
        ("alpha", "", 6, 9, "two"),
    ]
    assert all(before <= one.t_ns - one.err_ns for one in found)
    assert all(one.t_ns + one.err_ns <= now_ns() for one in found)


def test_a_log_that_cannot_be_read_is_noted_and_does_not_end_the_run(
    machine: NamespaceMachine,
) -> None:
    facts = FactLog(None)
    log = HostLog("alpha", machine, facts.add)

    log.begin("/nowhere")
    log.end()

    assert [fact.text for fact in facts.facts if isinstance(fact, Note)] == [
        "alpha: follow /nowhere: No such file or directory"
    ]
