"""The vocabulary of expectations: one class per kind, a field of ``Expect`` each.

To add an expectation: write its class, give ``Expect`` a field, and give
``harness.verdict`` the function that judges it; then a test in which it fails and one in
which it cannot tell. What is not written in a case is shown in the report, never judged.

Neighbours: ``harness.verdict`` judges these; ``check`` follows their references.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from harness.case.events import EventName, parse_chain
from harness.case.steps import Reference
from harness.case.values import BoundText, Part

ABSENT = "absent"

Driver = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", examples=["igbvf", "absent"])]


class PairShape(Part):
    """The netdevs of one failover pair: the driver of each, or ``absent``.

    A netdev that is there has to carry the pair's MAC address and be up, a standby or
    primary has to be enslaved to the failover netdev. A role left out is not judged.
    """

    failover: Driver | None = Field(None, description="the master: `net_failover`, or `absent`")
    standby: Driver | None = Field(None, description="`virtio_net`, or `absent`")
    primary: Driver | None = Field(None, description="`igbvf`, `e1000e`, ..., or `absent`")

    @model_validator(mode="after")
    def _says_something(self) -> PairShape:
        if not self.roles():
            raise ValueError("says nothing: give failover, standby or primary")
        return self

    def roles(self) -> dict[Literal["failover", "standby", "primary"], str]:
        """The roles that are judged, with the driver or ``absent``."""
        given: dict[Literal["failover", "standby", "primary"], str] = {}
        if self.failover is not None:
            given["failover"] = self.failover
        if self.standby is not None:
            given["standby"] = self.standby
        if self.primary is not None:
            given["primary"] = self.primary
        return given


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


class StreamBounds(Part):
    """Bounds on one stream's counts; a metric left out is shown, not judged."""

    lost: BoundText | None = Field(
        None, description="no intact copy within the waiting time (RFC 7680)"
    )
    reordered: BoundText | None = Field(
        None, description="first copies that came after a later packet (RFC 4737)"
    )
    duplicates: BoundText | None = Field(None, description="extra copies (RFC 5560)")

    @model_validator(mode="after")
    def _says_something(self) -> StreamBounds:
        if self.lost is None and self.reordered is None and self.duplicates is None:
            raise ValueError("says nothing: give lost, reordered or duplicates")
        return self


Chain = Annotated[
    tuple[EventName, ...],
    BeforeValidator(parse_chain),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 2},
            ],
            "examples": ["source STOP, destination RESUME"],
        }
    ),
]


class Expect(Part):
    """What has to hold for the case to pass."""

    migration: Literal["completed", "failed", "cancelled"] | None = Field(
        None, description="how every migration of the case ends, by the source's last status"
    )
    netdevs: Netdevs = Netdevs()
    order: tuple[Chain, ...] = Field(
        (),
        description="chains of events: in every migration each event comes before the next; "
        "where one happens several times, all of them do",
    )
    streams: dict[str, StreamBounds] = Field(
        default_factory=dict, description="bounds per stream; `*` holds for every stream"
    )

    def refers(self) -> Iterator[Reference]:
        """Every guest, standby and host that is named, with the path inside ``expect``."""
        for moment, shapes in self.netdevs.moments():
            for guest, pairs in shapes.items():
                yield Reference(("netdevs", moment, guest), "guest", guest)
                for standby in pairs:
                    path = ("netdevs", moment, guest, standby)
                    yield Reference(path, "standby", standby, guest)
        for number, chain in enumerate(self.order):
            for event in chain:
                if event.host:
                    yield Reference(("order", number), "host", event.host)
