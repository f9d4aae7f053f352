"""Waiting for a condition of a guest: its netdevs, its QEMU's events, its QEMU's words.

Neighbours: ``harness.case.conditions`` describes them; ``verbs`` has the step.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from harness.case import Condition
from harness.case.netdevs import Role
from harness.errors import DeadlineExceeded
from harness.lab import LabGuest
from harness.observe import VLAN_DRIVER, LinkState, QmpEvent
from harness.reach.deadline import Deadline
from harness.scenario.outcome import StepFailed
from harness.scenario.steps import LOG_TAIL, Steps

_LOOK_EVERY_S = 0.1

_ACCEPTED: dict[str, Sequence[str]] = {
    "up": ("up",),
    "present": ("up", "present", "down"),
    "down": ("down",),
    "absent": ("absent",),
}


def wait_until(steps: Steps, wanted: Condition, deadline: Deadline) -> None:
    """Wait until it holds. StepFailed says what was last seen."""
    guest = steps.guest(wanted.guest)
    try:
        if wanted.role is not None:
            _netdev(guest, wanted, wanted.role, deadline)
        elif wanted.event is not None:
            _event(steps, guest, wanted, deadline)
        else:
            _words(steps, guest, wanted, deadline)
    except DeadlineExceeded as error:
        raise StepFailed(error.message) from error


def _netdev(guest: LabGuest, wanted: Condition, role: Role, deadline: Deadline) -> None:
    mac = next(pair.mac for pair in guest.plan.pairs if pair.standby == wanted.pair)
    # What is known of the guest may be older than the step before this one.
    guest.link.wait_monitoring(deadline.left)  # it may just be booting
    guest.link.catch_up(timeout=deadline.left)
    guest.links.wait(
        lambda links: role_state(links, mac, role) in _ACCEPTED[wanted.state or ""],
        deadline,
        what=f"{guest.name}: {wanted}",
        show=lambda links: role_state(links, mac, role),
    )


def _event(steps: Steps, guest: LabGuest, wanted: Condition, deadline: Deadline) -> None:
    def is_it(event: QmpEvent) -> bool:
        about = {event.data.get(key) for key in ("device", "device-id", "name")}
        return event.name == wanted.event and (wanted.device is None or wanted.device in about)

    since = steps.mark_of(guest).events
    guest.current.vm.wait_event(is_it, deadline, since=since, what=str(wanted))


def _words(steps: Steps, guest: LabGuest, wanted: Condition, deadline: Deadline) -> None:
    """QEMU's output is a file on another machine: nothing announces a new line there."""
    instance, text = guest.current, wanted.qemu_says or ""
    pause = threading.Event()
    since = steps.mark_of(guest).log
    while True:
        said = instance.host.machine.read_text(instance.vm.log, tail=LOG_TAIL)[since:]
        if text in said:
            return
        if deadline.expired:
            raise deadline.error(f"{guest.name}: {wanted}", said.strip()[-500:] or "nothing")
        pause.wait(min(_LOOK_EVERY_S, max(deadline.left, 0.001)))


def role_state(links: Iterable[LinkState], mac: str, role: Role) -> str:
    """``up``, ``down``, ``present`` or ``absent``: a role's netdev in the pair with this MAC.

    The failover netdev and the standby have their drivers; the primary is what is neither.
    ``up`` means operationally up, with carrier, and (but for the failover netdev) enslaved;
    ``down`` is without carrier; ``present`` neither.
    """
    for link in links:
        if link.mac != mac or link.driver == VLAN_DRIVER or _role(link) != role:
            continue
        enslaved = role == "failover" or link.master is not None
        if enslaved and link.operstate == "up" and link.carrier:
            return "up"
        return "down" if not link.carrier else "present"
    return "absent"


def _role(link: LinkState) -> Role:
    if link.driver == "net_failover":
        return "failover"
    return "standby" if link.driver == "virtio_net" else "primary"
