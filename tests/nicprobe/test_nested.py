"""The emulated 82576 of a host VM, asked without a guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import EXIT_PASSED
from harness.nicprobe.model import Answer, Flow, Outcome, Place, State, Walked

pytestmark = pytest.mark.nested

TOPOLOGY = Path(__file__).parents[2] / "topologies" / "nested-vfio.yaml"


def share(walked: Walked, state: State, flow: Flow, place: Place) -> float:
    count = walked.count(state, flow)
    assert count is not None
    return count.share(place)


def test_the_emulated_82576_needs_a_hand_off_and_the_fence_is_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = ["probe-nic", "--topology", str(TOPOLOGY), "--host", "alpha", "--nic", "pf", "--json"]
    assert main(argv) == EXIT_PASSED
    told = Answer.model_validate_json(capsys.readouterr().out)

    assert (told.outcome, told.nic.driver, told.nic.vf_driver) == (Outcome.HANDOFF, "igb", "igbvf")
    untagged, tagged = (one for one in told.walks if one.standby == "bridge")
    for walked in (untagged, tagged):
        for state in (State.NO_MAC, State.FENCED, State.FENCED_AGAIN, State.CLEARED):
            assert share(walked, state, Flow.WIRE_TO_MAC, Place.PF) >= 0.9, state
        for state in (State.MAC_SET, State.VFIO, State.DRIVER_GONE):
            assert share(walked, state, Flow.WIRE_TO_MAC, Place.PF) <= 0.1, state
        assert share(walked, State.DRIVER, Flow.WIRE_TO_MAC, Place.VF) >= 0.9
        assert share(walked, State.DRIVER, Flow.VF_TO_WIRE, Place.WIRE) >= 0.9
    for walked, judged in zip(told.walks, told.judged, strict=True):
        if walked.standby == "bridge":
            assert (judged.outcome, judged.handoff) == (Outcome.HANDOFF, "port VLAN")
