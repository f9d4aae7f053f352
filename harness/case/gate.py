"""The vocabulary of a gate: what two builds are compared by, with a margin each.

A margin is how much more still counts as no worse, in the unit of what it is a margin of. What
has none here is shown by a gate and not judged.

Neighbours: ``check_gate`` follows the references; ``harness.compare`` takes the values out of
runs and compares them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from harness.case.values import Duration, Part

if TYPE_CHECKING:
    from harness.case.model import Stream  # which has a Gate

Unit = Literal["packets", "segments", "stalls", "ms"]

EVERY = "*"
OF_TCP = ("stall", "stalls", "retransmitted")
CHARGED = ("lost", "interruption", "interruption_by_loss", "impaired")
"""Those that a loss makes larger: nothing that only ICMP saw is charged to the network."""

P = TypeVar("P", bound=Part)

_COUNT = re.compile(r"(\d+)\s*([a-z]+)")


def _count_of(noun: str) -> Callable[[object], int]:
    def parse(value: object) -> int:
        match = _COUNT.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None or match[2] not in (noun, noun.removesuffix("s")):
            raise ValueError(f"a margin of this is a count with its unit: 5 {noun}")
        return int(match[1])

    return parse


def _schema_of(noun: str) -> WithJsonSchema:
    pattern = rf"^\s*\d+\s*{noun}?\s*$"
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [f"5 {noun}"]})


Packets = Annotated[int, BeforeValidator(_count_of("packets")), _schema_of("packets")]
Segments = Annotated[int, BeforeValidator(_count_of("segments")), _schema_of("segments")]
Stalls = Annotated[int, BeforeValidator(_count_of("stalls")), _schema_of("stalls")]


class StreamMargins(Part):
    """Margins of one stream; the words are those of ``expect.streams``, over the whole run."""

    lost: Packets | None = Field(
        None, description="no intact copy within the waiting time (RFC 7680)"
    )
    reordered: Packets | None = Field(
        None, description="first copies that came after a later packet (RFC 4737)"
    )
    duplicates: Packets | None = Field(None, description="extra copies (RFC 5560)")
    interruption: Duration | None = Field(
        None, description="the longest time without an arrival, less one period (RFC 6412)"
    )
    interruption_by_loss: Duration | None = Field(
        None, description="packets lost over the rate (RFC 6201)"
    )
    impaired: Duration | None = Field(
        None, description="from the first packet lost, reordered or duplicated to the last"
    )
    delay_variation: Duration | None = Field(
        None, description="99.9th percentile of the delay above the smallest (PDV, RFC 5481)"
    )
    stall: Duration | None = Field(
        None, description="TCP: the longest time without progress at the receiver"
    )
    stalls: Stalls | None = Field(None, description="TCP: how many stalls above 100 ms")
    retransmitted: Segments | None = Field(
        None, description="TCP: segments that the sender's kernel sent again"
    )

    @model_validator(mode="after")
    def _says_something(self) -> StreamMargins:
        return _some(self)


class MigrationMargins(Part):
    """Margins of the migration; of several in a case, the largest figure counts."""

    downtime: Duration | None = Field(None, description="QEMU's own `downtime`")
    total_time: Duration | None = Field(None, description="QEMU's own `total-time`")
    primary_back: Duration | None = Field(
        None, description="from RESUME until the primary is operationally up in the guest"
    )

    @model_validator(mode="after")
    def _says_something(self) -> MigrationMargins:
        return _some(self)


def _some(part: P) -> P:
    if all(getattr(part, name) is None for name in type(part).model_fields):
        raise ValueError("says nothing: give a margin of " + ", ".join(type(part).model_fields))
    return part


class Gate(Part):
    """What two builds are compared by: the endpoints, declared before anything is run."""

    streams: dict[str, StreamMargins] = Field(
        default_factory=dict, description="margins per stream; `*` holds for every stream"
    )
    migration: MigrationMargins | None = Field(None, description="margins of the migration")

    @model_validator(mode="after")
    def _says_something(self) -> Gate:
        if not self.streams and self.migration is None:
            raise ValueError("says nothing: give `streams` or `migration`")
        return self


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One figure of a run that two builds are compared by; more of it is worse.

    ``margin`` is in ``unit``. ``subject`` is a stream or ``migration``.
    """

    subject: str
    metric: str
    unit: Unit
    margin: float

    @property
    def name(self) -> str:
        """``inbound.lost``."""
        return f"{self.subject}.{self.metric}"


UNITS: Mapping[str, Unit] = {
    "lost": "packets",
    "reordered": "packets",
    "duplicates": "packets",
    "stalls": "stalls",
    "retransmitted": "segments",
}
"""Of what is counted; everything else is a length of time, in ms."""


def fits(metric: str, stream: Stream) -> bool:
    """Whether a stream of that protocol has the figure, and it may be charged to the network."""
    if stream.protocol == "icmp-echo" and metric in CHARGED:
        return False
    return (metric in OF_TCP) == (stream.protocol == "tcp")


def declared_endpoints(gate: Gate, traffic: Mapping[str, Stream]) -> tuple[Endpoint, ...]:
    """The declared endpoints, each once; a stream's own margin goes before that of ``*``."""
    found: dict[str, Endpoint] = {}
    for one in (*_of_streams(gate, traffic), *_of_migration(gate)):
        found.setdefault(one.name, one)
    return tuple(found.values())


def _of_streams(gate: Gate, traffic: Mapping[str, Stream]) -> Iterator[Endpoint]:
    for name, stream in traffic.items():
        for margins in (gate.streams.get(name), gate.streams.get(EVERY)):
            for metric in StreamMargins.model_fields if margins else ():
                margin = getattr(margins, metric)
                if margin is not None and fits(metric, stream):
                    yield _endpoint(name, metric, margin)


def _of_migration(gate: Gate) -> Iterator[Endpoint]:
    for metric in MigrationMargins.model_fields if gate.migration else ():
        if (margin := getattr(gate.migration, metric)) is not None:
            yield _endpoint("migration", metric, margin)


def _endpoint(subject: str, metric: str, margin: float) -> Endpoint:
    unit = UNITS.get(metric, "ms")
    # Rounded to a nanosecond: 0.1 s times 1000 is to be 100 ms.
    return Endpoint(subject, metric, unit, round(margin * 1e3, 6) if unit == "ms" else margin)
