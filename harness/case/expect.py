"""The vocabulary of expectations: one class per kind, a field of ``Expect`` each.

To add an expectation: write its class, give ``Expect`` a field, and give
``harness.verdict`` the function that judges it; then a test in which it fails and one in
which it cannot tell. What is not written in a case is shown in the report, never judged.

Neighbours: ``netdevs`` has what may be said of a guest's netdevs; ``harness.verdict`` judges
all of it; ``check`` follows the references.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from harness.case.events import EventName, parse_chain
from harness.case.netdevs import Netdevs
from harness.case.pathbound import PathShare, PathText
from harness.case.phases import GLOSSARY, PHASES
from harness.case.references import Reference
from harness.case.states import States
from harness.case.statuses import End
from harness.case.values import Bound, BoundText, CountText, Part, TimeBound, TimeBoundText


class PhaseCounts(Part):
    """Bounds on a count: over the whole run (``total``) and by phase.

    A phase holds what was *sent* in it, over all migrations of the case.
    """

    total: BoundText | None = Field(None, description="over the whole run")
    before: BoundText | None = Field(None, description=GLOSSARY["before"])
    unplug: BoundText | None = Field(None, description=GLOSSARY["unplug"])
    precopy: BoundText | None = Field(None, description=GLOSSARY["precopy"])
    stop_and_copy: BoundText | None = Field(
        None, alias="stop-and-copy", description=GLOSSARY["stop-and-copy"]
    )
    return_: BoundText | None = Field(None, alias="return", description=GLOSSARY["return"])
    after: BoundText | None = Field(None, description=GLOSSARY["after"])

    @model_validator(mode="after")
    def _says_something(self) -> PhaseCounts:
        return _some(self)


class PhaseTimes(Part):
    """Bounds on a length of time: over the whole run (``total``) and by phase."""

    total: TimeBoundText | None = Field(None, description="over the whole run")
    before: TimeBoundText | None = Field(None, description=GLOSSARY["before"])
    unplug: TimeBoundText | None = Field(None, description=GLOSSARY["unplug"])
    precopy: TimeBoundText | None = Field(None, description=GLOSSARY["precopy"])
    stop_and_copy: TimeBoundText | None = Field(
        None, alias="stop-and-copy", description=GLOSSARY["stop-and-copy"]
    )
    return_: TimeBoundText | None = Field(None, alias="return", description=GLOSSARY["return"])
    after: TimeBoundText | None = Field(None, description=GLOSSARY["after"])

    @model_validator(mode="after")
    def _says_something(self) -> PhaseTimes:
        return _some(self)


class DelayBounds(PhaseTimes):
    """Bounds on the delay variation: ``total`` is its 99.9th percentile, ``max`` the largest.

    In a phase, the largest of the packets sent in it.
    """

    max: TimeBoundText | None = Field(None, description="the largest of the whole run")


class PhasePaths(Part):
    """The path of the packets received: over the whole run (``total``) and by phase."""

    total: PathText | None = Field(None, description="over the whole run")
    before: PathText | None = Field(None, description=GLOSSARY["before"])
    unplug: PathText | None = Field(None, description=GLOSSARY["unplug"])
    precopy: PathText | None = Field(None, description=GLOSSARY["precopy"])
    stop_and_copy: PathText | None = Field(
        None, alias="stop-and-copy", description=GLOSSARY["stop-and-copy"]
    )
    return_: PathText | None = Field(None, alias="return", description=GLOSSARY["return"])
    after: PathText | None = Field(None, description=GLOSSARY["after"])

    @model_validator(mode="after")
    def _says_something(self) -> PhasePaths:
        return _some(self)


TCP_METRICS = ("intact", "stall", "stalls", "retransmitted")
"""Those that only a TCP stream has; the others only a stream of numbered packets."""


P = TypeVar("P", bound=Part)


def _some(part: P) -> P:
    if all(getattr(part, name) is None for name in type(part).model_fields):
        raise ValueError("says nothing: give `total` or a phase: " + ", ".join(PHASES))
    return part


class StreamBounds(Part):
    """Bounds on one stream; a metric left out is shown, not judged.

    Each is one bound for the whole run, or a mapping with ``total`` and phases.
    """

    lost: BoundText | PhaseCounts | None = Field(
        None, description="no intact copy within the waiting time (RFC 7680)"
    )
    reordered: BoundText | PhaseCounts | None = Field(
        None, description="first copies that came after a later packet (RFC 4737)"
    )
    duplicates: BoundText | PhaseCounts | None = Field(None, description="extra copies (RFC 5560)")
    interruption: TimeBoundText | PhaseTimes | None = Field(
        None,
        description="the longest time without an arrival, less one period (RFC 6412)",
    )
    delay_variation: TimeBoundText | DelayBounds | None = Field(
        None,
        description="delay above the smallest delay (PDV, RFC 5481): its 99.9th percentile",
    )
    path: PathText | PhasePaths | None = Field(
        None,
        description="which netdev of the failover pair the packets received went through: "
        "`primary` or `standby`, all of them or a share",
    )
    intact: Literal[True] | None = Field(
        None, description="TCP: all that was sent came, in its place, to its end"
    )
    stall: TimeBoundText | PhaseTimes | None = Field(
        None,
        description="TCP: the longest time without progress at the receiver while the sender "
        "had something to send",
    )
    stalls: CountText | None = Field(None, description="TCP: how many stalls above 100 ms")
    retransmitted: CountText | None = Field(
        None, description="TCP: segments that the sender's kernel sent again"
    )

    @model_validator(mode="after")
    def _says_something(self) -> StreamBounds:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError("says nothing: give " + ", ".join(type(self).model_fields))
        return self

    def bounds(self) -> Iterator[StreamBound]:
        """Every single bound, in the order of the vocabulary."""
        for metric in type(self).model_fields:
            given = getattr(self, metric) if metric not in (*TCP_METRICS, "path") else None
            if isinstance(given, Bound | TimeBound):
                yield StreamBound(metric, "total", given, (metric,))
            elif given is not None:
                for name, info in type(given).model_fields.items():
                    scope = info.alias or name
                    if (bound := getattr(given, name)) is not None:
                        yield StreamBound(metric, scope, bound, (metric, scope))

    def path_bounds(self) -> Iterator[PathBound]:
        """Every single path, the whole run first."""
        if isinstance(self.path, PathShare):
            yield PathBound("total", self.path, ("path",))
        elif self.path is not None:
            for name, info in PhasePaths.model_fields.items():
                scope = info.alias or name
                if (taken := getattr(self.path, name)) is not None:
                    yield PathBound(scope, taken, ("path", scope))

    def tcp_bounds(self) -> Iterator[TcpBound]:
        """Every single bound on a TCP stream, in the order of the vocabulary."""
        if self.intact is not None:
            yield TcpBound("intact", "total", None, ("intact",))
        if isinstance(self.stall, TimeBound):
            yield TcpBound("stall", "total", self.stall, ("stall",))
        elif self.stall is not None:
            for name, info in PhaseTimes.model_fields.items():
                scope = info.alias or name
                if (bound := getattr(self.stall, name)) is not None:
                    yield TcpBound("stall", scope, bound, ("stall", scope))
        if self.stalls is not None:
            yield TcpBound("stalls", "total", self.stalls, ("stalls",))
        if self.retransmitted is not None:
            yield TcpBound("retransmitted", "total", self.retransmitted, ("retransmitted",))


@dataclass(frozen=True, slots=True)
class StreamBound:
    """One bound on a stream. ``scope`` is ``total``, ``max`` or the name of a phase;
    ``path`` leads to it from the stream's bounds."""

    metric: str
    scope: str
    bound: Bound | TimeBound
    path: tuple[str, ...]

    def __str__(self) -> str:
        where = {"total": "", "max": " (largest)"}.get(self.scope, f" in {self.scope}")
        if self.metric == "delay_variation" and self.scope == "total":
            where = " (99.9th percentile)"
        return f"{self.metric}{where} {self.bound}"


@dataclass(frozen=True, slots=True)
class PathBound:
    """The path that packets are to take; ``scope`` and ``path`` as of StreamBound."""

    scope: str
    taken: PathShare
    path: tuple[str, ...]

    metric: Literal["path"] = "path"

    def __str__(self) -> str:
        return f"path{'' if self.scope == 'total' else f' in {self.scope}'} {self.taken}"


@dataclass(frozen=True, slots=True)
class TcpBound:
    """One bound on a TCP stream. ``bound`` is None for ``intact``; else as StreamBound."""

    metric: Literal["intact", "stall", "stalls", "retransmitted"]
    scope: str
    bound: Bound | TimeBound | None
    path: tuple[str, ...]

    def __str__(self) -> str:
        if self.bound is None:
            return self.metric
        return f"{self.metric}{'' if self.scope == 'total' else f' in {self.scope}'} {self.bound}"


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

    migration: End | tuple[End, ...] | None = Field(
        None,
        description="how the migrations of the case end, by the source's last status: one word for "
        "all, or a list with one for each `migrate` step that is not to be refused",
    )
    states: tuple[States, ...] = Field(
        (),
        description="the statuses of the migrations, all of them and in their order; an item for "
        "each `migrate` step that is not to be refused",
    )
    steps: Literal["work"] | None = Field(
        None,
        description="every step comes to its wanted end; for a case whose steps say it all "
        "(a step that does not is a finding in any case)",
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

    leaks: dict[str, Literal["none"]] = Field(
        default_factory=dict,
        description="guest: at the end its QEMU has the devices, netdevs and number of objects "
        "that it had at the start, and the guest has the netdevs",
    )
    kernel: dict[str, Literal["quiet"]] = Field(
        default_factory=dict,
        description="guest: its kernel complains of nothing (WARNING, BUG, a hung task, ...)",
    )

    def refers(self) -> Iterator[Reference]:
        """Every guest, standby and host that is named, with the path inside ``expect``."""
        for key, guests in (("leaks", self.leaks), ("kernel", self.kernel)):
            for guest in guests:
                yield Reference((key, guest), "guest", guest)
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
