"""The walker keeps the order, overlaps what it can, and stops at the first failure."""

import signal
import threading

import pytest

from harness.errors import LabError, ReachError
from harness.lab.walk import walk
from harness.plan.model import Step


def test_a_step_starts_only_after_all_its_needs() -> None:
    order: list[str] = []
    lock = threading.Lock()

    def do(step: Step) -> None:
        with lock:
            order.append(step.id)

    walk(
        [Step("c", ("a", "b")), Step("b", ("a",)), Step("a"), Step("d", ("c",))],
        do,
        cancel=threading.Event(),
    )
    assert order == ["a", "b", "c", "d"]


def test_independent_steps_run_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=10)  # breaks unless both steps are inside at once
    walk([Step("a"), Step("b")], lambda _: both.wait() and None, cancel=threading.Event())
    assert not both.broken


def test_after_a_failure_no_further_step_starts_and_the_error_is_the_first() -> None:
    started: list[str] = []

    def do(step: Step) -> None:
        started.append(step.id)
        if step.id == "a":
            raise ReachError("alpha: no answer")

    with pytest.raises(ReachError, match="alpha: no answer"):
        walk([Step("a"), Step("b", ("a",))], do, cancel=threading.Event())
    assert started == ["a"]


def test_all_failures_are_named() -> None:
    both = threading.Barrier(2, timeout=10)

    def do(step: Step) -> None:
        both.wait()
        raise ReachError(f"{step.id} broke")

    with pytest.raises(ReachError) as raised:
        walk([Step("a"), Step("b")], do, cancel=threading.Event())
    text = str(raised.value)
    assert "a broke" in text
    assert "b broke" in text


def test_a_cancelled_walk_starts_nothing_new() -> None:
    cancel = threading.Event()
    started: list[str] = []

    def do(step: Step) -> None:
        started.append(step.id)
        cancel.set()

    walk([Step("a"), Step("b", ("a",))], do, cancel=cancel)
    assert started == ["a"]


def test_steps_that_wait_for_each_other_are_named() -> None:
    with pytest.raises(LabError, match="wait for each other: a, b"):
        walk([Step("a", ("b",)), Step("b", ("a",))], lambda _: None, cancel=threading.Event())


def test_on_ctrl_c_the_steps_under_way_are_told_to_end_before_they_are_awaited() -> None:
    gone = threading.Event()
    ended: list[bool] = []

    def do(_step: Step) -> None:
        gone.wait(0.3)  # until the main thread waits for steps; it may be starting this one yet
        signal.raise_signal(signal.SIGINT)  # reaches the main thread
        ended.append(gone.wait(30))

    with pytest.raises(KeyboardInterrupt):
        walk([Step("a")], do, cancel=threading.Event(), abandon=gone.set)
    assert ended == [True]
