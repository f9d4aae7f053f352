"""The management layer's way to migrate a failover guest: the script of the kernel's page.

Documentation/networking/net_failover.rst: the source's management sets the standby's link up,
deletes the guest's address from the bridge at the physical function, detaches the primary,
clears the VF's MAC address and migrates; the destination's attaches the primary and sets the
standby's link down. Each can be left out, and is a verb of its own too.

Neighbours: ``migrating`` calls these around a migration; ``devices`` plugs and unplugs.
"""

from __future__ import annotations

from collections.abc import Collection

from harness.case import FdbDel, VfMac
from harness.errors import DeadlineExceeded, InputError
from harness.lab import LabGuest
from harness.observe import Note
from harness.observe.record import now_ns
from harness.reach.deadline import Deadline
from harness.reach.wire import AgentRefused
from harness.scenario.devices import attach, await_detached, request_detach
from harness.scenario.outcome import StepFailed
from harness.scenario.steps import Carriers, Steps
from harness.vm.session import QmpRefused

_DETACH_S = 30.0


def before_migration(
    steps: Steps, guest: LabGuest, left_out: Collection[str], deadline: Deadline
) -> None:
    """On the source. StepFailed when QEMU or the guest does not let go of a primary."""
    for pair in guest.plan.pairs:
        if pair.primary is None or pair.primary not in guest.plugged:
            continue
        if "standby-up" not in left_out:
            _set_link(guest, pair.standby, up=True)
        if "fdb-del" not in left_out:
            delete_fdb(steps, guest, pair.primary)
        if "detach" not in left_out:
            since = len(guest.current.vm.events)
            try:
                request_detach(guest, pair.primary)
                await_detached(guest, pair.primary, deadline.at_most(_DETACH_S), since=since)
            except (DeadlineExceeded, QmpRefused) as error:
                raise StepFailed(error.message) from error
        if "vf-mac" not in left_out:
            guest.current.host.give_vf_mac(guest.current.placement, pair.primary, own=False)


def after_migration(guest: LabGuest, left_out: Collection[str], told: dict[str, object]) -> None:
    """On the destination, where the guest is now."""
    for pair in guest.plan.pairs:
        if pair.primary is None:
            continue
        if "attach" not in left_out and pair.primary not in guest.plugged:
            attach(guest, pair.primary, told)
        if "standby-down" not in left_out:
            _set_link(guest, pair.standby, up=False)


def _set_link(guest: LabGuest, standby: str, *, up: bool) -> None:
    guest.current.vm.execute("set_link", {"name": standby, "up": up})
    guest.current.host.note(f"standby-link-{'up' if up else 'down'}", standby, guest=guest.name)


def delete_fdb(steps: Steps, guest: LabGuest, nic: str) -> None:
    """Delete the guest's address at the port of its NIC; that there is none is noted."""
    current = guest.current
    host, mac = current.host, guest.plan.macs[nic]
    port = host.port_of(current.placement, nic)
    try:
        host.machine.links.delete_fdb(port, mac)
    except AgentRefused as error:
        steps.lab.facts.add(Note(t_ns=now_ns(), text=f"{host.name}: {error.message}"))
        return
    host.note("fdb-cleared", port, guest=guest.name, mac=mac)


def _fdb_del(steps: Steps, it: FdbDel) -> None:
    with steps.step("fdb-del", guest=it.guest, nic=it.nic):
        delete_fdb(steps, steps.guest(it.guest), it.nic)


def _vf_mac(steps: Steps, it: VfMac) -> None:
    guest = steps.guest(it.guest)
    with steps.step("vf-mac", guest=it.guest, nic=it.nic, mac=it.mac):
        current = guest.current
        if not current.host.give_vf_mac(current.placement, it.nic, own=it.mac == "own"):
            raise InputError(f"{it.guest}: {it.nic} is not a virtual function (vfio-pci)")


CARRIERS: Carriers = {FdbDel: _fdb_del, VfMac: _vf_mac}
