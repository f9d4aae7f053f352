"""A kernel's log as the agent passes it on.

A pipe stands for /dev/kmsg, whose records are lines here: this machine's own log is not read,
and nothing is written to it. (Marks come back to nobody from a pipe.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from harness.reach.deadline import Deadline
from harness.reach.kernellog import KernelLogWatch, LogEntry, LogGap, LogRecord
from harness.reach.local import NamespaceMachine
from harness.reach.wire import AgentRefused


class Told:
    """A sink that can be waited on."""

    def __init__(self) -> None:
        self.all: list[LogEntry] = []
        self._more = threading.Condition()

    def __call__(self, entry: LogEntry) -> None:
        with self._more:
            self.all.append(entry)
            self._more.notify_all()

    def wait(self, enough: Callable[[list[LogEntry]], bool]) -> list[LogEntry]:
        deadline = Deadline(10)
        with self._more:
            while not enough(self.all):
                deadline.raise_if_expired("the log's entries", str(self.all[-3:]))
                self._more.wait(deadline.left)
            return list(self.all)


@pytest.fixture
def pipe(machine: NamespaceMachine) -> str:
    path = f"{machine.scratch}/kmsg"
    machine.run(["mkfifo", path])
    return path


def watch(machine: NamespaceMachine, told: Told, pipe: str) -> KernelLogWatch:
    return KernelLogWatch(machine.call, machine.wire, told, pipe)


def log(machine: NamespaceMachine, pipe: str, text: str) -> None:
    machine.write_file(pipe, text.encode(), append=True)


def test_a_record_is_told_with_its_number_level_and_times(
    machine: NamespaceMachine, pipe: str
) -> None:
    told = Told()
    watch(machine, told, pipe)
    before = time.monotonic_ns()
    log(machine, pipe, "30,7,1234567,-,caller=T1;eth0: up; and ready\n SUBSYSTEM=net\n")
    (entry,) = told.wait(lambda all_: len(all_) == 1)
    assert isinstance(entry, LogRecord)
    assert (entry.seq, entry.level, entry.text) == (7, 6, "eth0: up; and ready")
    assert entry.stamp_us == 1_234_567
    assert entry.empty_ns <= entry.read_ns
    assert before < entry.read_ns < time.monotonic_ns()


def test_records_that_were_overwritten_are_counted(machine: NamespaceMachine, pipe: str) -> None:
    told = Told()
    watch(machine, told, pipe)
    log(machine, pipe, "6,7,1,-;one\n6,12,2,-;two\n")
    entries = told.wait(lambda all_: len(all_) == 3)
    assert entries[1] == LogGap(4, "the kernel overwrote them before they were read")


def test_lines_that_are_no_records_are_passed_over(machine: NamespaceMachine, pipe: str) -> None:
    told = Told()
    watch(machine, told, pipe)
    log(machine, pipe, "nonsense\n6,x,1,-;one\n <7>text\n6,3,1,-;whole\n")
    (entry,) = told.wait(lambda all_: len(all_) == 1)
    assert isinstance(entry, LogRecord)
    assert entry.text == "whole"


def test_nothing_is_told_after_the_end(machine: NamespaceMachine, pipe: str) -> None:
    stopped = Told()
    one = watch(machine, stopped, pipe)
    one.stop()
    going_on = Told()
    watch(machine, going_on, pipe)
    log(machine, pipe, "6,3,1,-;late\n")
    going_on.wait(lambda all_: len(all_) == 1)
    assert stopped.all == []


def test_a_log_that_is_not_there_is_refused_by_name(machine: NamespaceMachine) -> None:
    with pytest.raises(AgentRefused, match="alpha: follow /nowhere: No such file"):
        watch(machine, Told(), "/nowhere")
