"""The frozen, typed model of a case file: exactly what a case may say.

A case is a claim, the topologies it holds on, the traffic, the steps and the expectations.
Shapes are checked here, references to the topology in ``check``, parameters in
``parameters``. Field names (or their aliases) are the YAML keys.

Neighbours: ``steps`` and ``expect`` hold the two vocabularies; ``load`` makes a case.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictFloat, StrictInt, model_validator

from harness.case.catalogue import About, Group, Source
from harness.case.expect import Expect
from harness.case.gate import Gate
from harness.case.step import Placed, Step, unrolled
from harness.case.values import Dscp, Duration, PacketRate, Part, Share
from harness.topology.model import BitRate, Name

Scalar = StrictBool | StrictInt | StrictFloat | str


def _claim(text: str) -> str:
    if not text.strip():
        raise ValueError("a case is named by its claim: `a guest keeps its traffic`")
    return text.strip()


_LEAST_TCP_RATE = 8_000
_NOT_OF_TCP = {
    "waiting_time": "what comes late is a stall, and TCP sends again what is lost",
    "vlan": "it is the kernel's connection, through the routes that it has",
}


class Flow(Part):
    """Periodic numbered packets (RFC 3432)."""

    rate: PacketRate = Field(
        ge=0.1, le=1e6, description="packets a second: `1000/s`; from 0.1/s to 1000000/s"
    )
    size: int = Field(
        le=65535,
        description="octets of each IP packet, its header included: from 48 (IPv6: 68) to the MTU",
    )
    count: int | None = Field(
        None,
        ge=2,
        lt=1 << 32,
        description="the stream ends by itself after so many packets; else it ends with the case",
    )
    duration: Duration | None = Field(
        None, gt=0, description="the stream ends by itself after so long: `10s`; not with `count`"
    )

    @model_validator(mode="after")
    def _one_end(self) -> Flow:
        if self.count is not None and self.duration is not None:
            raise ValueError("a stream ends after a `count` or a `duration`, not both")
        if self.duration is not None and self.duration * self.rate < 2:
            raise ValueError(
                f"less than two packets are sent in {self.duration:g}s at {self.rate:g}/s"
            )
        return self

    @property
    def ends_itself(self) -> bool:
        return self.count is not None or self.duration is not None


class TcpFlow(Part):
    """A checked stream over one TCP connection: a numbered ramp of octets, one way.

    What TCP cannot take at the time is not made up for: the rate is an upper bound.
    """

    rate: BitRate = Field(
        ge=_LEAST_TCP_RATE,
        le=8_000_000_000,
        description="bits a second that the sender offers: `8Mbit/s`; from 8kbit/s (with less, "
        "nothing to send would look like a stall) to 8gbit/s",
    )
    octets: int | None = Field(
        None,
        strict=True,
        gt=0,
        description="the stream ends by itself after so many; else it ends with the case",
    )
    duration: Duration | None = Field(
        None,
        gt=0,
        description="the stream ends by itself after so many seconds' worth of its rate; not "
        "with `octets`",
    )

    @model_validator(mode="after")
    def _one_end(self) -> TcpFlow:
        if self.octets is not None and self.duration is not None:
            raise ValueError("a stream ends after `octets` or a `duration`, not both")
        return self

    @property
    def total(self) -> int | None:
        """How many octets are sent; None: until the case is over."""
        if self.duration is not None:
            return max(1, round(self.duration * self.rate / 8))
        return self.octets


class Stream(Part):
    """One stream of traffic and the terms on which it is measured."""

    sender: str = Field(alias="from", description="a namespace or a guest")
    receiver: str = Field(alias="to", description="a namespace or a guest")
    udp: Flow | None = Field(None, description="numbered UDP packets, one way")
    icmp_echo: Flow | None = Field(
        None, alias="icmp-echo", description="echo requests; an arrival is a reply"
    )
    tcp: TcpFlow | None = Field(
        None, description="one TCP connection whose octets are checked, one way"
    )
    ip: Literal[4, 6] | None = Field(
        None,
        description="IP version; when absent, that of the first two addresses of the ends that "
        "are in one subnet",
    )
    dscp: Dscp = Field(
        0, description="DS code point: 0 to 63, or a name such as EF, AF41, CS6; 0 when absent"
    )
    vlan: int | None = Field(
        None,
        ge=1,
        le=4094,
        description="802.1Q tag of the frames; the lab gives the ends addresses in that VLAN",
    )
    waiting_time: Duration = Field(
        2.0,
        description="Tmax: a packet that arrives later counts as lost; 2s when absent",
    )
    rate_tolerance: Share = Field(
        0.05,
        description="nothing is told of the stream when its sender missed its rate by more "
        "than this; 5% when absent",
    )
    before: Duration = Field(
        1.0, description="how long the stream runs before the first step; 1s when absent"
    )
    after: Duration = Field(
        2.0,
        description="how long it goes on after the last step; 2s when absent; not for a stream "
        "that ends by itself, whose end the run waits for",
    )

    @model_validator(mode="after")
    def _one_protocol(self) -> Stream:
        if [self.udp, self.icmp_echo, self.tcp].count(None) != 2:
            raise ValueError("a stream has exactly one of udp, icmp-echo and tcp")
        return self

    @model_validator(mode="after")
    def _nothing_of_packets_in_tcp(self) -> Stream:
        if self.tcp is None:
            return self
        for name, why in _NOT_OF_TCP.items():
            if name in self.model_fields_set:
                raise ValueError(f"`{name}` makes no sense for tcp: {why}")
        if self.tcp.total is not None and "after" in self.model_fields_set:
            raise ValueError("a stream that ends by itself does not go on `after` the last step")
        return self

    @property
    def protocol(self) -> Literal["udp", "icmp-echo", "tcp"]:
        if self.tcp is not None:
            return "tcp"
        return "udp" if self.udp is not None else "icmp-echo"

    @property
    def flow(self) -> Flow:
        """Rate and size of a stream of numbered packets, whatever the protocol."""
        flow = self.udp or self.icmp_echo
        if flow is None:  # the callers take TCP streams apart
            raise ValueError("a stream without numbered packets")
        return flow


class CaseFile(Part):
    """A whole case file, with its parameters put in."""

    case: Annotated[str, AfterValidator(_claim)] = Field(
        description="the claim that the case checks"
    )
    group: Group | None = Field(
        None, description="what it is about; pytest selects by it: `-m hotplug`"
    )
    source: tuple[Source, ...] = Field((), description="where the behaviour is described")
    negative_control: str | None = Field(
        None,
        min_length=1,
        description="what makes the case fail, and how: so it is known to be able to",
    )
    slow: bool = Field(
        False, strict=True, description="runs only where slow tests are asked for: `-m slow`"
    )
    topology: str | None = Field(None, description="topology file, relative to the case")
    topologies: dict[Name, str] = Field(
        default_factory=dict, description="several, each with a name; one test each"
    )
    parameters: dict[str, Scalar | dict[str, Scalar]] = Field(
        default_factory=dict,
        description="values for ${name} in traffic, steps, expect and gate; plain, or one per "
        "topology",
    )
    boot: Literal["warm", "cold"] = Field(
        "warm",
        description="`warm`: guests and hosts are loaded from saved states, where that can be; "
        "`cold`: they boot, for a case that is about booting; warm when absent",
    )
    traffic: dict[Name, Stream] = Field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    expect: Expect = Expect()
    gate: Gate | None = Field(
        None, description="what two builds are compared by, and with which margin"
    )

    @property
    def about(self) -> About:
        """What the case says of itself for the catalogue."""
        return About(self.group, self.source, self.negative_control or "", self.slow)

    @property
    def placed(self) -> tuple[Placed, ...]:
        """The steps as they are carried out, repeats taken apart."""
        return tuple(unrolled(self.steps))

    @model_validator(mode="after")
    def _one_topology_key(self) -> CaseFile:
        if (self.topology is None) == (not self.topologies):
            raise ValueError("give either `topology: FILE` or `topologies: {NAME: FILE}`")
        return self
