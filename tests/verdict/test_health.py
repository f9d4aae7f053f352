"""Leaks, complaints of the kernel, steps: that each can pass, fail, and not be told."""

from __future__ import annotations

import pathlib

import pytest

from harness.observe import Fact, Inventory, KernelMessage
from harness.verdict import Finding, Outcome, judge
from tests.verdict.story import MASTER, MS, PRIMARY, STANDBY, Story, snapshot, step


def had(moment: str, **changes: object) -> Inventory:
    given: dict[str, object] = {
        "devices": ("hostdev0", "net1"),
        "netdevs": ("tap-hostdev0", "tap-net1"),
        "objects": 200,
    }
    at = 0 if moment == "start" else 3000
    return Inventory(t_ns=at * MS, guest="g1", moment=moment, **(given | changes))  # type: ignore[arg-type]


def kernel(at: float, text: str, level: int = 6) -> KernelMessage:
    return KernelMessage(
        t_ns=int(at * MS), guest="g1", level=level, text=text, seq=int(at), stamp_us=0
    )


def found(folder: pathlib.Path, expect: str, path: str, **facts: Fact | None) -> Finding:
    story = Story(folder, expect)
    for name, fact in facts.items():
        if fact is None:
            del story.facts[name.replace("_", " ")]
        else:
            story.facts[name] = fact
    return next(one for one in judge(story.evidence()).findings if one.path == path)


LEAKS = "  leaks: {g1: none}\n"
QUIET = "  kernel: {g1: quiet}\n"


def test_what_is_there_at_the_start_and_at_the_end_is_no_leak(tmp_path: pathlib.Path) -> None:
    told = found(tmp_path, LEAKS, "expect.leaks.g1", one=had("start"), other=had("end"))

    assert told.outcome is Outcome.PASSED
    assert "2 devices, 2 netdevs and 200 objects of QEMU, 3 netdevs in the guest" in told.reason


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"devices": ("hostdev0", "net1", "x")}, "1 more device x"),
        ({"devices": ("net1",)}, "device hostdev0 is missing"),
        ({"netdevs": ("tap-hostdev0", "tap-net1", "old")}, "1 more netdev of QEMU old"),
        ({"objects": 203}, "QEMU has 203 objects, and had 200"),
    ],
)
def test_what_qemu_has_more_of_or_lacks_fails(
    changes: dict[str, object], why: str, tmp_path: pathlib.Path
) -> None:
    end = had("end", **changes)

    told = found(tmp_path, LEAKS, "expect.leaks.g1", one=had("start"), other=end)

    assert told.outcome is Outcome.FAILED
    assert why in told.reason


def test_a_netdev_that_the_guest_has_twice_fails(tmp_path: pathlib.Path) -> None:
    twice = snapshot(3000, "end", MASTER, STANDBY, PRIMARY, PRIMARY.model_copy(update={"index": 9}))

    told = found(tmp_path, LEAKS, "expect.leaks.g1", one=had("start"), other=had("end"), end=twice)

    assert told.outcome is Outcome.FAILED
    assert "1 more netdev in the guest e1000e" in told.reason


def test_without_both_inventories_a_leak_cannot_be_told(tmp_path: pathlib.Path) -> None:
    told = found(tmp_path, LEAKS, "expect.leaks.g1", one=had("start"))

    assert told.outcome is Outcome.CANNOT_TELL


def test_a_kernel_that_says_nothing_bad_is_quiet(tmp_path: pathlib.Path) -> None:
    told = found(tmp_path, QUIET, "expect.kernel.g1", one=kernel(5, "eth2: Link is Up"))

    assert told.outcome is Outcome.PASSED
    assert "1 messages" in told.reason


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("WARNING: CPU: 0 PID: 1 at net/core/dev.c:10 dev_close", 4),
        ("BUG: kernel NULL pointer dereference", 1),
        ("INFO: task kworker/0:1 blocked for more than 120 seconds.", 3),
        ("unregister_netdevice: waiting for eth0 to become free. Usage count = 1", 0),
        ("something went very wrong", 2),
    ],
)
def test_a_complaint_of_the_kernel_fails(text: str, level: int, tmp_path: pathlib.Path) -> None:
    told = found(tmp_path, QUIET, "expect.kernel.g1", one=kernel(5, text, level))

    assert told.outcome is Outcome.FAILED
    assert text in told.reason


def test_a_kernel_that_reboots_says_so_and_complains_of_nothing(tmp_path: pathlib.Path) -> None:
    restart = kernel(5, "reboot: Restarting system", 0)

    assert found(tmp_path, QUIET, "expect.kernel.g1", one=restart).outcome is Outcome.PASSED


def test_a_complaint_from_before_the_start_is_not_the_cases(tmp_path: pathlib.Path) -> None:
    told = found(tmp_path, QUIET, "expect.kernel.g1", one=kernel(-5, "WARNING: at boot", 4))

    assert told.outcome is Outcome.PASSED


def test_a_kernel_that_nobody_listened_to_cannot_be_told(tmp_path: pathlib.Path) -> None:
    told = found(tmp_path, QUIET, "expect.kernel.g1")

    assert told.outcome is Outcome.CANNOT_TELL


def test_steps_that_all_work_are_an_expectation_that_can_fail(tmp_path: pathlib.Path) -> None:
    expect, path = "  steps: work\n", "expect.steps"

    assert found(tmp_path, expect, path).outcome is Outcome.PASSED
    failed = {"wait ends": step(2610, "2 wait", "end", "failed")}
    assert found(tmp_path, expect, path, **failed).outcome is Outcome.FAILED
    told = found(tmp_path, expect, path, wait_begins=None, wait_ends=None)
    assert told.outcome is Outcome.CANNOT_TELL
