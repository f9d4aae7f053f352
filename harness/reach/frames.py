"""Typed numbered frames on a machine's netdevs: ``machine.frames``.

Neighbours: ``agent/frames.py`` sends and counts them there; ``harness.nicprobe`` asks NICs
with them. Streams that are measured are ``harness.traffic``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.reach.wire import Wire

ETHERTYPE = 0x88B5
"""For local experiments (IEEE 802): no protocol stack answers to it."""
_DOT1Q = 0x8100


@dataclass(frozen=True, slots=True)
class FrameHead:
    """Addresses and VLAN (None: untagged) of a frame."""

    destination: str
    source: str
    vlan: int | None = None

    def hex(self) -> str:
        """The octets before the payload."""
        tag = "" if self.vlan is None else f"{_DOT1Q:04x}{self.vlan:04x}"
        return (self.destination + self.source).replace(":", "") + tag + f"{ETHERTYPE:04x}"


@dataclass(frozen=True, slots=True)
class Counted:
    """Frames of one flow that came in by one netdev: ``numbers`` different ones."""

    numbers: int
    frames: int


Counts = Mapping[tuple[str, int], Counted]
"""By netdev and flow; what never came is not there."""


class Frames:
    """Frames of one machine; ``key`` (hexadecimal) tells the frames of one run from others."""

    def __init__(self, call: Callable[..., Any], wire: Wire) -> None:
        self._call = call
        self._wire = wire

    def send(
        self, name: str, head: FrameHead, *, key: str, flow: int, count: int,
        interval_s: float = 0.001,
    ) -> int:  # fmt: skip
        """Send ``count`` numbered frames by a netdev; how many the kernel took."""
        return int(
            self._call(
                "frames_send", name=name, head=head.hex(), key=key, flow=flow, count=count,
                interval_s=interval_s,
            )
        )  # fmt: skip

    def listen(self, names: Sequence[str], *, key: str, promiscuous: bool = False) -> FrameCount:
        """Count what comes in by these netdevs from now on."""
        handle = self._wire.handle(lambda _event: None)
        self._call(
            "frames_listen", handle=handle, names=list(names), key=key, promiscuous=promiscuous
        )
        return FrameCount(self._call, self._wire, handle)


class FrameCount:
    """A count that goes on until ``end``."""

    def __init__(self, call: Callable[..., Any], wire: Wire, handle: int) -> None:
        self._call, self._wire, self._handle = call, wire, handle

    def end(self, *, quiet_s: float, within_s: float = 5.0) -> Counts:
        """What came, once nothing has come for ``quiet_s``, at the latest after ``within_s``."""
        told = self._call("frames_counts", handle=self._handle, quiet_s=quiet_s, within_s=within_s)
        self._wire.release(self._handle)
        return {
            (name, int(flow)): Counted(*counted)
            for name, flows in told.items()
            for flow, counted in flows.items()
        }
