"""The QEMU that is a host: booted, or loaded from a saved state; either way nobody's yet.

Neighbours: ``identity`` tells it which host it is, ``sshhost`` then reaches it, ``hoststate``
keeps the states.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, ImageError, LabError, StateError
from harness.images import State
from harness.lab.host import VM_DISKS
from harness.lab.hoststate import HostStates, load, save
from harness.lab.identity import IdentityChannel
from harness.lab.images import LabImages
from harness.lab.progress import Progress
from harness.observe import LAB, FactLog, GuestStart, HostEvent, Note
from harness.observe.record import now_ns
from harness.plan.model import HostPlan
from harness.plan.qemu import DROP, IDENTITY
from harness.reach.deadline import Deadline
from harness.reach.local import NamespaceMachine
from harness.vm import Vm

_START_S = 60.0
UP_S = 180.0
"""A host VM is up after 7 s on an idle machine of two cores; this is for busy ones."""
_WARM_S = 60.0
COLD = "it was to boot"
_DROP_OCTETS = 16 << 30
"""Of a sparse file: what is not used takes no space."""
_DROP_ALIGN = 1 << 20


class Drop:
    """A disk of a host VM to which this side writes, and which the host only reads.

    The kernel there must not have read a place before it is written: each is used once.
    Thread-safe.
    """

    def __init__(self, local: NamespaceMachine, path: str) -> None:
        self._local = local
        self._path = path
        self._used = 0
        self._lock = threading.Lock()
        local.run(["truncate", "-s", str(_DROP_OCTETS), path])

    def put(self, source: Path) -> str:
        """Put a file's content there; the shell command that gives it, on the host."""
        size = source.stat().st_size
        with self._lock:
            at = self._used
            if at + size > _DROP_OCTETS:
                raise LabError(f"{source}: no space left on the disk for what the lab hands over")
            self._used += -(-size // _DROP_ALIGN) * _DROP_ALIGN
        self._local.run(
            ["dd", f"if={source}", f"of={self._path}", "bs=1M", "conv=notrunc",
             "oflag=seek_bytes", f"seek={at}", "status=none"]
        )  # fmt: skip
        return (
            f"dd if={VM_DISKS}/{DROP} bs=1M iflag=skip_bytes,count_bytes,fullblock skip={at} "
            f"count={size} status=none"
        )


@dataclass(frozen=True, slots=True)
class HostVm:
    """A host VM whose QEMU runs. ``state``: the digest of the saved state that it was loaded
    from, so that it is up already; empty where it boots."""

    vm: Vm
    run: str
    local: NamespaceMachine
    state: str
    drop: Drop

    @property
    def loaded(self) -> bool:
        return bool(self.state)

    def identity_channel(self) -> IdentityChannel:
        """The channel by which it is told who it is."""
        connection = self.local.connect(f"{self.run}/{IDENTITY}.sock")
        return IdentityChannel(self.vm.guest, connection, self.vm.must_run)

    def console_tail(self, lines: int = 15) -> tuple[str, ...]:
        """The last lines of its console."""
        console = self.local.read_text(f"{self.run}/console.log", tail=1 << 13)
        return tuple(console.replace("\r", "").splitlines()[-lines:])


class HostStarter:
    """Starts the QEMUs of a lab's hosts, whose taps are there already. Thread-safe.

    ``warm``: from saved states, made first where there are none.
    """

    def __init__(
        self, images: LabImages, facts: FactLog, progress: Progress, *, warm: bool
    ) -> None:
        self._images = images
        self._facts = facts
        self._progress = progress
        self._warm = warm
        self._states = HostStates(images.states, images, progress.say, self._tell)

    def start(self, plan: HostPlan, accelerator: str, local: NamespaceMachine) -> HostVm:
        """Load the host, or boot it where it is not to be warm or cannot be; the reason is told.

        One that boots is not up yet.
        """
        why = COLD
        if self._warm:
            try:
                state = self._states.obtain(
                    plan,
                    local,
                    accelerator,
                    lambda into: self._save(plan, accelerator, local, into),
                )
                host = self._load(plan, accelerator, local, state)
            except (StateError, ImageError) as error:
                why = error.message
                self._tell(f"{plan.name} boots: {error}")
            else:
                self._facts.add(
                    GuestStart(
                        t_ns=now_ns(), guest=plan.name, host=LAB, how="loaded",
                        state=state.digest, made=state.made,
                    )
                )  # fmt: skip
                return host
        host = self._start(plan, accelerator, local, plan.name, recorded=True)
        self._facts.add(GuestStart(t_ns=now_ns(), guest=plan.name, host=LAB, how="booted", why=why))
        return host

    def _tell(self, text: str) -> None:
        self._progress.say(text)
        self._facts.add(Note(t_ns=now_ns(), text=text))

    def _load(
        self, plan: HostPlan, accelerator: str, local: NamespaceMachine, state: State
    ) -> HostVm:
        """StateError, its QEMU gone again, if it cannot be loaded."""
        name = f"{plan.name}.loaded"
        host = self._start(plan, accelerator, local, name, state=state.digest, recorded=True)
        try:
            load(host.vm, state)
        except StateError:
            host.vm.kill()
            raise
        return host

    def _save(self, plan: HostPlan, accelerator: str, local: NamespaceMachine, into: Path) -> None:
        """Boot the host, save its state in ``into`` and end it."""
        host = self._start(plan, accelerator, local, f"{plan.name}.saved", recorded=False)
        try:
            with host.identity_channel() as channel:
                channel.wait_up(Deadline(UP_S))
                channel.warm(Deadline(_WARM_S))
            save(host.vm, into)
        except HarnessError as error:
            error.evidence = (*error.evidence, *host.console_tail())
            host.vm.kill()
            raise

    def _start(
        self,
        plan: HostPlan,
        accelerator: str,
        local: NamespaceMachine,
        name: str,
        *,
        recorded: bool,
        state: str = "",
    ) -> HostVm:
        images, facts = self._images, self._facts
        command = plan.boot[accelerator]
        run = f"{local.scratch}/{name}"
        local.make_directory(run)
        drop = Drop(local, f"{run}/{DROP}.raw")
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
            (
                *images.toolchain(command.qemu).argv(),
                *command.resolved(tokens),
                *(("-incoming", "defer") if state else ()),
            ),
            qmp=f"{run}/qmp.sock",
            log=f"{run}/qemu.log",
            sink=facts.add if recorded else lambda _event: None,
            on_exit=exited if recorded else None,
        )
        vm.start(Deadline(_START_S))
        return HostVm(vm, run, local, state, drop)
