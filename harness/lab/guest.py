"""A guest of the lab: the QEMU it runs in now, and the channels into it.

A guest outlives its QEMU: a migration gives it another one on another host, and the
channels (guest agent, measuring program) follow. Neighbours: ``host`` has the places,
``scenario`` migrates.
"""

from __future__ import annotations

import shlex
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from harness.errors import (
    DeadlineExceeded,
    LabError,
    ReachError,
    StateError,
    VmError,
    VmExited,
)
from harness.images import State
from harness.lab.handoff import FilterHandoff
from harness.lab.host import LabHost
from harness.lab.images import LabImages
from harness.lab.refusal import refused
from harness.lab.seed import STATE
from harness.lab.statestream import load_stream
from harness.lab.taps import TapWatch
from harness.observe import Accelerator, FactLog, HostEvent, LinkEvent, LinkState, QmpEvent
from harness.observe.record import now_ns
from harness.plan.model import Command, GuestPlan, Placement
from harness.reach.deadline import Deadline
from harness.reach.guest import GuestAgent, GuestMachine
from harness.traffic.guestlink import GuestLink
from harness.versions import QemuWords
from harness.vm import RunState, Vm

_START_S = 60.0
_READY_S = 240.0
_END_S = 20.0


class LinkTable:
    """The netdevs of a guest as its netlink messages tell them, and a way to wait for them."""

    def __init__(self) -> None:
        self._links: dict[int, LinkState] = {}
        self._changed = threading.Condition(threading.RLock())

    def update(self, event: LinkEvent) -> None:
        with self._changed:
            if event.event == "removed":
                self._links.pop(event.link.index, None)
            else:
                self._links[event.link.index] = event.link
            self._changed.notify_all()

    def now(self) -> tuple[LinkState, ...]:
        """All netdevs, by their index."""
        with self._changed:
            return tuple(self._links[index] for index in sorted(self._links))

    def wait(
        self,
        wanted: Callable[[tuple[LinkState, ...]], bool],
        deadline: Deadline,
        *,
        what: str,
        show: Callable[[tuple[LinkState, ...]], str],
    ) -> None:
        """Wait until ``wanted`` holds; DeadlineExceeded says what ``show`` last said."""
        with self._changed:
            while not wanted(self.now()):
                if deadline.expired:
                    raise deadline.error(what, show(self.now()))
                self._changed.wait(deadline.left)


class Instance:
    """One QEMU of a guest, on one host."""

    def __init__(
        self,
        host: LabHost,
        placement: Placement,
        vm: Vm,
        run: str,
        handoff: FilterHandoff,
        taps: TapWatch | None,
        tokens: Mapping[str, str],
    ) -> None:
        self.host = host
        self.placement = placement
        self.vm = vm
        self.run = run
        self.handoff = handoff
        self.taps = taps
        """The captures on its taps; None where nobody asked for any."""
        self.tokens = tokens
        """What the tokens of the plan are here (``vf:NIC`` -> its PCI address)."""
        self.probe: socket.socket | None = None
        """The measuring program's channel of a QEMU that the guest has not arrived in yet."""

    def socket_path(self, channel: str) -> str:
        """The Unix socket of a channel (``qmp``, ``ga``, ``probe``, ``console``)."""
        return f"{self.run}/{channel}.sock"

    def logs(self) -> Mapping[str, str]:
        """Name of each log -> its path on the host."""
        return {"console": f"{self.run}/console.log", "qemu": self.vm.log}


class LabGuest:
    """A guest, wherever it runs."""

    def __init__(
        self,
        plan: GuestPlan,
        images: LabImages,
        facts: FactLog,
        *,
        accelerator: Literal["kvm", "tcg"],
        filter_handoff: bool,
        watch_taps: bool = False,
    ) -> None:
        self.plan = plan
        self.accelerator = accelerator
        self._images = images
        self._facts = facts
        self._filter_handoff = filter_handoff
        self._watch_taps = watch_taps
        self._watches: list[TapWatch] = []
        self._instances: list[Instance] = []
        self._current: Instance | None = None
        self._number = 0
        self.plugged = [nic for nic, model in plan.nics.items() if model.plugged]
        """The NICs that its QEMU has been given, in that order."""
        self.qemu_versions: dict[str, str] = {}
        """Host -> what the last QEMU there said of its version."""
        self.machine_types: dict[str, str] = {}
        """Host -> the machine type that the last QEMU there said it is."""
        self.qemu_words: dict[str, QemuWords] = {}
        """Host -> what the last QEMU there said it knows."""
        self._words: dict[str, QemuWords] = {}
        self._lock = threading.Lock()
        self.links = LinkTable()
        self.link = self._new_link()
        self.machine = GuestMachine(GuestAgent(plan.name))

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def current(self) -> Instance:
        """The QEMU that the guest runs in now. LabError before it was started."""
        if self._current is None:
            raise LabError(f"{self.name}: not started")
        return self._current

    @property
    def running(self) -> bool:
        """Whether it has a QEMU that can be spoken to."""
        return self._current is not None and self._current.vm.state is not RunState.EXITED

    @property
    def instances(self) -> Sequence[Instance]:
        """Every QEMU that the guest has had, and the one that waits for it, in their order."""
        with self._lock:
            return tuple(self._instances)

    def start(self, host: LabHost, *, incoming: bool = False) -> Instance:
        """Start a QEMU for the guest on ``host``; ``incoming``: one that waits for it."""
        placement = self.plan.placements[host.name]
        with self._lock:
            self._number += 1
            number = self._number
        run = f"{host.machine.scratch}/{self.name}.{number}"
        tokens = host.prepare(placement, self.plugged) | {"run": run}
        host.machine.make_directory(run)
        images = self.plan.images[host.name]
        for ref in images:
            tokens[ref.token] = host.images_at(ref, str(self._images.directory(ref)))
        commands = placement.incoming if incoming else placement.start
        command = commands[self.accelerator]
        qemu = self._images.toolchain(command.qemu)
        at = host.images_at(images[0], str(qemu.root))
        handoff = FilterHandoff(host, placement, self._facts.add, acts=self._filter_handoff)

        def on_event(event: QmpEvent) -> None:
            self._facts.add(event)
            handoff.on_qmp(event)

        vm = Vm(
            self.name,
            host.machine,
            (*qemu.argv(at), *self._with_plugged(command, placement).resolved(tokens)),
            qmp=f"{run}/qmp.sock",
            log=f"{run}/qemu.log",
            sink=on_event,
            on_exit=lambda vm: self._exited(vm, host),
        )
        taps = self._watch(host, placement, run, number)
        instance = Instance(host, placement, vm, run, handoff, taps, tokens)
        with self._lock:
            self._instances.append(instance)
        self._facts.add(
            Accelerator(
                t_ns=now_ns(),
                machine=f"{self.name}@{host.name}",
                accelerator=self.accelerator,
                evidence=f"QEMU was started with -accel {self.accelerator}",
            )
        )
        handoff.begin()
        try:
            vm.start(Deadline(_START_S))
        except VmExited as error:
            raise refused(
                error, vm.title, version=qemu.version, recipe=command.qemu, argv=vm.argv
            ) from error
        self.qemu_versions[host.name] = vm.version()
        self.machine_types[host.name] = vm.machine_type()
        host.note("qemu-started", self.name)
        if taps is not None:
            taps.wait_listening()
        if not incoming:
            self._current = instance
        return instance

    def _ask_words(self, instance: Instance) -> None:
        """Ask a QEMU what it knows: a fifth of a megabyte, and the same for every start of the
        same program."""
        host = instance.host.name
        made = self.plan.images[host][0].token
        if made not in self._words:
            self._words[made] = instance.vm.ask_words()
        instance.vm.words = self.qemu_words[host] = self._words[made]

    def load(
        self,
        host: LabHost,
        state: State,
        logs: Path,
        *,
        whole: Callable[[], bool] = lambda: True,
    ) -> Instance:
        """Start a QEMU for the guest on ``host`` from a saved state, instead of booting it.

        ``whole`` is asked before the state is used. StateError, with the QEMU gone again and its
        logs in ``logs``, when it cannot be loaded.
        """
        before = self.instances
        try:
            instance = self.start(host, incoming=True)
            if not whole():
                raise VmError("it is damaged")
            load_stream(instance.vm, host, instance.run, state.file(STATE))
            # Told before it runs, so that it is the first thing that its measuring program does.
            self.link.attach(self._probe_of(instance), loaded=True)
            instance.vm.resume()
        except (VmError, ReachError, DeadlineExceeded, OSError) as error:
            failed = self.instances[len(before) :]
            if not failed:
                raise  # its place cannot be prepared: it could not boot there either
            logs.mkdir(parents=True, exist_ok=True)
            for one in failed:
                self.retire(one, logs)
            raise StateError(
                f"{self.name}: its state {state.digest[:16]} cannot be loaded: {error}",
            ) from error
        self._current = instance
        return instance

    def _probe_of(self, instance: Instance) -> socket.socket:
        return instance.host.machine.connect(instance.socket_path("probe"))

    def _with_plugged(self, command: Command, placement: Placement) -> Command:
        """The command with the NICs that are plugged now: a destination has to have those that
        the source has."""
        args = command.args
        for nic, device in placement.devices.items():
            starts_with, size = self.plan.nics[nic].plugged, len(device.args)
            if starts_with and nic not in self.plugged:
                found = range(len(args) - size + 1)
                at = next(n for n in found if args[n : n + size] == device.args)
                args = args[:at] + args[at + size :]
        for nic in self.plugged:
            if not self.plan.nics[nic].plugged:
                args += placement.devices[nic].args
        return Command(command.qemu, args)

    def _watch(self, host: LabHost, placement: Placement, run: str, number: int) -> TapWatch | None:
        """Capture on the taps of the guest's pairs, from before its QEMU is there."""
        if not self._watch_taps or not self.plan.pairs:
            return None
        watch = TapWatch(
            host.machine, placement, self.plan.pairs, run=run, number=number,
            immediate=host.plan.kind != "vm",
        )  # fmt: skip
        with self._lock:
            self._watches.append(watch)
        watch.begin()
        return watch

    def end_taps(self) -> Sequence[TapWatch]:
        """End the captures on the guest's taps that still go on; those of all its QEMUs, in
        their order. For the end of the traffic."""
        with self._lock:
            watches = tuple(self._watches)
        for watch in watches:
            watch.end()
        return watches

    def _exited(self, vm: Vm, host: LabHost) -> None:
        status = vm.exit_status
        at = vm.exited_at
        self._facts.add(
            HostEvent(
                t_ns=at.t_ns if at else now_ns(),
                err_ns=at.err_ns if at else 0,
                host=host.name,
                event="qemu-exited",
                guest=self.name,
                data={"status": "unknown" if status is None else str(status)},
            )
        )

    def wait_ready(self, deadline: Deadline | None = None) -> None:
        """Wait until the measuring program in the guest answers. LabError with the console."""
        instance = self.current
        deadline = deadline or Deadline(_READY_S)
        try:
            if not self.link.attached:  # a guest that was loaded is
                self.link.attach(self._probe_of(instance))
            self.link.wait_monitoring(deadline.left)
            instance = self.current  # it may have migrated since
            self.machine.agent.attach(instance.host.machine.connect(instance.socket_path("ga")))
            # Last: while QEMU says it all, the guest's devices wait.
            self._ask_words(instance)
        except (ReachError, LabError) as error:
            error.evidence = (*error.evidence, *self.console_tail())
            raise

    def console_tail(self, lines: int = 15) -> tuple[str, ...]:
        """The last lines of the guest's console."""
        instance = self.current
        try:
            text = instance.host.machine.read_text(f"{instance.run}/console.log", tail=1 << 14)
        except ReachError as error:
            return (f"(the console cannot be read: {error.message})",)
        return tuple(text.replace("\r", "").splitlines()[-lines:])

    def begin_anew(self) -> None:
        """Forget what the guest's kernel has told: it is about to start again, with another
        clock and other netdevs. ``wait_ready`` waits for the new one."""
        self.link.close()
        self.links = LinkTable()
        self.link = self._new_link()

    def _new_link(self) -> GuestLink:
        return GuestLink(self.name, self._facts.add, on_link=self.links.update)

    def expect_at(self, instance: Instance) -> None:
        """Open the probe's channel of a QEMU that the guest is about to arrive in.

        Nothing is sent there before it has: what the guest says right after it has
        arrived waits in the socket, and until then it is asked where it still is.
        """
        self._ask_words(instance)
        instance.probe = self._probe_of(instance)

    def arrived_at(self, instance: Instance) -> None:
        """The guest runs in ``instance`` now; its channels follow."""
        self._current = instance
        if instance.probe is not None:
            self.link.attach(instance.probe)
            instance.probe = None
        self.machine.agent.attach(instance.host.machine.connect(instance.socket_path("ga")))

    def retire(self, instance: Instance, logs: Path) -> None:
        """End a QEMU that the guest has left, keep its logs and remove what it used."""
        if instance.probe is not None:
            instance.probe.close()
        instance.vm.quit(Deadline(_END_S))
        instance.handoff.end()
        if instance.taps is not None:
            instance.taps.end()
        self.keep_logs(instance, logs)
        instance.host.withdraw(instance.placement)
        with self._lock:
            self._instances.remove(instance)

    def keep_logs(self, instance: Instance, logs: Path) -> list[str]:
        """Copy the logs of a QEMU to ``logs``; what could not be copied, and why."""
        problems = []
        stem = f"{instance.run.rpartition('/')[2]}@{instance.host.name}"
        (logs / f"{stem}.command").write_text(shlex.join(instance.vm.argv) + "\n", encoding="utf-8")
        for name, path in instance.logs().items():
            target = logs / f"{stem}.{name}.log"
            try:
                instance.host.machine.get(path, target)
            except (ReachError, VmError, OSError) as error:
                problems.append(f"{path} on {instance.host.name}: {error}")
        return problems

    def close(self) -> None:
        """Let go of the channels."""
        self.link.close()
        self.machine.agent.detach()
