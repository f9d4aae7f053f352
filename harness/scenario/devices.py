"""The verbs about devices: plug, unplug, links, and what the host takes away.

Neighbours: ``harness.case.steps_devices`` describes them; ``verbs`` has the table of all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from harness.case import Plug, SetHostLink, SetLink, SetTap, TakeAway, Unplug
from harness.errors import DeadlineExceeded, InputError
from harness.lab import LabGuest
from harness.observe import QmpEvent
from harness.plan.model import TapPlan
from harness.reach.deadline import Deadline
from harness.scenario.outcome import StepFailed
from harness.scenario.steps import Carriers, Steps
from harness.vm.session import QmpRefused

_LOOK_EVERY_S = 0.1


def plug(steps: Steps, it: Plug) -> None:
    """`netdev_add` and `device_add`. StepFailed when QEMU refuses, or does what it ought to
    refuse; InputError when the NIC is plugged already and no refusal is expected."""
    guest = steps.guest(it.guest)
    with steps.step("plug", guest=it.guest, nic=it.nic) as told:
        if it.nic in guest.plugged and it.refused is None:
            raise InputError(f"{it.guest}: {it.nic} is plugged already")
        attach(guest, it.nic, told, refused=it.refused)


def attach(
    guest: LabGuest, nic: str, told: dict[str, object], *, refused: str | None = None
) -> None:
    """`netdev_add` and `device_add`; a virtual function gets its address just before."""
    current = guest.current
    device = current.placement.devices[nic]
    current.host.give_vf_mac(current.placement, nic)
    if device.netdev and nic not in guest.plugged:
        current.vm.execute("netdev_add", device.netdev)
    done = may_refuse(
        lambda: current.vm.execute("device_add", _resolved(device.device, current.tokens)),
        refused,
        told,
    )
    if done:
        guest.plugged.append(nic)
    elif device.netdev and nic not in guest.plugged:
        current.vm.execute("netdev_del", {"id": str(device.netdev["id"])})


def unplug(steps: Steps, it: Unplug) -> None:
    """`device_del`, DEVICE_DELETED, `netdev_del`. StepFailed when QEMU refuses, or the guest
    does not let go in time."""
    guest = steps.guest(it.guest)
    with steps.step("unplug", guest=it.guest, nic=it.nic) as told:
        since = len(guest.current.vm.events)
        if not may_refuse(lambda: request_detach(guest, it.nic), it.refused, told):
            return
        try:
            await_detached(guest, it.nic, Deadline(it.within), since=since)
        except DeadlineExceeded as error:
            if it.ignored:
                told["ignored"] = True
                return
            raise StepFailed(error.message) from error
        if it.ignored:
            raise StepFailed(f"{it.guest} let go of {it.nic}, which it ought to ignore")


def request_detach(guest: LabGuest, nic: str) -> None:
    """`device_del`: the guest is asked to let go of a NIC. QmpRefused when QEMU does not."""
    guest.current.vm.execute("device_del", {"id": nic})
    guest.current.host.note("detach-requested", nic, guest=guest.name)


def await_detached(guest: LabGuest, nic: str, deadline: Deadline, *, since: int) -> None:
    """DEVICE_DELETED after position ``since``, then `netdev_del`. DeadlineExceeded when the
    guest does not let go."""
    guest.current.vm.wait_event(
        lambda event: _deleted(event, nic), deadline, since=since, what=f"DEVICE_DELETED of {nic}"
    )
    _forget(guest, nic)


def _forget(guest: LabGuest, nic: str) -> None:
    """A device is gone: what it was connected to is of no use any more."""
    device = guest.current.placement.devices[nic]
    if device.netdev:
        guest.current.vm.execute("netdev_del", {"id": str(device.netdev["id"])})
    if nic in guest.plugged:
        guest.plugged.remove(nic)


def _deleted(event: QmpEvent, device: str) -> bool:
    return event.name == "DEVICE_DELETED" and event.data.get("device") == device


def may_refuse(do: Callable[[], object], refused: str | None, told: dict[str, object]) -> bool:
    """Whether it was done. StepFailed when QEMU refuses and ``refused`` is None, when it refuses
    for another reason, or when it does what it ought to refuse."""
    try:
        do()
    except QmpRefused as error:
        told["refused"] = error.description
        if refused is None:
            raise StepFailed(error.message) from error
        if refused not in error.description:
            raise StepFailed(
                f"{error.message}; wanted it to be refused because of '{refused}'"
            ) from error
        return False
    if refused is not None:
        raise StepFailed(f"QEMU did what it ought to refuse with '{refused}'")
    return True


def _resolved(
    properties: Mapping[str, str | int | bool], tokens: Mapping[str, str]
) -> dict[str, object]:
    done: dict[str, object] = {}
    for key, value in properties.items():
        if isinstance(value, str):
            for token, meant in tokens.items():
                value = value.replace(f"@{token}@", meant)
        done[key] = value
    return done


def set_link(steps: Steps, it: SetLink) -> None:
    """QMP `set_link`: the guest sees the carrier come or go."""
    guest = steps.guest(it.guest)
    with steps.step("set-link", guest=it.guest, nic=it.nic, up=it.up) as told:
        may_refuse(
            lambda: guest.current.vm.execute("set_link", {"name": it.nic, "up": it.up}), None, told
        )


def set_tap(steps: Steps, it: SetTap) -> None:
    """The tap's netdev up or down on the host."""
    guest = steps.guest(it.guest)
    with steps.step("set-tap", guest=it.guest, nic=it.nic, up=it.up):
        guest.current.host.machine.links.set(_tap(guest, it.nic).ifname, up=it.up)


def _tap(guest: LabGuest, nic: str) -> TapPlan:
    for tap in guest.current.placement.taps:
        if tap.nic == nic:
            return tap
    raise InputError(
        f"{guest.name}: {nic} has no tap on {guest.current.host.name}",
        hint="a virtual function has none: set the link of the host's NIC",
    )


def set_host_link(steps: Steps, it: SetHostLink) -> None:
    """A host's NIC up or down."""
    host = steps.host(it.host)
    with steps.step("set-host-link", host=it.host, nic=it.nic, up=it.up):
        host.machine.links.set(host.nic_ifname(it.nic), up=it.up)


def take_away(steps: Steps, it: TakeAway) -> None:
    """Remove the virtual functions of the NIC on the host, and wait until the guest's is gone.

    A single one cannot be removed: the kernel gives virtual functions no `remove` in sysfs.
    """
    guest = steps.guest(it.guest)
    with steps.step("take-away", guest=it.guest, nic=it.nic):
        current = guest.current
        address = current.tokens.get(f"vf:{it.nic}")
        if address is None:
            raise InputError(f"{it.guest}: {it.nic} is not a virtual function (vfio-pci)")
        function = next(vf for vf in current.placement.vfs if vf.nic == it.nic)
        owner = current.host.pfs[function.host_nic].pci
        machine, devices = current.host.machine, "/sys/bus/pci/devices"
        # The kernel keeps the writer waiting until vfio's user has let go.
        removal = machine.spawn(
            ["sh", "-c", f"echo 0 > {devices}/{owner}/sriov_numvfs"],
            log=f"{current.run}/take-away.log",
        )
        deadline, pause = Deadline(it.within), threading.Event()
        while machine.exists(f"{devices}/{address}"):
            if deadline.expired or removal.status:
                ended = "waits for its user" if removal.running else "has refused"
                raise StepFailed(
                    f"{current.host.name}: {address} is still there; the kernel {ended}",
                    evidence=removal.log_tail(),
                )
            pause.wait(_LOOK_EVERY_S)
        current.host.note("vf-taken-away", address)
        if it.nic in guest.plugged:
            guest.plugged.remove(it.nic)


CARRIERS: Carriers = {
    Plug: plug,
    Unplug: unplug,
    SetLink: set_link,
    SetTap: set_tap,
    SetHostLink: set_host_link,
    TakeAway: take_away,
}
