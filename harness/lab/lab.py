"""A running lab: the only place where things are made, and unmade in reverse.

``up`` walks the plan's steps; ``down`` keeps the logs and takes everything away. What a
step made is registered for removal as soon as it exists. Everything on this machine lives
in one sandbox, which the kernel clears whatever becomes of this process.

Neighbours: ``host`` and ``guest`` are the parts; ``scenario`` acts on a lab that is up.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Literal

from harness.errors import CleanupError, HarnessError, InputError, Interrupted, LabError
from harness.lab.bridges import BridgeWatch, guests_by_mac, ports_of_host, ports_of_lab
from harness.lab.capacity import capacity
from harness.lab.claims import Claims, default_directory
from harness.lab.guest import LabGuest
from harness.lab.host import LabHost
from harness.lab.hostlog import HostLog
from harness.lab.hostvm import HostStarter, HostVm
from harness.lab.identity import LabKey, make_lab_key
from harness.lab.imagecopy import copy_images
from harness.lab.images import LabImages
from harness.lab.progress import Progress
from harness.lab.sshhost import reach_host
from harness.lab.statekey import emulation
from harness.lab.trials import Trials
from harness.lab.walk import walk
from harness.lab.warm import start_guest
from harness.lab.wiring import Wiring
from harness.observe import LAB, FactLog
from harness.plan.model import GuestPlan, Plan, Step
from harness.reach.deadline import Deadline
from harness.reach.guest import GuestMachine
from harness.reach.local import NamespaceMachine
from harness.reach.machine import Machine
from harness.reach.sandbox import Sandbox
from harness.topology.model import Accelerator as Wanted
from harness.vm import Vm

_TURN_S = 3600.0
"""How long a lab waits for others to go down; a queue of nested labs may be long."""


class LabState(StrEnum):
    """What a lab is doing."""

    NEW = "new"
    GOING_UP = "going up"
    UP = "up"
    GOING_DOWN = "going down"
    DOWN = "down"


class Lab:
    """A lab made from a plan. Use as a context manager, or call ``down`` whatever happens."""

    def __init__(
        self,
        plan: Plan,
        images: LabImages,
        facts: FactLog,
        *,
        logs: Path,
        progress: Progress | None = None,
        name: str = "lab",
        watch_taps: bool = False,
        warm: bool = True,
    ) -> None:
        self.plan = plan
        self.warm = warm
        """Whether machines are loaded from saved states where that can be, or all boot."""
        self.watch_taps = watch_taps
        """Whether the taps of failover pairs are captured on; costs the hosts a little."""
        self.name = name
        self.facts = facts
        self.logs = logs
        self.progress = progress or Progress(None)
        self.images = images
        self.sandbox = Sandbox(name)
        self.hosts: dict[str, LabHost] = {}
        self.guests: dict[str, LabGuest] = {}
        self.namespaces: dict[str, NamespaceMachine] = {}
        self.host_vms: dict[str, Vm] = {}
        self._booted: dict[str, HostVm] = {}
        self._starter = HostStarter(images, facts, self.progress, warm=warm)
        self._state = LabState.NEW
        self._cancel = threading.Event()
        self._undo = ExitStack()
        self._undo_lock = threading.Lock()
        self._problems: list[str] = []
        self._abandoned = False
        self._watches: list[BridgeWatch | HostLog] = []
        self._local: NamespaceMachine | None = None
        self._key = make_lab_key()
        self._trials = Trials(images, facts)

    @property
    def state(self) -> LabState:
        return self._state

    @property
    def key(self) -> LabKey:
        """The key with which this lab, and nobody else, gets into the VMs that it boots."""
        return self._key

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.down()

    # -- up --------------------------------------------------------------------------------

    def up(self) -> None:
        """Bring everything up. On any error, what exists stays until ``down``."""
        if self._state is not LabState.NEW:
            raise LabError(f"lab {self.name}: it is {self._state}; a lab goes up once")
        self._state = LabState.GOING_UP
        with self.progress.step("images"):
            self.images.prepare(self.plan)
        with self.progress.step("turn"):
            claim = Claims(default_directory(), capacity()).take(
                self.name,
                self.plan.needs,
                deadline=Deadline(_TURN_S),
                cancel=self._cancel,
                say=self.progress.say,
            )
            self._later("claim", claim.release)
        with self.progress.step("sandbox"):
            self.sandbox.start()
            self._later("sandbox", self.sandbox.close)
            self._local = NamespaceMachine(self.sandbox, self.sandbox.root, name=LAB)
            self._later(LAB, self._local.close, inside=True)
            self._watch_bridges(LAB, self._local, ports_of_lab(self.plan))
        walk(self.plan.steps, self._step, cancel=self._cancel, abandon=self._abandon)
        if self._cancel.is_set():
            raise Interrupted(f"lab {self.name}: interrupted while it was going up")
        for name, plan in self.plan.guests.items():
            if not plan.started:
                self._guest(name)
        with self.progress.step("kernel logs of hosts"):
            for name in self.host_vms:
                log = HostLog(name, self.hosts[name].machine, self.facts.add)
                log.begin()
                self._watches.append(log)
        self._state = LabState.UP

    def cancel(self) -> None:
        """Start no further step; ``up`` then ends with Interrupted. For signal handlers."""
        self._cancel.set()

    def _abandon(self) -> None:
        """Kill all that is on this machine, so that the steps under way end at once instead of
        at their deadlines. What was done to a real machine is still undone by ``down``."""
        self._cancel.set()
        self._abandoned = True
        try:
            self.sandbox.close()
        except HarnessError as error:
            self._problems.append(f"sandbox: {error}")

    def _later(self, what: str, undo: Callable[[], object], *, inside: bool = False) -> None:
        """Register the removal of something that exists now; ``inside``: of the sandbox, so
        that it is gone already when that was abandoned."""

        def guarded() -> None:
            if inside and self._abandoned:
                return
            try:
                undo()
            except HarnessError as error:
                self._problems.append(f"{what}: {error}")

        with self._undo_lock:
            self._undo.callback(guarded)

    def _step(self, step: Step) -> None:
        verb, _, name = step.id.partition(" ")
        do: Mapping[str, Callable[[str], None]] = {
            "network": lambda network: self._wiring.network(network),
            "namespace": self._namespace,
            "boot": self._boot,
            "reach": self._reach,
            "wire": self._wire,
            "accelerator": self._accelerator,
            "start": self._start,
            "ready": lambda guest: self.guests[guest].wait_ready(),
        }
        with self.progress.step(step.id, after=step.needs):
            do[verb](name)

    @property
    def local(self) -> NamespaceMachine:
        """The lab's own namespace, where the networks' bridges are."""
        if self._local is None:
            raise LabError(f"lab {self.name}: it is {self._state}")
        return self._local

    @property
    def _wiring(self) -> Wiring:
        return Wiring(self.plan, self.local)

    def _namespace(self, name: str) -> None:
        machine = NamespaceMachine(self.sandbox, self.sandbox.namespace(name), name=name)
        self._later(name, machine.close, inside=True)
        self.namespaces[name] = machine
        plan = next(one for one in self.plan.namespaces if one.name == name)
        self._wiring.plug(plan.links, machine)

    def _boot(self, name: str) -> None:
        plan = self.plan.hosts[name]
        self._wiring.taps(plan.links)
        accelerator = plan.accelerator.value
        if plan.accelerator is Wanted.AUTO:
            qemu = next(iter(plan.boot.values())).qemu
            accelerator = self._trials.works(LAB, self.local, qemu)
        self._trials.given(name, accelerator)
        booted = self._starter.start(plan, accelerator, self.local)
        self._booted[name] = booted
        self.host_vms[name] = booted.vm

    def _reach(self, name: str) -> None:
        plan = self.plan.hosts[name]
        if plan.kind == "netns":
            local = NamespaceMachine(self.sandbox, self.sandbox.namespace(name), name=name)
            self._later(name, local.close, inside=True)
            self._wiring.plug(plan.links, local)
            self.hosts[name] = LabHost(plan, local, self.facts.add)
            return
        booted = self._booted.get(name)
        machine = reach_host(plan, self.sandbox, self._key, booted)
        hand_over = booted.drop.put if booted else None
        self.hosts[name] = LabHost(plan, machine, self.facts.add, hand_over)
        # A host VM goes with its QEMU; a real machine has to be left as it was found.
        if plan.kind == "ssh":
            self._later(name, machine.close)
            copy_images(machine, self.hosts[name], self.images, self.progress.say)

    def _wire(self, name: str) -> None:
        host = self.hosts[name]
        host.wire()
        nics = {nic: host.nic_ifname(nic) for nic in host.plan.nics}
        self._watch_bridges(name, host.machine, ports_of_host(self.plan, name, nics))

    def _watch_bridges(self, name: str, machine: Machine, ports: Mapping[str, str]) -> None:
        watch = BridgeWatch(name, machine, ports, guests_by_mac(self.plan), self.facts.add)
        watch.begin()
        self._watches.append(watch)

    def _accelerator(self, name: str) -> None:
        host = self.hosts[name]
        refs = {guest.images[name][0] for guest in self.plan.guests.values()}
        works = []
        for ref in sorted(refs, key=lambda r: r.name):
            at = host.images_at(ref, str(self.images.directory(ref)))
            # Namespaces share this machine's processor: one trial answers for all of them.
            place = LAB if host.plan.kind == "netns" else name
            state = self._booted[name].state if name in self._booted else ""
            works.append(self._trials.works(place, host.machine, ref.name, at, state=state))
        host.accelerator = "kvm" if all(one == "kvm" for one in works) else "tcg"

    def _start(self, name: str) -> None:
        guest = self._guest(name)
        home = guest.plan.home
        start_guest(
            guest,
            self.hosts[home],
            self.images,
            self.sandbox,
            self.facts,
            self.progress,
            logs=self.logs,
            warm=self.warm,
            emulated_by=self._emulation(home),
        )

    def _guest(self, name: str) -> LabGuest:
        plan = self.plan.guests[name]
        guest = LabGuest(
            plan,
            self.images,
            self.facts,
            accelerator=self._accelerator_for(plan),
            filter_handoff=self.plan.filter_handoff,
            watch_taps=self.watch_taps,
        )
        self.guests[name] = guest
        self._later(name, guest.close)
        return guest

    def _emulation(self, host: str) -> str:
        """What a host VM's processor comes from; empty for other hosts."""
        vm = self.host_vms.get(host)
        if vm is None:
            return ""
        qemu = self.images.toolchain(next(iter(self.plan.hosts[host].boot.values())).qemu)
        kernel = self.hosts[host].machine.terms.kernel
        return emulation(vm.argv, f"{qemu.version} {qemu.digest}", kernel)

    def _accelerator_for(self, guest: GuestPlan) -> Literal["kvm", "tcg"]:
        """One accelerator for all the hosts that the guest can be on: source and destination
        of a migration have to emulate the same processor."""
        if guest.accelerator is not Wanted.AUTO:
            return "kvm" if guest.accelerator is Wanted.KVM else "tcg"
        hosts = [self.hosts[p.host] for p in guest.placements.values() if not p.obstacle]
        return "kvm" if all(host.accelerator == "kvm" for host in hosts) else "tcg"

    # -- use -------------------------------------------------------------------------------

    def machine(self, name: str) -> Machine | GuestMachine:
        """A namespace, host or guest by its name. InputError lists what there is."""
        if name in self.guests:
            return self.guests[name].machine
        if name in self.hosts:
            return self.hosts[name].machine
        if name in self.namespaces:
            return self.namespaces[name]
        there = ", ".join([*self.namespaces, *self.hosts, *self.guests])
        raise InputError(f"lab {self.name}: no machine {name!r}", hint=f"there are: {there}")

    # -- down ------------------------------------------------------------------------------

    def down(self) -> None:
        """Keep the logs, end everything, remove everything. CleanupError names what is left."""
        if self._state in (LabState.DOWN, LabState.NEW):
            self._state = LabState.DOWN
            return
        self._state = LabState.GOING_DOWN
        with self.progress.step("down"):
            self._keep_logs()
            for watch in () if self._abandoned else self._watches:
                watch.end()
            self._undo.close()
        self.progress.close()
        self._state = LabState.DOWN
        if self._problems:
            raise CleanupError(
                f"lab {self.name}: not everything could be removed", evidence=self._problems
            )

    def _keep_logs(self) -> None:
        """Logs are evidence, not resources: one that is lost is noted, and is no failure."""
        self.logs.mkdir(parents=True, exist_ok=True)
        lost: list[str] = []
        for guest in self.guests.values():
            for instance in guest.instances:
                lost += guest.keep_logs(instance, self.logs)
        for name, vm in self.host_vms.items():
            command = self.logs / f"{name}.command"
            command.write_text(shlex.join(vm.argv) + "\n", encoding="utf-8")
            lost += _keep(self.local, f"{name}.qemu", vm.log, self.logs)
            console = vm.log.replace("qemu.log", "console.log")
            lost += _keep(self.local, f"{name}.console", console, self.logs)
        if lost:
            (self.logs / "lost.txt").write_text("\n".join(lost) + "\n", encoding="utf-8")


def _keep(machine: Machine, name: str, path: str, logs: Path) -> list[str]:
    try:
        machine.get(path, logs / f"{name}.log")
    except (HarnessError, OSError) as error:
        return [f"{path}: {error}"]
    return []
