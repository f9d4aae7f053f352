"""Hands the MAC filter of a failover pair over between primary and standby.

Primary and standby have one MAC address. While the primary is a virtual function that no
driver serves, the NIC must not steer the pair's frames to it, or they are lost: the KVM
wiki's "packet loss due to early mac filter update", and its mirror image when the primary
has been unplugged. The frames have to go to the physical function, and by the bridge to
the standby's tap.

When: the guest's driver sets the bus-master bit in the VF's PCI command register as it
takes the device and clears it as it lets go. The agent on the host watches the bit and acts
there and then.

How: clearing the VF's MAC address and setting it again at that moment was tried, and is
too late: the driver (igbvf) asks for its address within milliseconds of setting the bit,
finds none and makes one up, and the guest does not pair the two. So the address stays set
while the VF is prepared, and the filter is closed by giving the VF a port VLAN
that no frame carries: untagged frames then miss the VF's pool and go to the default pool,
the physical function's. Opening it is clearing that VLAN.

With an emulated primary on a tap there is no NIC filter, but the host's bridge has learned
that the address is behind the primary's tap; that entry goes when the primary has left.

Where the topology switches the hand-over off, the bit is watched all the same and nothing
is done: it tells when frames went to a VF that no driver served.

Neighbours: ``guest`` begins and ends it; the facts it records are ``vf-bus-master-on``,
``vf-bus-master-off``, ``vf-filter-opened``, ``vf-filter-closed`` and ``fdb-cleared``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from harness.errors import DeadlineExceeded, ReachError
from harness.lab.host import LabHost
from harness.observe import HostEvent, Note, QmpEvent
from harness.observe.record import now_ns
from harness.plan.model import Placement, TapPlan, VfPlan
from harness.reach.links import vf_vlan_action
from harness.reach.pci import BusMasterChange, BusMasterWatch
from harness.topology.vfs import FENCE_VLAN

Record = Callable[[HostEvent | Note], None]


class FilterHandoff:
    """The hand-over on one host for one guest there, from ``begin`` to ``end``.

    Without ``acts`` it only records what the guest's driver does.
    """

    def __init__(self, host: LabHost, placement: Placement, record: Record, *, acts: bool) -> None:
        self._acts = acts
        self._host = host
        self._guest = placement.guest
        self._record = record
        self._vfs = [vf for vf in placement.vfs if vf.pair]
        self._taps = [tap for tap in placement.taps if tap.primary]
        self._watches: list[BusMasterWatch] = []
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="handoff")

    def begin(self) -> None:
        """Close the filters and open each when the guest's driver takes its VF; watch it."""
        for vf in self._vfs:
            pf = self._host.pfs[vf.host_nic]
            pci = pf.vfs[vf.index]
            when_on, when_off = [], []
            if self._acts:
                self._host.machine.links.set_vf_vlan(pf.ifname, vf.index, FENCE_VLAN)
                self._host.note("vf-filter-closed", pci, mac=vf.mac)
                when_on = [vf_vlan_action(pf.ifname, vf.index, 0)]
                when_off = [vf_vlan_action(pf.ifname, vf.index, FENCE_VLAN)]
            watch = self._host.machine.pci.watch_bus_master(
                pci,
                lambda change, vf=vf: self._changed(vf, change),  # type: ignore[misc]
                when_on=when_on,
                when_off=when_off,
            )
            self._watches.append(watch)

    def _changed(self, vf: VfPlan, change: BusMasterChange) -> None:
        """On the thread that reads from the host's agent: only record."""
        if change.lost:
            self._record(
                Note(
                    t_ns=change.at.t_ns,
                    err_ns=change.at.err_ns,
                    text=f"{self._host.name}: {change.pci} can no longer be watched: {change.lost}",
                )
            )
            return
        self._event(
            f"vf-bus-master-{'on' if change.on else 'off'}",
            change.pci,
            change.at.t_ns,
            change.at.err_ns,
            {"mac": vf.mac},
        )
        for action in change.actions:
            name = "vf-filter-opened" if change.on else "vf-filter-closed"
            data = {"mac": vf.mac}
            if action.problem:
                name, data = "vf-filter-failed", {"mac": vf.mac, "problem": action.problem}
            self._event(name, change.pci, action.done_at.t_ns, action.done_at.err_ns, data)

    def _event(self, event: str, device: str, t_ns: int, err_ns: int, data: dict[str, str]) -> None:
        self._record(
            HostEvent(
                t_ns=t_ns,
                err_ns=err_ns,
                host=self._host.name,
                guest=self._guest,
                event=event,
                device=device,
                data=data,
            )
        )

    def on_qmp(self, event: QmpEvent) -> None:
        """On QEMU's event thread: hand over what follows to a thread that may wait."""
        # QEMU says nothing when an emulated primary has been ejected; `active` follows it.
        active = event.role == "source" and event.data.get("status") == "active"
        if self._acts and active:
            for tap in self._taps:
                self._worker.submit(self._forget, tap)

    def _forget(self, tap: TapPlan) -> None:
        try:
            self._host.machine.links.delete_fdb(tap.ifname, tap.mac)
        except (ReachError, DeadlineExceeded) as error:
            self._record(Note(t_ns=now_ns(), text=f"{self._host.name}: {error}"))
            return
        self._host.note("fdb-cleared", tap.ifname, mac=tap.mac)

    def end(self) -> None:
        """Stop watching; the filters stay as they are."""
        self._worker.shutdown(wait=True)
        while self._watches:
            self._watches.pop().stop()
