"""The frozen, typed model of a case file: exactly what a case may say.

A case is a claim, the topologies it holds on, the traffic, the steps and the expectations.
Shapes are checked here, references to the topology in ``check``, parameters in
``parameters``. Field names (or their aliases) are the YAML keys.

Neighbours: ``steps`` and ``expect`` hold the two vocabularies; ``load`` makes a case.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictFloat, StrictInt, model_validator

from harness.case.expect import Expect
from harness.case.steps import Step
from harness.case.values import Duration, PacketRate, Part, Share
from harness.topology.model import Name

Scalar = StrictBool | StrictInt | StrictFloat | str


def _claim(text: str) -> str:
    if not text.strip():
        raise ValueError("a case is named by its claim: `a guest keeps its traffic`")
    return text.strip()


class Flow(Part):
    """Periodic numbered packets (RFC 3432)."""

    rate: PacketRate = Field(description="packets a second: `1000/s`")
    size: int = Field(ge=64, le=9000, description="octets of each IP packet, its header included")


class Stream(Part):
    """One stream of traffic and the terms on which it is measured."""

    sender: str = Field(alias="from", description="a namespace or a guest")
    receiver: str = Field(alias="to", description="a namespace or a guest")
    udp: Flow | None = Field(None, description="numbered UDP packets, one way")
    icmp_echo: Flow | None = Field(
        None, alias="icmp-echo", description="echo requests; an arrival is a reply"
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
        2.0, description="how long it goes on after the last step; 2s when absent"
    )

    @model_validator(mode="after")
    def _one_protocol(self) -> Stream:
        if (self.udp is None) == (self.icmp_echo is None):
            raise ValueError("a stream has exactly one of udp and icmp-echo")
        return self

    @property
    def protocol(self) -> Literal["udp", "icmp-echo"]:
        return "udp" if self.udp is not None else "icmp-echo"

    @property
    def flow(self) -> Flow:
        """Rate and size, whatever the protocol."""
        flow = self.udp or self.icmp_echo
        if flow is None:  # the validator above keeps this from happening
            raise ValueError("a stream without a protocol")
        return flow


class CaseFile(Part):
    """A whole case file, with its parameters put in."""

    case: Annotated[str, AfterValidator(_claim)] = Field(
        description="the claim that the case checks"
    )
    topology: str | None = Field(None, description="topology file, relative to the case")
    topologies: dict[Name, str] = Field(
        default_factory=dict, description="several, each with a name; one test each"
    )
    parameters: dict[str, Scalar | dict[str, Scalar]] = Field(
        default_factory=dict,
        description="values for ${name} in traffic, steps and expect; plain, or one per topology",
    )
    traffic: dict[Name, Stream] = Field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    expect: Expect = Expect()

    @model_validator(mode="after")
    def _one_topology_key(self) -> CaseFile:
        if (self.topology is None) == (not self.topologies):
            raise ValueError("give either `topology: FILE` or `topologies: {NAME: FILE}`")
        return self
