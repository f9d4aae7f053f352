"""What was asked of a NIC, what was seen, and what that means. Pure data, JSON by pydantic."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import EXIT_CANNOT_TELL, EXIT_FAILED, EXIT_PASSED


class State(StrEnum):
    """What was done to the VF, in the order of the walk."""

    NO_MAC = "no MAC address"
    MAC_SET = "MAC address set"
    VFIO = "vfio-pci unused"
    FENCED = "vfio-pci fenced"
    DRIVER = "driver up"
    DRIVER_GONE = "driver gone"
    FENCED_AGAIN = "fenced again"
    CLEARED = "MAC address cleared"


class Flow(StrEnum):
    """Which frames: from where to where. MAC is the address that VF and standby share; what
    PF and VF send to the wire has it as its source."""

    WIRE_TO_MAC = "wire to MAC"
    PF_TO_MAC = "PF to MAC"
    PF_TO_WIRE = "PF to wire"
    VF_TO_WIRE = "VF to wire"
    VF_TO_PF = "VF to PF"


class Place(StrEnum):
    """Where a frame was seen to come in."""

    PF = "PF"
    VF = "VF"
    WIRE = "wire"


Standby = Literal["bridge", "filter"]
"""How frames for the MAC address reach the standby. ``bridge``: the PF is the port of a bridge,
and promiscuous; ``filter``: the PF is not, and has the address in its own filter (macvtap)."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arrived(_Part):
    """``numbers``: different frames; ``frames``: all, with copies."""

    numbers: int
    frames: int


class Count(_Part):
    """The frames of one flow in one state."""

    state: State
    flow: Flow
    sent: int
    arrived: dict[Place, Arrived] = Field(default_factory=dict)

    def share(self, place: Place) -> float:
        """The share of what was sent that came in at ``place``; 0 where nothing was sent."""
        there = self.arrived.get(place)
        return there.numbers / self.sent if there and self.sent else 0.0


class Walked(_Part):
    """One walk through the states. ``problem``: why it could not be done, or not to its end."""

    standby: Standby
    vlan: int | None
    counts: tuple[Count, ...] = ()
    problem: str = ""

    @property
    def title(self) -> str:
        how = "in a bridge, promiscuous" if self.standby == "bridge" else "with the MAC address"
        tag = "untagged" if self.vlan is None else f"VLAN {self.vlan}"
        return f"PF {how}; {tag}"

    def count(self, state: State, flow: Flow) -> Count | None:
        return next((one for one in self.counts if (one.state, one.flow) == (state, flow)), None)


class Nic(_Part):
    """What was asked."""

    machine: str
    pf: str
    pci: str
    driver: str
    vf: int
    vf_pci: str
    vf_driver: str
    mac: str
    peer: str = Field(description="where the frames from the wire come from; empty: there are none")


class Outcome(StrEnum):
    """Whether a failover pair can have its primary on this NIC."""

    USABLE = "usable for failover"
    HANDOFF = "needs a filter hand-off"
    NOT_USABLE = "not usable"
    CANNOT_TELL = "cannot tell"

    @property
    def exit_code(self) -> int:
        """A NIC that needs a hand-off can be used: by something that does it."""
        return {
            Outcome.USABLE: EXIT_PASSED,
            Outcome.HANDOFF: EXIT_PASSED,
            Outcome.NOT_USABLE: EXIT_FAILED,
            Outcome.CANNOT_TELL: EXIT_CANNOT_TELL,
        }[self]


class Judged(_Part):
    """What one walk means; ``reasons`` say what was found, with the counts."""

    outcome: Outcome
    handoff: Literal["", "port VLAN", "MAC address"] = ""
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Answer(_Part):
    """The answer to ``harness probe-nic``; ``outcome`` is the worst of the walks'."""

    nic: Nic
    outcome: Outcome
    walks: tuple[Walked, ...]
    judged: tuple[Judged, ...] = Field(description="one for each of the walks")
