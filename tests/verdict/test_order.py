"""Order expectations: ordered, violated, missing, and closer than the errors."""

from __future__ import annotations

import pathlib

import pytest

from harness.observe import Fact
from harness.verdict import Finding, Outcome, judge
from tests.verdict.story import MASTER, PRIMARY, PRIMARY_BACK, Story, host, link, qmp, status, step

CHAIN = (
    "source UNPLUG_PRIMARY",
    "guest primary removed",
    "source active",
    "source STOP",
    "destination RESUME",
    "guest primary enslaved",
)


def order(folder: pathlib.Path, *chain: str, **by_name: Fact | None) -> Finding:
    story = Story(folder, f"  order: [[{', '.join(chain)}]]\n")
    for name, fact in by_name.items():
        if fact is None:
            del story.facts[name]
        else:
            story.facts[name] = fact
    # The record of one process is in its own order.
    story.facts = dict(sorted(story.facts.items(), key=lambda item: item[1].t_ns))
    found = judge(story.evidence()).findings
    return next(one for one in found if one.path == "expect.order[0]")


def test_the_usual_order_of_a_migration_passes(tmp_path: pathlib.Path) -> None:
    found = order(tmp_path, *CHAIN)

    assert found.outcome is Outcome.PASSED
    assert found.reason == (
        "source UNPLUG_PRIMARY +1.002s, guest primary removed +1.201s, source active +1.250s, "
        "source STOP +2.000s, destination RESUME +2.020s, guest primary enslaved +2.510s"
    )


def test_the_reverse_order_fails(tmp_path: pathlib.Path) -> None:
    found = order(tmp_path, *reversed(CHAIN))

    assert found.outcome is Outcome.FAILED
    assert "the other way round: `destination RESUME` at +2.020s, `source STOP` at +2.000s" in (
        found.reason
    )


@pytest.mark.parametrize(
    ("early", "late"),
    [(CHAIN[i], CHAIN[j]) for i in range(len(CHAIN)) for j in range(i + 1, len(CHAIN))],
)
def test_every_pair_of_events_can_be_violated(
    early: str, late: str, tmp_path: pathlib.Path
) -> None:
    assert order(tmp_path, early, late).outcome is Outcome.PASSED
    assert order(tmp_path, late, early).outcome is Outcome.FAILED


def test_an_event_that_never_happened_fails(tmp_path: pathlib.Path) -> None:
    found = order(tmp_path, "source STOP", "guest primary enslaved", enslaved=None)

    assert found.outcome is Outcome.FAILED
    assert found.reason == "`guest primary enslaved` never happened in step 1 migrate"


def test_an_event_that_nobody_could_see_cannot_be_told(tmp_path: pathlib.Path) -> None:
    silent = dict.fromkeys(("released", "removed", "added", "enslaved", "up"))

    assert order(tmp_path, "source STOP", "guest primary enslaved", **silent).outcome is (
        Outcome.CANNOT_TELL
    )
    assert order(tmp_path, "source STOP", "host beta vf-mac-set").reason == (
        "`host beta vf-mac-set`: nothing was recorded of host beta"
    )
    mute = dict.fromkeys(("d setup", "d active", "negotiated", "resume", "d completed"))
    assert order(tmp_path, "source STOP", "destination RESUME", **mute).reason == (
        "`destination RESUME`: no event of the destination's QEMU was recorded"
    )


def test_events_closer_than_their_errors_cannot_be_told(tmp_path: pathlib.Path) -> None:
    gone = PRIMARY.model_copy(update={"driver": None, "master": None})

    found = order(
        tmp_path,
        "guest primary removed",
        "source active",
        removed=link(1249, "removed", gone, err=5),
    )

    assert found.outcome is Outcome.CANNOT_TELL
    assert found.reason == (
        "closer than the errors of their clocks: `guest primary removed` at +1.249s±5.0ms, "
        "`source active` at +1.250s"
    )


def test_events_of_one_qemu_are_ordered_however_large_their_errors(
    tmp_path: pathlib.Path,
) -> None:
    found = order(
        tmp_path,
        "source UNPLUG_PRIMARY",
        "source wait-unplug",
        unplug=qmp(1002.9, "source", "UNPLUG_PRIMARY", err=1),
    )

    assert found.outcome is Outcome.PASSED


def test_every_occurrence_has_to_be_in_order(tmp_path: pathlib.Path) -> None:
    again = link(1300, "removed", PRIMARY)

    found = order(tmp_path, "guest primary removed", "source active", again=again)

    assert found.outcome is Outcome.FAILED
    assert "`guest primary removed` at +1.300s (one of 2)" in found.reason


def test_a_guest_clock_that_ran_backwards_cannot_be_told(tmp_path: pathlib.Path) -> None:
    broken = link(2700, "changed", PRIMARY).model_copy(update={"guest_ns": 1})

    found = order(tmp_path, "guest primary removed", "source active", broken=broken)

    assert found.outcome is Outcome.CANNOT_TELL
    assert "the record of the kernel of g1 contradicts itself" in found.reason


def test_what_happened_before_the_migration_is_not_part_of_it(tmp_path: pathlib.Path) -> None:
    boot = link(500, "enslaved", PRIMARY)

    found = order(tmp_path, "destination RESUME", "guest primary enslaved", boot=boot)

    assert found.outcome is Outcome.PASSED


def test_an_event_that_may_be_before_the_migration_cannot_be_told(
    tmp_path: pathlib.Path,
) -> None:
    story = Story(tmp_path, "  order: [[source setup, guest primary up]]\n")
    facts = {"early": link(999, "up", PRIMARY, err=10), **story.facts}
    story.facts = facts

    found = next(f for f in judge(story.evidence()).findings if f.path == "expect.order[0]")

    assert found.outcome is Outcome.CANNOT_TELL
    assert "may belong to step 1 migrate or not" in found.reason


def test_host_events_and_devices_can_be_named(tmp_path: pathlib.Path) -> None:
    assert (
        order(
            tmp_path, "source UNPLUG_PRIMARY hostdev0", "host alpha vf-mac-cleared", "source active"
        ).outcome
        is Outcome.PASSED
    )
    assert (
        order(tmp_path, "source UNPLUG_PRIMARY hostdev1", "source active").outcome is Outcome.FAILED
    )


BACK = """\
steps:
  - migrate: {guest: g1, to: beta}
  - migrate: {guest: g1, to: alpha}
"""


@pytest.mark.parametrize(
    ("resumes", "outcome"),
    [
        (4020, Outcome.PASSED),
        (3900, Outcome.FAILED),
    ],
)
def test_an_order_has_to_hold_in_every_migration(
    resumes: int, outcome: Outcome, tmp_path: pathlib.Path
) -> None:
    story = Story(tmp_path, "  order: [[source STOP, destination RESUME]]\n", steps=BACK)
    story.facts |= {
        "again": step(3500, "2 migrate", "begin"),
        "stop again": qmp(4000, "source", "STOP"),
        "resume again": qmp(resumes, "destination", "RESUME"),
        "host": host(4100, "beta", "vf-bound"),
        "status": status(4200, "source", "completed"),
    }

    found = next(f for f in judge(story.evidence()).findings if f.path == "expect.order[0]")

    assert found.outcome is outcome


@pytest.mark.parametrize(
    ("early", "late"),
    [
        ("step migrate begin", "source UNPLUG_PRIMARY"),
        ("destination RESUME", "step 1 end"),
        ("step 1 end", "step 2 begin"),
        ("step 2 begin", "guest primary up"),
        ("guest primary up", "step wait end"),
        ("source STOP", "guest primary carrier-on"),
        ("guest primary removed", "guest failover address-added"),
        ("guest failover address-added", "guest failover address-removed"),
        ("guest primary removed", "guest failover changed"),
    ],
)
def test_steps_addresses_and_carrier_have_an_order_too(
    early: str, late: str, tmp_path: pathlib.Path
) -> None:
    addressed = MASTER.model_copy(update={"addresses": ("10.77.0.2/24",)})
    news: dict[str, Fact | None] = {
        "address": link(1300, "changed", addressed),
        "no address": link(2700, "changed", MASTER),
        "up": link(2600, "up", PRIMARY_BACK.model_copy(update={"carrier": True})),
    }

    assert order(tmp_path, early, late, **news).outcome is Outcome.PASSED
    assert order(tmp_path, late, early, **news).outcome is Outcome.FAILED


def test_a_step_that_was_not_reached_cannot_be_told(tmp_path: pathlib.Path) -> None:
    found = order(tmp_path, "source STOP", "step 2 end", **{"wait ends": None})

    assert found.outcome is Outcome.CANNOT_TELL
    assert found.reason == "`step 2 end` was not recorded: it was not reached"


def test_an_address_that_never_came_fails(tmp_path: pathlib.Path) -> None:
    found = order(tmp_path, "source STOP", "guest failover address-added")

    assert found.outcome is Outcome.FAILED


def test_a_numbered_step_is_judged_in_its_own_migration(tmp_path: pathlib.Path) -> None:
    story = Story(tmp_path, "  order: [[step 2 begin, source STOP]]\n", steps=BACK)
    story.facts |= {
        "again": step(3500, "2 migrate", "begin"),
        "stop again": qmp(4000, "source", "STOP"),
    }

    found = next(f for f in judge(story.evidence()).findings if f.path == "expect.order[0]")

    assert (found.outcome, found.reason) == (
        Outcome.PASSED,
        "step 2 begin +3.500s, source STOP +4.000s",
    )
