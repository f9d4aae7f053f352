"""Numbered frames between two ends of a wire, sent and counted by the agent."""

from __future__ import annotations

import pytest

from harness.reach.frames import Counted, FrameHead
from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import Sandbox
from harness.reach.wire import AgentRefused

KEY, OTHER = "00112233445566aa", "00112233445566ab"
NEAR, FAR, NOBODY = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"


@pytest.fixture
def wire(machine: NamespaceMachine) -> NamespaceMachine:
    """A machine with the two ends of one wire, ``near`` and ``far``."""
    machine.links.create_veth("near", "far", mac=NEAR, peer_mac=FAR)
    for name in ("near", "far"):
        machine.links.set(name, up=True)
    return machine


def sent(machine: NamespaceMachine, head: FrameHead, *, key: str = KEY, flow: int = 1) -> int:
    return machine.frames.send("near", head, key=key, flow=flow, count=7, interval_s=0)


@pytest.mark.parametrize("vlan", [None, 100])
def test_frames_are_counted_where_they_come_in_by_their_flow(
    wire: NamespaceMachine, vlan: int | None
) -> None:
    count = wire.frames.listen(["near", "far"], key=KEY)
    assert sent(wire, FrameHead(FAR, NEAR, vlan), flow=1) == 7
    assert sent(wire, FrameHead(NOBODY, NEAR, vlan), flow=2) == 7
    assert sent(wire, FrameHead(FAR, NEAR, vlan), key=OTHER, flow=1) == 7
    seven = Counted(7, 7)
    assert count.end(quiet_s=0.2) == {("far", 1): seven, ("far", 2): seven}


def test_copies_are_told_apart_from_frames(wire: NamespaceMachine) -> None:
    count = wire.frames.listen(["far"], key=KEY)
    for _ in range(2):
        sent(wire, FrameHead(FAR, NEAR))
    assert count.end(quiet_s=0.2) == {("far", 1): Counted(7, 14)}


def test_frames_behind_a_bridge_are_seen_at_its_port(wire: NamespaceMachine) -> None:
    wire.links.create_bridge("br")
    wire.links.set("far", master="br")
    wire.links.set("br", up=True)
    count = wire.frames.listen(["far"], key=KEY)
    sent(wire, FrameHead(NOBODY, NEAR))
    assert count.end(quiet_s=0.2) == {("far", 1): Counted(7, 7)}


def test_what_the_kernel_refuses_is_not_sent(wire: NamespaceMachine) -> None:
    wire.links.set("near", up=False)
    assert sent(wire, FrameHead(FAR, NEAR)) == 0


def test_a_netdev_that_is_not_there_is_named(machine: NamespaceMachine, sandbox: Sandbox) -> None:
    with pytest.raises(AgentRefused, match="alpha: frames_listen: No such device"):
        machine.frames.listen(["nothere"], key=KEY)


def test_what_a_netdev_is_in_use_for_is_told(wire: NamespaceMachine) -> None:
    assert wire.links.uses("near") == ()
    wire.links.add_address("near", "10.9.0.1/24")
    wire.links.add_route("default", "10.9.0.2")
    assert wire.links.uses("near") == ("address 10.9.0.1/24", "default route")
    wire.links.create_bridge("br")
    wire.links.set("far", master="br")
    assert wire.links.uses("far") == ("below netdev br",)
