"""A migration as facts, to be bent by each test: what a run of the flat lab records.

Times are milliseconds on the run's clock; the guest's monitor is exact unless a test says
otherwise.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.case import bind, load_case
from harness.observe import (
    Fact,
    HostEvent,
    LinkEvent,
    LinkState,
    QmpEvent,
    Snapshot,
    StepFact,
)
from harness.verdict import Evidence, MeasuredStream, Pair, SeenAt
from harness.versions import QemuWords
from tests.case.files import HEAD, STEPS, TOPOLOGY, TRAFFIC, write

MS = 1_000_000
MAC = "52:54:00:6f:55:cc"
PAIR = Pair("g1", "net1", "hostdev0", MAC)

Event = Literal["added", "removed", "enslaved", "released", "up", "down", "changed"]

MASTER = LinkState(index=2, name="eth0", mac=MAC, operstate="up", driver="net_failover")
STANDBY = LinkState(
    index=3, name="eth0nsby", mac=MAC, master="eth0", operstate="up", driver="virtio_net"
)
PRIMARY = LinkState(index=4, name="eth1", mac=MAC, master="eth0", operstate="up", driver="e1000e")
PRIMARY_BACK = PRIMARY.model_copy(update={"index": 5})


def link(at: float, event: Event, state: LinkState, *, err: float = 0) -> LinkEvent:
    return LinkEvent(
        t_ns=int(at * MS),
        err_ns=int(err * MS),
        guest="g1",
        event=event,
        link=state,
        guest_ns=int(at * MS),
    )


def qmp(
    at: float,
    role: Literal["source", "destination"],
    name: str,
    *,
    err: float = 0,
    **data: object,
) -> QmpEvent:
    return QmpEvent(
        t_ns=int(at * MS),
        err_ns=int(err * MS),
        guest="g1",
        host="alpha" if role == "source" else "beta",
        role=role,
        name=name,
        data=data,
        qemu_time_us=int(at * 1000),
    )


def status(at: float, role: Literal["source", "destination"], word: str) -> QmpEvent:
    return qmp(at, role, "MIGRATION", status=word)


def step(
    at: float,
    name: str,
    phase: Literal["begin", "end"],
    outcome: Literal["", "done", "failed"] = "",
) -> StepFact:
    return StepFact(t_ns=int(at * MS), step=name, phase=phase, outcome=outcome)


def snapshot(at: float, moment: str, *links: LinkState) -> Snapshot:
    return Snapshot(t_ns=int(at * MS), guest="g1", moment=moment, links=links)


def host(at: float, name: str, event: str) -> HostEvent:
    return HostEvent(t_ns=int(at * MS), host=name, event=event, guest="g1")


def good_facts() -> dict[str, Fact]:
    """A migration as it should be, each fact under a name by which a test can change it."""
    gone = PRIMARY.model_copy(update={"master": None, "driver": None, "operstate": "down"})
    back = PRIMARY_BACK.model_copy(update={"master": None, "operstate": "down"})
    joining = PRIMARY_BACK.model_copy(update={"operstate": "down"})
    return {
        "start": snapshot(0, "start", MASTER, STANDBY, PRIMARY),
        "migrate begins": step(1000, "1 migrate", "begin"),
        "s setup": status(1001, "source", "setup"),
        "unplug": qmp(1002, "source", "UNPLUG_PRIMARY", **{"device-id": "hostdev0"}),
        "s wait-unplug": status(1003, "source", "wait-unplug"),
        "d setup": status(1000.5, "destination", "setup"),
        "released": link(1200, "released", PRIMARY.model_copy(update={"master": None})),
        "removed": link(1201, "removed", gone),
        "cleared": host(1210, "alpha", "vf-mac-cleared"),
        "s active": status(1250, "source", "active"),
        "d active": status(1251, "destination", "active"),
        "stop": qmp(2000, "source", "STOP"),
        "s device": status(2001, "source", "device"),
        "negotiated": qmp(2010, "destination", "FAILOVER_NEGOTIATED", **{"device-id": "net1"}),
        "resume": qmp(2020, "destination", "RESUME"),
        "d completed": status(2021, "destination", "completed"),
        "s completed": status(2022, "source", "completed"),
        "migrate ends": step(2030, "1 migrate", "end", "done"),
        "wait begins": step(2031, "2 wait", "begin"),
        "added": link(2500, "added", back),
        "enslaved": link(2510, "enslaved", joining),
        "up": link(2600, "up", PRIMARY_BACK),
        "wait ends": step(2610, "2 wait", "end", "done"),
        "end": snapshot(3000, "end", MASTER, STANDBY, PRIMARY_BACK),
    }


@dataclass
class Story:
    """Facts and the expectation to judge them by."""

    folder: pathlib.Path
    expect: str
    facts: dict[str, Fact] = field(default_factory=good_facts)
    versions: Mapping[tuple[str, str], str] = field(
        default_factory=lambda: {("g1", "alpha"): "10.0.13", ("g1", "beta"): "10.0.13"}
    )
    words: Mapping[tuple[str, str], QemuWords] = field(default_factory=dict)
    streams: Mapping[str, MeasuredStream] = field(default_factory=dict)
    steps: str = STEPS
    seen: tuple[SeenAt, ...] = ()
    topology: str = TOPOLOGY

    def evidence(self) -> Evidence:
        text = HEAD + TRAFFIC + self.steps + "expect:\n" + self.expect
        path = write(self.folder, text, topology=self.topology)
        return Evidence(
            bind(load_case(path)),
            tuple(self.facts.values()),
            (PAIR,),
            self.versions,
            self.streams,
            seen=self.seen,
            qemu_words=self.words,
        )
