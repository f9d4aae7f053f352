"""A command of the harness that has to wait for another lab on the same machine."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator

import pytest

from harness.lab.claims import Claim, Claims, default_directory
from harness.plan.model import Needs
from harness.reach.deadline import Deadline
from tests.cli.places import Place
from tests.end_to_end.runs import FLAT, running, says, wait_for

pytestmark = pytest.mark.lab

HERE = Claims(default_directory(), Needs(1e6, 1 << 60))


def take() -> Claim:
    """Half a CPU for a lab of this process."""
    return HERE.take(
        "other",
        Needs(0.5, 1 << 20),
        deadline=Deadline(10),
        cancel=threading.Event(),
        say=lambda _: None,
    )


@pytest.fixture
def other() -> Iterator[Claim]:
    claim = take()
    yield claim
    claim.release()


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which one flat lab fits."""
    monkeypatch.setenv("HARNESS_CPUS", "0.5")


def waiting(child: subprocess.Popen[str]) -> str:
    """The line in which a command says what it waits for."""
    assert child.stderr is not None
    return next(line for line in child.stderr if " waits for " in line)


def claimed_by(pid: int) -> list[str]:
    """The labs of a process that have claims."""
    return [one.lab for one in HERE.taken() if one.pid == pid]


@pytest.mark.usefixtures("other")
def test_ctrl_c_ends_a_wait_with_nothing_made_and_no_claim_left(here: Place) -> None:
    with running(here, "up", FLAT, "--foreground", "--run-dir", here.folder / "run") as child:
        assert f"lab other of process {os.getpid()} has 0.5 CPU and 1 MiB" in waiting(child)
        assert claimed_by(child.pid) == ["flat-pair"]
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=30)
        assert child.returncode == 130, told
    assert "lab flat-pair: interrupted" in told
    assert "sandbox" not in told
    assert claimed_by(child.pid) == []


@pytest.mark.usefixtures("other")
def test_a_lab_that_waits_is_listed_and_can_be_told_to_go_down(here: Place) -> None:
    with running(here, "up", FLAT, "--foreground") as child:
        waiting(child)
        assert "flat-pair: going up for " in here.harness("status").stdout
        assert here.harness("down").returncode == 0
        _, told = child.communicate(timeout=30)
        assert child.returncode == 130, told
    assert "lab flat-pair: interrupted while it was waiting; it waits for 0.5 CPU" in told
    assert claimed_by(child.pid) == []


def test_a_lab_goes_up_when_the_one_before_it_has_gone_down(here: Place) -> None:
    other = take()
    with running(here, "up", FLAT, "--foreground", "--run-dir", here.folder / "run") as child:
        try:
            waiting(child)
        finally:
            other.release()
        wait_for("a guest", says(here.folder / "run" / "facts.jsonl", "qemu-started"))
        assert claimed_by(child.pid) == ["flat-pair"]
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    assert claimed_by(child.pid) == []
