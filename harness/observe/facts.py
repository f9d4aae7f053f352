"""The kinds of facts. Each is one line of ``facts.jsonl`` in a run directory.

Units are in the names: ``*_ns`` are nanoseconds. ``t_ns`` is on the run's clock (the
harness's CLOCK_MONOTONIC); clocks that a fact also carries are named after their owner.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    t_ns: int = Field(description="time on the run's clock")
    err_ns: int = Field(0, ge=0, description="the true time lies in t_ns +- err_ns")


class QmpEvent(_Fact):
    """An event of one QEMU. ``role`` is its part in the migration that is going on."""

    kind: Literal["qmp"] = "qmp"
    guest: str
    host: str
    role: Literal["source", "destination", ""] = ""
    name: str = Field(description="QMP event name, e.g. UNPLUG_PRIMARY")
    data: dict[str, Any] = Field(default_factory=dict)
    qemu_time_us: int = Field(description="QEMU's own timestamp, CLOCK_REALTIME of its host")


class LinkState(BaseModel):
    """A netdev as the guest's kernel describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    name: str
    mac: str
    master: str | None = Field(None, description="name of the master netdev")
    operstate: str = Field(description="IFLA_OPERSTATE, lower case: up, down, unknown, ...")
    carrier: bool | None = None
    driver: str | None = Field(
        None, description="bus driver (virtio_net, igbvf, e1000e) or net_failover"
    )
    mtu: int = 0
    addresses: tuple[str, ...] = ()


class LinkEvent(_Fact):
    """A netlink message about a guest's netdev, sent by the guest's monitor.

    ``event`` says what changed: ``added``, ``removed``, ``enslaved``, ``released``,
    ``up``, ``down`` (operstate), ``changed`` (anything else).
    ``guest_ns`` is the guest's CLOCK_MONOTONIC, which stops while the guest is stopped.
    """

    kind: Literal["link"] = "link"
    guest: str
    event: Literal["added", "removed", "enslaved", "released", "up", "down", "changed"]
    link: LinkState
    guest_ns: int


class GuestClock(_Fact):
    """One reading of a guest's clock: it read ``guest_ns`` at some time in t_ns +- err_ns."""

    kind: Literal["guest-clock"] = "guest-clock"
    guest: str
    guest_ns: int


class Snapshot(_Fact):
    """All netdevs of a guest at a named moment (``start``, ``end``, or a step's name)."""

    kind: Literal["snapshot"] = "snapshot"
    guest: str
    moment: str
    links: tuple[LinkState, ...]


class HostEvent(_Fact):
    """Something the lab did, or saw, on a host.

    ``event``: ``vf-bound``, ``vf-mac-set``, ``vf-mac-cleared``, ``vf-bus-master-on``,
    ``vf-bus-master-off``, ``fdb-set``, ``fdb-cleared``, ``qemu-started``, ``qemu-exited``, ...
    """

    kind: Literal["host"] = "host"
    host: str
    event: str
    guest: str = ""
    device: str = ""
    data: dict[str, Any] = Field(default_factory=dict)


class StepFact(_Fact):
    """A step of the scenario began or ended."""

    kind: Literal["step"] = "step"
    step: str = Field(description="verb and position, e.g. `1 migrate`")
    phase: Literal["begin", "end"]
    outcome: Literal["", "done", "failed"] = ""
    data: dict[str, Any] = Field(default_factory=dict)


class StreamFact(_Fact):
    """What became of one stream: where its sends and arrivals are recorded, and its terms.

    ``sends`` and ``arrivals`` are file names in the run directory (see
    ``harness.traffic.records`` for their format). ``rate`` is packets a second.
    """

    kind: Literal["stream"] = "stream"
    stream: str
    protocol: Literal["udp", "icmp-echo"]
    sender: str
    receiver: str
    rate: float
    size: int = Field(description="octets of the IP packet")
    tmax_ns: int = Field(description="waiting time after which a packet counts as lost")
    sends: str
    arrivals: str
    sends_clock: Literal["run", "guest"]
    arrivals_clock: Literal["run", "guest"]
    complete: bool = Field(description="both ends ran to their planned end and said so")
    problem: str = ""


class Accelerator(_Fact):
    """Which accelerator a QEMU runs with, and how that was found out."""

    kind: Literal["accelerator"] = "accelerator"
    machine: str
    accelerator: Literal["kvm", "tcg"]
    evidence: str


class Note(_Fact):
    """Something a person reading the run should know; never judged."""

    kind: Literal["note"] = "note"
    text: str


Fact = Annotated[
    QmpEvent
    | LinkEvent
    | GuestClock
    | Snapshot
    | HostEvent
    | StepFact
    | StreamFact
    | Accelerator
    | Note,
    Field(discriminator="kind"),
]

FACT: TypeAdapter[Fact] = TypeAdapter(Fact)
