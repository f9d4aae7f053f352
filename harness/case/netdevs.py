"""What a case may say of the netdevs of a guest's failover pairs, and when.

Part of the vocabulary of expectations. Neighbours: ``expect`` holds it;
``harness.verdict.netdevs`` judges it.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from harness.case.values import Part

ABSENT = "absent"

Driver = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", examples=["igbvf", "absent"])]

Interface = IPv4Interface | IPv6Interface
Role = Literal["failover", "standby", "primary"]


def _carried(value: object) -> object:
    """``none`` is no address, ``any`` nothing to be judged (None)."""
    if value == "none":
        return ()
    if value == "any":
        return None
    wanted = (
        "the addresses that a netdev may carry are `none`, `any`, or a list of all of them with "
        "their prefix lengths, as in [10.77.0.2/24]"
    )
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(wanted)
    try:
        found = tuple(ip_interface(one) for one in value if isinstance(one, str) and "/" in one)
    except ValueError:
        raise ValueError(wanted) from None
    if len(found) != len(value):
        raise ValueError(wanted)
    return found


Carried = Annotated[
    tuple[Interface, ...] | None,
    BeforeValidator(_carried),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["none", "any"]},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
            "examples": ["none", ["10.77.0.2/24"]],
        }
    ),
]


class PairAddresses(Part):
    """The IP addresses that each netdev of a pair carries: ``none``, ``any``, or all of them.

    Addresses that the kernel gives by itself (IPv6 link-local) count. A role left out is not
    judged, nor is one with ``any``. A netdev that is absent carries none.
    """

    failover: Carried = Field(None, description="the master's: `none`, `any`, or a list")
    standby: Carried = Field(None, description="`none`, `any`, or a list")
    primary: Carried = Field(None, description="`none`, `any`, or a list")

    @model_validator(mode="after")
    def _says_something(self) -> PairAddresses:
        if not self.roles():
            raise ValueError("says nothing: give `none` or a list to failover, standby or primary")
        return self

    def roles(self) -> dict[Role, tuple[Interface, ...]]:
        """The roles that are judged, with exactly the addresses that each is to carry."""
        given: dict[Role, tuple[Interface, ...] | None] = {
            "failover": self.failover,
            "standby": self.standby,
            "primary": self.primary,
        }
        return {role: wanted for role, wanted in given.items() if wanted is not None}


class PairShape(Part):
    """The netdevs of one failover pair: the driver of each, or ``absent``; their addresses.

    A netdev that is there has to carry the pair's MAC address and be up, a standby or
    primary has to be enslaved to the failover netdev. A role left out is not judged.
    """

    failover: Driver | None = Field(None, description="the master: `net_failover`, or `absent`")
    standby: Driver | None = Field(None, description="`virtio_net`, or `absent`")
    primary: Driver | None = Field(None, description="`igbvf`, `e1000e`, ..., or `absent`")
    addresses: PairAddresses | None = Field(
        None, description="which of the three may carry IP addresses"
    )

    @model_validator(mode="after")
    def _says_something(self) -> PairShape:
        if not self.roles() and self.addresses is None:
            raise ValueError("says nothing: give failover, standby, primary or addresses")
        return self

    def roles(self) -> dict[Role, str]:
        """The roles that are judged, with the driver or ``absent``."""
        given: dict[Role, str] = {}
        if self.failover is not None:
            given["failover"] = self.failover
        if self.standby is not None:
            given["standby"] = self.standby
        if self.primary is not None:
            given["primary"] = self.primary
        return given

    def carried(self) -> dict[Role, tuple[Interface, ...]]:
        """The roles whose addresses are judged, with exactly those that each is to carry."""
        return self.addresses.roles() if self.addresses else {}


Shapes = dict[str, dict[str, PairShape]]
"""guest -> standby's id -> what its pair looks like."""


class Netdevs(Part):
    """The guest's netdevs at named moments."""

    start: Shapes = Field(default_factory=dict, description="before the first step")
    precopy: Shapes = Field(
        default_factory=dict,
        description="all the time from the source's `active` to its STOP, in every migration",
    )
    end: Shapes = Field(default_factory=dict, description="after the last step")

    def moments(self) -> Iterator[tuple[Literal["start", "precopy", "end"], Shapes]]:
        yield "start", self.start
        yield "precopy", self.precopy
        yield "end", self.end
