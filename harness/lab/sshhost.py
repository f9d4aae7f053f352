"""Hosts that are reached by ssh: VMs that the lab boots, and real machines.

A booted VM *is* an ssh host: once it has been told which one (``identity``), nothing in the
lab treats the two differently, except that a VM mounts its images from disks and a real
machine gets copies (``imagecopy``).
"""

from __future__ import annotations

import socket
from pathlib import Path

from harness.errors import HarnessError, LabError, ReachError
from harness.lab.hostvm import UP_S, HostVm
from harness.lab.identity import AGENT_PORT, Identity, LabKey
from harness.plan.model import HostPlan
from harness.reach.deadline import Deadline
from harness.reach.sandbox import Sandbox
from harness.reach.ssh import SshMachine, SshTarget

_ANSWER_S = 30.0
"""A real machine is up already; this is for one that is busy, or far away."""


def reach_host(plan: HostPlan, sandbox: Sandbox, key: LabKey, booted: HostVm | None) -> SshMachine:
    """Connect to a host; a VM is told first which one it is."""
    if booted is None:
        return _reach_real(plan)
    deadline = Deadline(UP_S)
    if plan.management_address is None:
        raise LabError(f"{plan.name}: has no address on the management network")
    address = plan.management_address

    def dial(seconds: float) -> socket.socket:
        booted.vm.must_run()
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
        with booted.identity_channel() as channel:
            if not booted.loaded:
                channel.wait_up(deadline)
            channel.identify(identity, deadline)
        target = SshTarget(
            address,
            key.path,
            host_key=identity.host_key.public,
            dial=dial,
            agent_port=AGENT_PORT,
        )
        return SshMachine(plan.name, target, deadline)
    except HarnessError as error:
        error.evidence = (*error.evidence, *booted.console_tail())
        raise


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
