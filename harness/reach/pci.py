"""Typed work on PCI devices and virtual functions of a machine: ``machine.pci``.

Neighbours: ``agent/pci.py`` does it on the machine; ``lab`` hands MAC filters over by
``watch_bus_master``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.reach.clock import MachineClock, Stamp
from harness.reach.links import Action, Call
from harness.reach.wire import Wire


@dataclass(frozen=True, slots=True)
class PciDevice:
    """A PCI device; ``vfs`` are the addresses of its enabled virtual functions."""

    pci: str
    driver: str | None
    iommu_group: str | None
    netdevs: tuple[str, ...]
    vfs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ActionDone:
    """What became of an action: ``problem`` is empty when it worked."""

    op: str
    done_at: Stamp
    problem: str


@dataclass(frozen=True, slots=True)
class BusMasterChange:
    """The bus-master bit of ``pci`` was seen to change.

    ``at`` is the middle between the polls before and after it, with half their distance as
    its error. ``lost``: the device can no longer be read, and the watch is over.
    """

    pci: str
    on: bool
    at: Stamp
    actions: tuple[ActionDone, ...] = ()
    lost: str = ""


class Pci:
    """PCI devices of one machine. Failures are AgentRefused, with the device's address."""

    def __init__(self, machine: str, call: Call, wire: Wire, clock: MachineClock) -> None:
        self._machine = machine
        self._call = call
        self._wire = wire
        self._clock = clock

    def get(self, pci: str) -> PciDevice:
        return _device(self._call("pci_info", pci=pci))

    def enable_vfs(self, pf: str, count: int) -> tuple[str, ...]:
        """Enable virtual functions of the device ``pf``; their addresses, by number."""
        return tuple(self._call("vfs_enable", within=60, pf=pf, count=count))

    def bind_vfio(self, pci: str) -> PciDevice:
        """Give the device to vfio-pci; undone to the driver it had."""
        return _device(self._call("vfio_bind", pci=pci))

    def release_vfio(self, pci: str) -> None:
        """Undo ``bind_vfio`` now."""
        self._call("vfio_release", pci=pci)

    def unbind(self, pci: str) -> None:
        """Take the device from its driver; undone to the driver it had."""
        self._call("driver_unbind", pci=pci)

    def probe(self, pci: str) -> PciDevice:
        """Give a device that was unbound to its kernel driver, loading that first."""
        return _device(self._call("driver_probe", within=90, pci=pci))

    def command(self, pci: str) -> int:
        """The command register."""
        return int(self._call("pci_command", pci=pci))

    def watch_bus_master(
        self,
        pci: str,
        sink: Callable[[BusMasterChange], None],
        *,
        interval_s: float = 0.002,
        when_on: Sequence[Action] = (),
        when_off: Sequence[Action] = (),
    ) -> BusMasterWatch:
        """Call ``sink`` at each change (on the connection's reading thread: be quick), after
        the agent has done ``when_on`` or ``when_off`` on the machine itself."""

        def on_event(event: Mapping[str, Any]) -> None:
            if event["event"] == "bus-master":
                sink(self._change(pci, event))
            elif event["event"] == "bus-master-lost":
                now = self._clock.stamp("monotonic", event["at_ns"])
                sink(BusMasterChange(pci, False, now, lost=event["problem"]))

        handle = self._wire.handle(on_event)
        first = self._call(
            "bus_master_watch", handle=handle, pci=pci, interval_s=interval_s,
            when_on=[_action(one) for one in when_on],
            when_off=[_action(one) for one in when_off],
        )  # fmt: skip
        return BusMasterWatch(self._call, self._wire, handle, bool(first["on"]))

    def _change(self, pci: str, event: Mapping[str, Any]) -> BusMasterChange:
        before = self._clock.stamp("monotonic", event["before_ns"])
        seen = self._clock.stamp("monotonic", event["seen_ns"])
        half = (seen.t_ns - before.t_ns + 1) // 2
        done = tuple(
            ActionDone(one["op"], self._clock.stamp("monotonic", one["done_ns"]), one["problem"])
            for one in event["actions"]
        )
        at = Stamp(before.t_ns + half, half + max(before.err_ns, seen.err_ns))
        return BusMasterChange(pci, bool(event["on"]), at, done)


class BusMasterWatch:
    """A watch that goes on until ``stop``. ``on_at_start``: the bit when it began."""

    def __init__(self, call: Call, wire: Wire, handle: int, on_at_start: bool) -> None:
        self._call, self._wire, self._handle = call, wire, handle
        self.on_at_start = on_at_start

    def stop(self) -> None:
        self._call("bus_master_unwatch", handle=self._handle)
        self._wire.release(self._handle)


def _action(action: Action) -> dict[str, Any]:
    return {"op": action.op, "args": dict(action.args)}


def _device(got: Mapping[str, Any]) -> PciDevice:
    return PciDevice(
        got["pci"], got["driver"], got["iommu_group"], tuple(got["netdevs"]), tuple(got["vfs"])
    )
