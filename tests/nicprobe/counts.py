"""Counts made by hand: a NIC that does what a table says."""

from __future__ import annotations

from collections.abc import Mapping

from harness.nicprobe.model import Arrived, Count, Flow, Nic, Place, State, Walked

SENT = 20
NIC = Nic(
    machine="metal", pf="eth1", pci="0000:01:00.0", driver="igb", vf=0, vf_pci="0000:01:10.0",
    vf_driver="igbvf", mac="52:54:00:00:00:01", peer="other:eth7",
)  # fmt: skip
WITHOUT_DRIVER = tuple(state for state in State if state is not State.DRIVER)
FENCED = (State.FENCED, State.FENCED_AGAIN)
UNFENCED = (State.MAC_SET, State.VFIO, State.DRIVER_GONE)


def at(*places: Place, number: int = SENT, frames: int | None = None) -> dict[Place, Arrived]:
    return {place: Arrived(numbers=number, frames=frames or number) for place in places}


Changes = Mapping[tuple[State, Flow], dict[Place, Arrived] | None]


def steered(*states: State) -> Changes:
    """In these states frames from the wire go to a VF that nobody serves, and are lost."""
    return {(state, Flow.WIRE_TO_MAC): {} for state in states}


def walked(changes: Changes | None = None) -> Walked:
    """A NIC that asks for nothing, with ``changes``; None: that flow was not sent."""
    places: dict[tuple[State, Flow], dict[Place, Arrived] | None] = {}
    for state in State:
        up = state is State.DRIVER
        places[state, Flow.WIRE_TO_MAC] = at(Place.VF if up else Place.PF)
        places[state, Flow.PF_TO_WIRE] = at(Place.WIRE)
        places[state, Flow.PF_TO_MAC] = at(Place.VF if up else Place.WIRE)
        if up:
            places[state, Flow.VF_TO_WIRE] = at(Place.WIRE)
            places[state, Flow.VF_TO_PF] = at(Place.PF)
    places |= changes or {}
    return Walked(
        standby="bridge",
        vlan=None,
        counts=tuple(
            Count(state=state, flow=flow, sent=SENT, arrived=arrived)
            for (state, flow), arrived in places.items()
            if arrived is not None
        ),
    )
