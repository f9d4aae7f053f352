"""The kinds of facts. Each is one line of ``facts.jsonl`` in a run directory.

Units are in the names: ``*_ns`` are nanoseconds. ``t_ns`` is on the run's clock (the
harness's CLOCK_MONOTONIC); clocks that a fact also carries are named after their owner.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

TRAFFIC_STEP = "traffic"
"""The step, in facts, that comes before those of a case: its streams begin and are seen to flow."""

LAB = "lab"
"""The host, in facts, of the lab's own namespace, where the networks' bridges are. No machine of
a topology has this name."""


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


VLAN_DRIVER = "802.1Q VLAN Support"
"""How ethtool names the driver of a VLAN netdev, which has the MAC address of that below it."""


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
    ``why`` is what else the message says: the cause that the kernel names (IFLA_EVENT, such as
    NOTIFY_PEERS) and the flags that differ (+RUNNING); often all that there is.
    """

    kind: Literal["link"] = "link"
    guest: str
    event: Literal["added", "removed", "enslaved", "released", "up", "down", "changed"]
    link: LinkState
    guest_ns: int
    why: str = ""


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
    ``vf-bus-master-off``, ``vf-filter-opened``, ``vf-filter-closed``, ``fdb-cleared``,
    ``detach-requested`` (of a NIC, by a step), ``standby-link-up``, ``standby-link-down``,
    ``qemu-started``, ``qemu-exited``, and of a pair's bridge entries ``fdb-learned``,
    ``fdb-moved``, ``fdb-removed`` (``device`` is the port, ``data`` tells the bridge). What
    happens on the networks' bridges has the host ``LAB``.
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
    ip_version: Literal[4, 6] | None = Field(None, description="null in older records")
    dscp: int = Field(0, description="that the packets were sent with")
    vlan: int | None = Field(None, description="802.1Q tag; null: untagged")
    count: int | None = Field(None, description="packets after which it was to end by itself")
    duration_ns: int | None = Field(None, description="after which it was to end by itself")
    dscp_changed: int | None = Field(
        None, description="arrivals with another DSCP than `dscp`; null where nobody could look"
    )


class PathFact(_Fact):
    """Which packets of a stream were seen at one role's taps of a failover pair, on one host.

    ``leg``: the packets of a UDP stream, or the requests or the replies of an echo stream.
    ``records`` names a file of the packets' numbers and when each was seen there (format of
    ``harness.traffic.records``, the run's clock); empty when there is none. A role without
    a tap (a virtual function) has no such fact.
    """

    kind: Literal["path"] = "path"
    stream: str
    guest: str
    standby: str = Field(description="the pair, by the id of its standby")
    role: Literal["standby", "primary"]
    host: str
    leg: Literal["packet", "request", "reply"]
    records: str
    complete: bool = Field(description="the captures were whole, of every QEMU there")
    problem: str = ""


class TcpFact(_Fact):
    """What became of one TCP stream: where its two ends' records are, and its terms.

    ``sender_record`` and ``sink_record`` are file names in the run directory (see
    ``harness.traffic.tcprecord``). ``rate`` is bits a second; ``octets``: how many were to be
    sent, None: until told to stop. ``flowing_ns``: when octets had come to the receiver;
    ``stopped_ns``: when its sender had been told to stop, or had sent all.
    """

    kind: Literal["tcp"] = "tcp"
    stream: str
    sender: str
    receiver: str
    rate: int
    octets: int | None = None
    ip_version: Literal[4, 6] = 4
    dscp: int = 0
    flowing_ns: int
    stopped_ns: int
    sender_record: str
    sink_record: str
    sender_clock: Literal["run", "guest"]
    sink_clock: Literal["run", "guest"]
    complete: bool = Field(description="both ends came to their planned end and said so")
    problem: str = ""


class Accelerator(_Fact):
    """Which accelerator a QEMU runs with, and how that was found out."""

    kind: Literal["accelerator"] = "accelerator"
    machine: str
    accelerator: Literal["kvm", "tcg"]
    evidence: str


class GuestStart(_Fact):
    """How a guest came to run: it booted, or was loaded from a saved state. So did a host VM,
    which is a guest of the lab.

    ``state`` is the digest that names the state, ``made`` when that was made (UTC, ISO 8601);
    ``why`` says why a guest booted.
    """

    kind: Literal["guest-start"] = "guest-start"
    guest: str
    host: str
    how: Literal["booted", "loaded"]
    state: str = ""
    made: str = ""
    why: str = ""


class KernelMessage(_Fact):
    """A message of a kernel's log (dmesg): of a ``guest``'s, or of a ``host``'s.

    ``seq`` is its number there: messages of one kernel are ordered by it exactly. ``stamp_us``
    is what dmesg shows in brackets (printk's own clock, which is not CLOCK_MONOTONIC), to find
    the message again; ``guest_ns`` the guest's CLOCK_MONOTONIC when the message was read.
    """

    kind: Literal["kernel"] = "kernel"
    guest: str = ""
    host: str = ""
    level: int = Field(ge=0, le=7, description="0 (emergency) to 7 (debug), as in syslog(2)")
    text: str
    seq: int
    stamp_us: int
    guest_ns: int | None = None


class ProbeLoad(_Fact):
    """What labprobe has cost a guest from its start until a moment of the run.

    ``traffic-flows``: every stream flows; ``traffic-ends``: before the streams are stopped;
    ``records-kept``: their records have been fetched. ``cpu_ns`` is the processor time of all its
    threads, in user space and in the kernel, without that of interrupts; ``peak_octets`` its
    largest resident memory; ``sent_octets`` and ``received_octets`` what went over its port.
    """

    kind: Literal["probe-load"] = "probe-load"
    guest: str
    moment: Literal["traffic-flows", "traffic-ends", "records-kept"]
    guest_ns: int
    cpu_ns: int
    peak_octets: int
    sent_octets: int
    received_octets: int


class Inventory(_Fact):
    """What a guest's QEMU has: ids of devices (QOM's `/machine/peripheral`), names of the netdevs
    (`info network`), and the number of all QOM objects (`info qom-tree`)."""

    kind: Literal["inventory"] = "inventory"
    guest: str
    moment: str
    devices: tuple[str, ...]
    netdevs: tuple[str, ...]
    objects: int


class GuestBoot(_Fact):
    """The guest was reset: what its kernel tells from here on has another clock, and its netdevs
    are others. The next snapshot, ``boot``, has them."""

    kind: Literal["guest-boot"] = "guest-boot"
    guest: str


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
    | TcpFact
    | PathFact
    | Accelerator
    | GuestStart
    | KernelMessage
    | ProbeLoad
    | Inventory
    | GuestBoot
    | Note,
    Field(discriminator="kind"),
]

FACT: TypeAdapter[Fact] = TypeAdapter(Fact)
