"""After a reset of the guest its kernel is another one: clock, netdevs and order begin again."""

from __future__ import annotations

import pathlib

from harness.observe import GuestBoot
from harness.verdict import Outcome, judge
from harness.verdict.moments import Known, compare, moments_of
from tests.verdict.story import MASTER, MS, PRIMARY, STANDBY, Story, link, snapshot, step

TRIO = (
    "  netdevs: {end: {g1: {net1: {failover: net_failover, standby: virtio_net, "
    "primary: e1000e}}}}\n"
)
STEPS = "steps: [{reset: {guest: g1}}]\n"


def story(folder: pathlib.Path, *, booted: bool = True) -> Story:
    """A guest whose netdevs had other numbers before it was reset."""
    other = MASTER.model_copy(update={"index": 12})
    late = link(2600, "up", PRIMARY).model_copy(update={"guest_ns": 50 * MS})
    facts = {
        "start": snapshot(0, "start", other, STANDBY.model_copy(update={"index": 13})),
        "renamed": link(900, "changed", other),
        "begin": step(1000, "1 reset", "begin"),
        "reset": GuestBoot(t_ns=1100 * MS, guest="g1"),
        "boot": snapshot(2000, "boot", MASTER, STANDBY),
        "primary": late,
        "done": step(2700, "1 reset", "end", "done"),
        "end": snapshot(3000, "end", MASTER, STANDBY, PRIMARY),
    }
    if not booted:
        del facts["reset"], facts["boot"]
    return Story(folder, TRIO, facts=facts, steps=STEPS)


def test_the_netdevs_at_the_end_follow_from_those_after_the_reset(tmp_path: pathlib.Path) -> None:
    verdict = judge(story(tmp_path).evidence())

    assert verdict.outcome is Outcome.PASSED, verdict.findings


def test_without_the_reset_the_two_witnesses_would_disagree(tmp_path: pathlib.Path) -> None:
    verdict = judge(story(tmp_path, booted=False).evidence())

    assert verdict.outcome is Outcome.CANNOT_TELL


def test_a_clock_that_began_again_does_not_break_the_order_of_events(
    tmp_path: pathlib.Path,
) -> None:
    moments = moments_of(story(tmp_path).facts.values())
    early, late = (one for one in moments if one.process.startswith("kernel of g1"))

    assert not early.broken
    assert not late.broken
    assert late.process == "kernel of g1 after reset 1"
    assert compare(early, late) is Known.BEFORE
