"""The QEMU that is a host: booted, or loaded from a saved state; either way nobody's yet.

Neighbours: ``identity`` tells it which host it is, ``sshhost`` then reaches it, ``hoststate``
keeps the states.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, StateError
from harness.images import State
from harness.lab import hoststate
from harness.lab.identity import IdentityChannel
from harness.lab.images import LabImages
from harness.observe import LAB, FactLog, HostEvent
from harness.observe.record import now_ns
from harness.plan.model import HostPlan
from harness.plan.qemu import IDENTITY
from harness.reach.deadline import Deadline
from harness.reach.local import NamespaceMachine
from harness.vm import Vm

_START_S = 60.0
UP_S = 180.0
"""A host VM is up after 7 s on an idle machine of two cores; this is for busy ones."""
_WARM_S = 60.0


@dataclass(frozen=True, slots=True)
class HostVm:
    """A host VM whose QEMU runs. ``loaded``: from a saved state, so that it is up already."""

    vm: Vm
    run: str
    local: NamespaceMachine
    loaded: bool

    def identity_channel(self) -> IdentityChannel:
        """The channel by which it is told who it is."""
        connection = self.local.connect(f"{self.run}/{IDENTITY}.sock")
        return IdentityChannel(self.vm.guest, connection, self.vm.must_run)

    def console_tail(self, lines: int = 15) -> tuple[str, ...]:
        """The last lines of its console."""
        console = self.local.read_text(f"{self.run}/console.log", tail=1 << 13)
        return tuple(console.replace("\r", "").splitlines()[-lines:])


class HostStarter:
    """Starts the QEMUs of hosts, whose taps are there already, with an accelerator."""

    def __init__(self, local: NamespaceMachine, images: LabImages, facts: FactLog) -> None:
        self._local = local
        self._images = images
        self._facts = facts

    def boot(self, plan: HostPlan, accelerator: str) -> HostVm:
        """Boot the host; it is not up yet."""
        return self._start(plan, accelerator, plan.name, loaded=False, recorded=True)

    def load(self, plan: HostPlan, accelerator: str, state: State) -> HostVm:
        """Load the host from ``state``. StateError, its QEMU gone, if that does not work."""
        host = self._start(plan, accelerator, f"{plan.name}.loaded", loaded=True, recorded=True)
        try:
            hoststate.load(host.vm, state)
        except StateError:
            host.vm.kill()
            raise
        data = {"state": state.digest, "made": state.made}
        self._facts.add(
            HostEvent(t_ns=now_ns(), host=LAB, event="host-loaded", guest=plan.name, data=data)
        )
        return host

    def save(self, plan: HostPlan, accelerator: str, into: Path) -> None:
        """Boot the host, save its state in ``into`` and end it."""
        host = self._start(plan, accelerator, f"{plan.name}.saved", loaded=False, recorded=False)
        try:
            with host.identity_channel() as channel:
                channel.wait_up(Deadline(UP_S))
                channel.warm(Deadline(_WARM_S))
            hoststate.save(host.vm, into)
        except HarnessError as error:
            error.evidence = (*error.evidence, *host.console_tail())
            host.vm.kill()
            raise

    def _start(
        self, plan: HostPlan, accelerator: str, name: str, *, loaded: bool, recorded: bool
    ) -> HostVm:
        images, facts = self._images, self._facts
        command = plan.boot[accelerator]
        run = f"{self._local.scratch}/{name}"
        self._local.make_directory(run)
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
            self._local,
            (
                *images.toolchain(command.qemu).argv(),
                *command.resolved(tokens),
                *(("-incoming", "defer") if loaded else ()),
            ),
            qmp=f"{run}/qmp.sock",
            log=f"{run}/qemu.log",
            sink=facts.add if recorded else lambda _event: None,
            on_exit=exited if recorded else None,
        )
        vm.start(Deadline(_START_S))
        return HostVm(vm, run, self._local, loaded)
