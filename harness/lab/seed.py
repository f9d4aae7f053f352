"""Makes the saved state of a guest: boots it without its primaries, and saves it by QEMU's
migration stream.

The guest is the one of the lab in everything but its primaries, which could not be saved: a
state is loaded as a migration arrives, and gets its primaries as after one. It boots on taps
that lead nowhere, so that no network of the lab sees it, and what it says is no fact of the
run. It is saved paused: the stream is written in one pass.

Neighbours: ``statekey`` says what the state depends on, ``statestream`` writes it, ``warm``
decides when there is need of one, ``guest`` loads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import (
    HarnessError,
    LabError,
    ReachError,
    StateError,
    VmExited,
)
from harness.images import Reporter, Toolchain
from harness.lab.host import LabHost
from harness.lab.images import LabImages
from harness.lab.refusal import refused
from harness.lab.statestream import save_stream
from harness.plan.model import GuestPlan
from harness.reach.deadline import Deadline
from harness.reach.guest import GuestAgent, GuestMachine
from harness.reach.machine import Machine
from harness.reach.sandbox import Sandbox
from harness.traffic.guestlink import GuestLink
from harness.vm import Vm

STATE, CONSOLE = "state", "console.log"
"""Files of a guest's state: QEMU's stream, and what the guest wrote while it booted."""
MAKER = "3"
"""Of what this module does to a guest before it saves it: another one is another state."""
_START_S = 60.0
_READY_S = 240.0
_END_S = 20.0
_SETTLE = """\
until [ -e /run/lab-ready ]; do sleep 0.02; done
sync
echo 3 > /proc/sys/vm/drop_caches
while read name kib unit; do [ $name = MemFree: ] && free=$kib; done < /proc/meminfo
count=$((free / 1024 - 32))
[ $count -gt 256 ] && count=256
[ $count -gt 0 ] && dd if=/dev/zero of=/zeros bs=1M count=$count 2> /dev/null
rm -f /zeros
"""
"""Run in the guest: it has set its addresses, and keeps nothing in memory without need. What is
free holds remains of the boot (the archive of its initramfs); pages of zeros are not saved."""


def make_state(
    plan: GuestPlan,
    host: LabHost,
    images: LabImages,
    sandbox: Sandbox,
    accelerator: str,
    into: Path,
    report: Reporter,
) -> None:
    """Boot the guest on ``host`` and leave its state in the directory ``into``.

    StateError when it cannot be saved; any other error is one of its boot.
    """
    machine = host.machine
    run = f"{machine.scratch}/{plan.name}.seed"
    machine.make_directory(run)
    with _taps(plan, host):
        vm = _vm(plan, host, images, accelerator, run)
        try:
            with report.step("booting it to save it"):
                _start(vm, images.toolchain(plan.placements[host.name].seed[accelerator].qemu))
                _boot(vm, run)
            with report.step("saving it"):
                save_stream(vm, host, sandbox, run, into / STATE)
        finally:
            if vm.process is not None:
                vm.quit(Deadline(_END_S))
    try:
        machine.get(f"{run}/console.log", into / CONSOLE)
    except (ReachError, OSError) as error:
        raise StateError(f"{vm.title}: its console cannot be kept: {error}") from error


@contextmanager
def _taps(plan: GuestPlan, host: LabHost) -> Iterator[None]:
    """The taps of its NICs, in no bridge."""
    links = host.machine.links
    taps = [tap for tap in plan.placements[host.name].taps if not tap.primary]
    made = []
    try:
        for tap in taps:
            links.create_tap(tap.ifname, queues=tap.queues)
            made.append(tap.ifname)
            links.set(tap.ifname, mtu=tap.mtu, up=True)
        yield
    finally:
        for ifname in made:
            links.delete(ifname)


def _vm(plan: GuestPlan, host: LabHost, images: LabImages, accelerator: str, run: str) -> Vm:
    command = plan.placements[host.name].seed[accelerator]
    tokens = {"run": run}
    for ref in plan.images[host.name]:
        tokens[ref.token] = host.images_at(ref, str(images.directory(ref)))
    qemu = images.toolchain(command.qemu)
    at = host.images_at(plan.images[host.name][0], str(qemu.root))
    return Vm(
        f"{plan.name} (to be saved)",
        host.machine,
        (*qemu.argv(at), *command.resolved(tokens)),
        qmp=f"{run}/qmp.sock",
        log=f"{run}/qemu.log",
        sink=lambda _event: None,
    )


def _start(vm: Vm, qemu: Toolchain) -> None:
    try:
        vm.start(Deadline(_START_S))
    except VmExited as error:
        raise refused(
            error, vm.title, version=qemu.version, recipe=qemu.name, argv=vm.argv
        ) from error


def _boot(vm: Vm, run: str) -> None:
    """Wait until everything in the guest answers, and let it settle."""
    machine, deadline = vm.machine, Deadline(_READY_S)
    link, agent = GuestLink(vm.guest, lambda _fact: None), GuestAgent(vm.guest)
    try:
        link.attach(machine.connect(f"{run}/probe.sock"))
        link.wait_monitoring(deadline.left)
        agent.attach(machine.connect(f"{run}/ga.sock"))
        GuestMachine(agent).run(["sh", "-c", _SETTLE], timeout=deadline.left)
    except LabError as error:
        error.evidence = (*error.evidence, *_tail(machine, f"{run}/console.log"))
        raise
    finally:
        link.close()
        agent.detach()


def _tail(machine: Machine, path: str) -> tuple[str, ...]:
    try:
        return tuple(machine.read_text(path, tail=1 << 14).replace("\r", "").splitlines()[-15:])
    except HarnessError as error:
        return (f"(the console cannot be read: {error.message})",)
