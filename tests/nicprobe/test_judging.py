"""What counts mean, and that every one of the verdicts can be had."""

from __future__ import annotations

import pytest

from harness.errors import EXIT_CANNOT_TELL, EXIT_FAILED, EXIT_PASSED
from harness.nicprobe.judge import answer, judge
from harness.nicprobe.model import Answer, Flow, Outcome, Place, State
from harness.nicprobe.text import render
from tests.nicprobe.counts import (
    FENCED,
    NIC,
    SENT,
    UNFENCED,
    WITHOUT_DRIVER,
    Changes,
    at,
    steered,
    walked,
)


def test_a_nic_that_steers_to_the_function_only_while_it_has_a_driver_is_usable() -> None:
    found = judge(walked())
    assert (found.outcome, found.handoff, found.notes) == (Outcome.USABLE, "", ())
    assert "driver gone: of 20 wire to MAC 20 at the PF" in found.reasons[0]


@pytest.mark.parametrize("state", UNFENCED)
def test_frames_lost_in_one_state_without_a_driver_make_a_hand_off_necessary(state: State) -> None:
    found = judge(walked(steered(state)))
    assert (found.outcome, found.handoff) == (Outcome.HANDOFF, "port VLAN")
    assert f"{state}: of 20 wire to MAC none arrived" in found.reasons[0]


def test_where_the_fence_does_not_help_the_address_has_to_be_cleared_and_the_price_is_told() -> (
    None
):
    found = judge(walked(steered(*UNFENCED, *FENCED)))
    assert (found.outcome, found.handoff) == (Outcome.HANDOFF, "MAC address")
    assert "lost between setting the MAC address and the driver's being up" in found.notes[0]


@pytest.mark.parametrize("state", FENCED)
def test_a_fence_that_works_at_one_end_only_is_none(state: State) -> None:
    assert judge(walked(steered(*UNFENCED, state))).handoff == "MAC address"


@pytest.mark.parametrize(
    "changes",
    [
        steered(*UNFENCED, *FENCED, State.CLEARED),
        {(State.DRIVER, Flow.WIRE_TO_MAC): at(Place.PF)},
        {(State.DRIVER, Flow.VF_TO_WIRE): {}},
        {
            (state, Flow.PF_TO_WIRE): {}
            for state in WITHOUT_DRIVER
            if state is not State.NO_MAC
        },
    ],
    ids=["nothing opens it", "the VF gets none", "the VF sends none", "the standby sends none"],
)  # fmt: skip
def test_a_nic_is_not_usable_when_a_way_is_closed_for_good(changes: Changes) -> None:
    assert judge(walked(changes)).outcome is Outcome.NOT_USABLE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({(State.NO_MAC, Flow.WIRE_TO_MAC): {}}, "the control: without a MAC address"),
        ({(State.NO_MAC, Flow.PF_TO_WIRE): {}}, "the control: without a MAC address"),
        ({(State.DRIVER, Flow.WIRE_TO_MAC): None}, "no frames were counted wire to MAC, driver up"),
        ({(State.DRIVER, Flow.WIRE_TO_MAC): at(Place.VF, number=10)}, "10 at the VF"),
        (
            {
                **steered(*UNFENCED, *FENCED),
                (State.CLEARED, Flow.WIRE_TO_MAC): at(Place.PF, number=9),
            },
            "MAC address cleared: of 20 wire to MAC 9 at the PF",
        ),
    ],
    ids=["wire to PF", "PF to wire", "not counted", "half", "half at the end"],
)  # fmt: skip
def test_what_cannot_be_told_is_not_told(changes: Changes, reason: str) -> None:
    found = judge(walked(changes))
    assert found.outcome is Outcome.CANNOT_TELL
    assert reason in "; ".join(found.reasons)


def test_without_a_wire_nothing_can_be_told() -> None:
    wire = (Flow.WIRE_TO_MAC, Flow.PF_TO_WIRE, Flow.VF_TO_WIRE)
    found = judge(walked({(state, flow): None for state in State for flow in wire}))
    assert found.outcome is Outcome.CANNOT_TELL
    assert found.reasons == ("no frames were counted wire to MAC, no MAC address",)


def test_one_frame_of_twenty_may_be_dropped() -> None:
    few = {(state, Flow.WIRE_TO_MAC): at(Place.PF, number=SENT - 1) for state in WITHOUT_DRIVER}
    assert judge(walked(few)).outcome is Outcome.USABLE


def test_copies_are_told_and_do_not_count_twice() -> None:
    both = at(Place.PF, Place.VF)
    found = judge(walked({(State.DRIVER, Flow.WIRE_TO_MAC): both}))
    assert found.outcome is Outcome.USABLE
    assert found.notes == ("the driver is up and the PF gets a copy of what the VF gets",)
    twice = at(Place.PF, number=5, frames=40)
    few = {(state, Flow.WIRE_TO_MAC): twice for state in UNFENCED}
    assert judge(walked(few)).outcome is Outcome.HANDOFF


def test_the_worst_walk_is_the_answer_and_each_has_its_exit_code() -> None:
    lost = walked(steered(*UNFENCED, *FENCED, State.CLEARED))
    unknown = walked().model_copy(update={"problem": "metal: eth1: Operation not supported"})
    shut = walked(steered(*UNFENCED))
    for walks, outcome, code in (
        ((walked(),), Outcome.USABLE, EXIT_PASSED),
        ((walked(), shut), Outcome.HANDOFF, EXIT_PASSED),
        ((walked(), unknown, shut), Outcome.CANNOT_TELL, EXIT_CANNOT_TELL),
        ((unknown, lost, walked()), Outcome.NOT_USABLE, EXIT_FAILED),
        ((), Outcome.CANNOT_TELL, EXIT_CANNOT_TELL),
    ):
        found = answer(NIC, walks)
        assert (found.outcome, found.outcome.exit_code) == (outcome, code)


def test_the_text_shows_verdict_reason_and_every_count() -> None:
    told = answer(NIC, [walked(steered(*UNFENCED))])
    text = render(told)
    assert text.startswith("metal: eth1 (0000:01:00.0, igb), VF 0 (0000:01:10.0, igbvf), MAC 52:54")
    assert "\nverdict: needs a filter hand-off\n" in text
    assert "\n  hand-off: a port VLAN that no frame carries, until the driver is there\n" in text
    (row,) = (line for line in text.splitlines() if line.startswith("  driver gone  "))
    assert row.split() == [
        "driver", "gone", "lost", "20/20", "wire", "20/20", "wire", "20/20"
    ]  # fmt: skip
    assert Answer.model_validate_json(told.model_dump_json()) == told
