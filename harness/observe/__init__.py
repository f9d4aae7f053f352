"""Facts: frozen, timestamped observations, and nothing that collects them.

Every fact has a time on the one clock of a run (the harness's CLOCK_MONOTONIC, in
nanoseconds) and the half-width of the interval that the true time lies in (``err_ns``).
Two facts that are closer than their errors have no known order.

Neighbours: collectors (``vm``, ``traffic``, ``probe``, ``lab``, ``scenario``) make facts,
``verdict`` and ``report`` read them; imports nothing but ``errors``.
"""

from harness.observe.facts import (
    LAB,
    TRAFFIC_STEP,
    VLAN_DRIVER,
    Accelerator,
    Fact,
    GuestBoot,
    GuestClock,
    GuestStart,
    HostEvent,
    Inventory,
    KernelMessage,
    LinkEvent,
    LinkState,
    Note,
    PathFact,
    ProbeLoad,
    QmpEvent,
    Snapshot,
    StepFact,
    StreamFact,
    TcpFact,
)
from harness.observe.record import FactLog, read_facts

__all__ = [
    "LAB",
    "TRAFFIC_STEP",
    "VLAN_DRIVER",
    "Accelerator",
    "Fact",
    "FactLog",
    "GuestBoot",
    "GuestClock",
    "GuestStart",
    "HostEvent",
    "Inventory",
    "KernelMessage",
    "LinkEvent",
    "LinkState",
    "Note",
    "PathFact",
    "ProbeLoad",
    "QmpEvent",
    "Snapshot",
    "StepFact",
    "StreamFact",
    "TcpFact",
    "read_facts",
]
