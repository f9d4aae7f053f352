"""What a case says of itself for the catalogue: its group, and who describes the behaviour.

Neighbours: ``model`` holds it; ``harness.report.catalogue`` makes the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from harness.case.values import Part

Group = Literal[
    "startup",
    "restrictions",
    "hotplug",
    "migration",
    "guests",
    "orchestration",
    "filtering",
    "links",
    "removal",
]
GROUPS: dict[Group, str] = {
    "startup": "Start-up and pairing",
    "restrictions": "Restrictions",
    "hotplug": "Hotplug by monitor",
    "migration": "Migration",
    "guests": "Guests",
    "orchestration": "Who orchestrates",
    "filtering": "Host filtering",
    "links": "Link faults",
    "removal": "Removal",
}
"""Each group with its heading, in the order of the catalogue."""

DOCUMENTS = {
    "qemu": "QEMU, virtio-net standby (docs/system/virtio-net-failover.rst)",
    "kernel": "Linux, Documentation/networking/net_failover.rst",
    "wiki": "KVM wiki, Failover for networking devices (January 2019)",
    "blog": "Virtio Network Device Failover (blog, March 2019)",
    "code": "QEMU's and Linux's sources and histories",
}
Document = Literal["qemu", "kernel", "wiki", "blog", "code"]


class Source(Part):
    """One sentence that the case holds a guest and its QEMU to."""

    document: Document = Field(description="; ".join(f"{k}: {v}" for k, v in DOCUMENTS.items()))
    says: str = Field(min_length=1, description="the sentence, or what it comes to")
    known: tuple[str, ...] = Field(
        (), description="numbers of the behaviours that are known of old: [A14]"
    )


@dataclass(frozen=True, slots=True)
class About:
    """What a case says of itself: its group, its sources, what would make it fail, and
    whether it takes long."""

    group: Group | None = None
    source: tuple[Source, ...] = ()
    negative_control: str = ""
    slow: bool = False
