"""Hosts that are reached by ssh: VMs that the lab boots, and real machines.

A booted VM *is* an ssh host: after ``boot_host`` nothing in the lab treats the two
differently, except that a VM mounts its images from disks and a real machine gets copies
(``imagecopy``).
"""

from __future__ import annotations

import socket
from pathlib import Path

from harness.errors import HarnessError, LabError, ReachError
from harness.lab.identity import Identity, IdentityChannel, LabKey
from harness.lab.images import LabImages
from harness.observe import LAB, FactLog, HostEvent
from harness.observe.record import now_ns
from harness.plan.model import HostPlan
from harness.plan.qemu import IDENTITY
from harness.reach.deadline import Deadline
from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import Sandbox
from harness.reach.ssh import SshMachine, SshTarget
from harness.vm import Vm

_BOOT_S = 60.0
_REACH_S = 180.0
"""A host VM answers after 7 s on an idle machine of two cores; this is for busy ones."""

_ANSWER_S = 30.0
"""A real machine is up already; this is for one that is busy, or far away."""


def boot_host(
    plan: HostPlan,
    accelerator: str,
    local: NamespaceMachine,
    images: LabImages,
    facts: FactLog,
) -> Vm:
    """Start the QEMU that is the host; its taps are there already."""
    command = plan.boot[accelerator]
    run = run_directory(local, plan.name)
    local.make_directory(run)
    tokens = {"run": run, "name": plan.name}
    tokens |= {f"port:{link.nic}": link.port for link in plan.links}
    tokens |= {ref.token: str(images.directory(ref)) for ref in plan.boot_images}
    tokens |= {f"disk:{ref.token}": str(images.disk(ref)) for ref in plan.carried}

    def exited(vm: Vm) -> None:
        facts.add(
            HostEvent(
                t_ns=now_ns(),
                host=LAB,
                event="qemu-exited",
                guest=plan.name,
                data={"status": str(vm.exit_status)},
            )
        )

    vm = Vm(
        plan.name,
        local,
        (*images.toolchain(command.qemu).argv(), *command.resolved(tokens)),
        qmp=f"{run}/qmp.sock",
        log=f"{run}/qemu.log",
        sink=facts.add,
        on_exit=exited,
    )
    vm.start(Deadline(_BOOT_S))
    return vm


def reach_host(
    plan: HostPlan, sandbox: Sandbox, key: LabKey, local: NamespaceMachine, vm: Vm | None
) -> SshMachine:
    """Connect to a host; a VM is told first which one it is."""
    if vm is None:
        return _reach_real(plan)
    deadline = Deadline(_REACH_S)
    if plan.management_address is None:
        raise LabError(f"{plan.name}: has no address on the management network")
    address = plan.management_address

    def dial(seconds: float) -> socket.socket:
        vm.must_run()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = sandbox.socket(sandbox.root, family, socket.SOCK_STREAM)
        made.settimeout(seconds)
        try:
            made.connect((address, 22))
        except OSError:
            made.close()
            raise
        return made

    identity = Identity(plan, key.public)
    try:
        with identity_channel(plan.name, local, vm) as channel:
            channel.wait_up(deadline)
            channel.identify(identity, deadline)
        target = SshTarget(address, key.path, host_key=identity.host_key.public, dial=dial)
        return SshMachine(plan.name, target, deadline)
    except HarnessError as error:
        console = local.read_text(f"{run_directory(local, plan.name)}/console.log", tail=1 << 13)
        error.evidence = (*error.evidence, *console.replace("\r", "").splitlines()[-15:])
        raise


def run_directory(local: NamespaceMachine, name: str) -> str:
    """Where the QEMU that is host ``name`` has its sockets and logs."""
    return f"{local.scratch}/{name}"


def identity_channel(name: str, local: NamespaceMachine, vm: Vm) -> IdentityChannel:
    """The identity channel of the host VM ``name``, which runs."""
    path = f"{run_directory(local, name)}/{IDENTITY}.sock"
    return IdentityChannel(name, local.connect(path), vm.must_run)


def _reach_real(plan: HostPlan) -> SshMachine:
    """Connect to a machine that is there, as root: by itself, or by sudo without a password."""
    if plan.ssh is None:
        raise LabError(f"{plan.name}: has no ssh address")
    access = plan.ssh
    known = Path(access.known_hosts) if access.known_hosts else None
    target = SshTarget(access.address, Path(access.key), access.user, access.port, known)
    other = access.user != "root"
    try:
        return SshMachine(plan.name, target, Deadline(_ANSWER_S), become_root=other, booting=False)
    except ReachError as error:
        refusal = [line for line in error.evidence if line.startswith("sudo:")]
        if other and refusal:
            raise ReachError(
                f"{plan.name}: cannot become root: {refusal[-1]}",
                hint=f"allow {access.user} to use sudo there without a password",
            ) from error
        raise
