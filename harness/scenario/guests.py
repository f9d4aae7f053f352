"""The verbs about a whole guest: start, stop and go on, reset, reboot; and `repeat`.

Neighbours: ``harness.case.steps_guests`` describes them; ``verbs`` has the table of all.
"""

from __future__ import annotations

from harness.case import Cont, Reboot, Repeat, Reset, Start, Stop
from harness.errors import DeadlineExceeded, InputError, LabError, ReachError, VmExited
from harness.lab import LabGuest
from harness.observe import GuestBoot
from harness.observe.record import now_ns
from harness.reach.deadline import Deadline
from harness.scenario.outcome import StepFailed
from harness.scenario.steps import Carriers, Steps


def start(steps: Steps, it: Start) -> None:
    """Start a guest's QEMU and wait until the guest is up. StepFailed when QEMU refuses, and
    when it starts although it ought not to."""
    guest = steps.guest(it.guest)
    with steps.step("start", guest=it.guest) as told:
        if guest.running:
            raise InputError(
                f"{it.guest}: runs already", hint="write `started: off` at it in the topology"
            )
        try:
            guest.start(steps.host(guest.plan.home))
        except VmExited as error:
            said = "\n".join(error.evidence)
            told["refused"] = said
            for instance in guest.instances:
                guest.retire(instance, steps.lab.logs)
            if it.refused is None:
                raise StepFailed(error.message, evidence=error.evidence) from error
            if it.refused not in said:
                raise StepFailed(
                    f"{error.message}; it does not say '{it.refused}', it says: {said}"
                ) from error
            return
        guest.wait_ready()
        if it.refused is not None:
            raise StepFailed(f"QEMU started, although it ought to refuse with '{it.refused}'")


def stop(steps: Steps, it: Stop) -> None:
    """QMP `stop`."""
    guest = steps.guest(it.guest)
    with steps.step("stop", guest=it.guest):
        guest.current.vm.pause()


def cont(steps: Steps, it: Cont) -> None:
    """QMP `cont`."""
    guest = steps.guest(it.guest)
    with steps.step("cont", guest=it.guest):
        guest.current.vm.resume()


def reset(steps: Steps, it: Reset) -> None:
    """QMP `system_reset`, and wait until the guest is up again."""
    guest = steps.guest(it.guest)
    with steps.step("reset", guest=it.guest):
        since = len(guest.current.vm.events)
        guest.current.vm.execute("system_reset")
        _boot_again(steps, guest, Deadline(it.within), since, wait=it.wait)


def reboot(steps: Steps, it: Reboot) -> None:
    """The guest's own reboot, and wait until it is up again."""
    guest = steps.guest(it.guest)
    with steps.step("reboot", guest=it.guest):
        since = len(guest.current.vm.events)
        # In the background: the agent is to answer before it ends.
        guest.machine.run(["sh", "-c", "(sleep 0.2; reboot -f) >/dev/null 2>&1 &"], timeout=10)
        _boot_again(steps, guest, Deadline(it.within), since, wait=it.wait)


def _boot_again(
    steps: Steps, guest: LabGuest, deadline: Deadline, since: int, *, wait: bool
) -> None:
    """Wait for the reset and for the guest to be up. StepFailed when it does not come."""
    try:
        guest.current.vm.wait_event(
            lambda event: event.name == "RESET", deadline, since=since, what="RESET"
        )
        guest.begin_anew()
        steps.lab.facts.add(GuestBoot(t_ns=now_ns(), guest=guest.name))
        if not wait:
            return
        guest.wait_ready(deadline)
        # The netdevs from which the new kernel's messages go on.
        guest.link.snapshot("boot", timeout=deadline.left)
    except (DeadlineExceeded, ReachError) as error:
        raise StepFailed(f"{guest.name} did not come up again: {error.message}") from error
    except LabError as error:
        raise StepFailed(f"{guest.name} did not come up again: {error}") from error


def repeat(steps: Steps, it: Repeat) -> None:
    """Carry the steps out ``times`` times. The error of the first that fails goes on."""
    with steps.step("repeat", times=it.times):
        for turn in range(1, it.times + 1):
            with steps.round(turn):
                for one in it.steps:
                    steps.carry_out(one)


CARRIERS: Carriers = {
    Start: start,
    Stop: stop,
    Cont: cont,
    Reset: reset,
    Reboot: reboot,
    Repeat: repeat,
}
