"""The stream of a saved guest, between a QEMU on any kind of host and a file here.

In a namespace QEMU's ``exec:`` reads and writes the file itself. A host VM finds it on a disk;
it saves by TCP on its management network, like to another host: nothing is kept there, and an
emulated processor need not encipher what it sends. With a real machine the file is copied
over ssh: its QEMU may listen where nobody is let in.

Neighbours: ``seed`` saves, ``guest`` loads.
"""

from __future__ import annotations

import shlex
import socket
import threading
from pathlib import Path

from harness.errors import DeadlineExceeded, LabError, ReachError, StateError, VmError
from harness.lab.host import LabHost
from harness.reach.deadline import Deadline
from harness.reach.machine import Machine
from harness.reach.sandbox import Sandbox
from harness.vm import MigrationInfo, Vm

_WHOLE_S = 120.0
_STALLED_S = 30.0
"""How long nothing may come of a stream."""
_END_S = 20.0
_CHUNK = 1 << 20
_FASTEST = 1 << 40
"""Octets a second: QEMU slows a migration down to 128 MiB/s unless it is told otherwise."""


def save_stream(vm: Vm, host: LabHost, sandbox: Sandbox, run: str, file: Path) -> None:
    """Stop a guest, save it to ``file`` and end its QEMU. StateError says why it cannot."""
    try:
        vm.pause()
        if host.plan.kind == "vm":
            info = _save_by_tcp(vm, host, sandbox, file)
            status = "0"
        else:
            here = host.plan.kind == "netns"
            target = str(file) if here else f"{run}/{file.name}"
            info, status = _save_by_command(vm, run, target)
            if not here:
                host.machine.get(target, file)
                host.machine.remove(target)
    except (VmError, ReachError, DeadlineExceeded, OSError) as error:
        raise StateError(f"{vm.title}: it cannot be saved: {error}") from error
    if info.status != "completed" or status != "0":
        raise StateError(
            f"{vm.title}: its state cannot be written: {info.error or info.status}",
            hint="free some space, or set HARNESS_CACHE to a larger disk",
            evidence=vm.log_tail()[-3:],
        )


ANNOUNCED_ONCE = {"announce-rounds": 1, "announce-initial": 0}
"""Parameters of a load. Nobody on the networks has known the machine, so it need not be announced:
five rounds would go on for a second and move bridges' entries under the first of the traffic.
None at all would be the thing, but then QEMU crashes when a virtio-net device is reset later
(docs/findings.md)."""


def load_stream(vm: Vm, host: LabHost, run: str, file: Path) -> None:
    """Let a QEMU that waits load ``file``; the guest is stopped in it.

    VmError says, in QEMU's words, why it cannot.
    """
    since = len(vm.events)
    parameters = ANNOUNCED_ONCE
    if host.hand_over is not None:
        vm.migrate_incoming(f"exec:{host.hand_over(file)}", parameters=parameters)
    else:
        path = str(file)
        if host.plan.kind == "ssh":
            path = f"{run}/{file.name}"
            host.machine.put(file, path)
        vm.migrate_incoming(f"exec:cat {shlex.quote(path)}", parameters=parameters)
    info = vm.wait_migration(Deadline(_WHOLE_S), since=since)
    if info.status != "completed":
        raise VmError(f"{vm.title}: {info.error or info.status}", evidence=vm.log_tail()[-3:])
    if host.plan.kind == "ssh":
        host.machine.remove(path)
    vm.refresh()


def _save_by_command(vm: Vm, run: str, target: str) -> tuple[MigrationInfo, str]:
    """How the migration ended, and the status of the command that wrote it to a file."""
    done = f"{run}/{Path(target).name}.status"
    # QEMU may be content before `cat` has written the last of it.
    script = f"cat > {shlex.quote(target)}; echo $? > {shlex.quote(done)}"
    since = len(vm.events)
    vm.migrate(f"exec:{script}", parameters={"max-bandwidth": _FASTEST})
    info = vm.wait_migration(Deadline(_WHOLE_S), since=since)
    vm.quit(Deadline(_END_S))
    return info, _status(vm.machine, done)


def _status(machine: Machine, path: str) -> str:
    """How the command that wrote the state ended, once it has."""
    deadline, pause = Deadline(_END_S), threading.Event()
    while True:
        text = machine.read_text(path).strip() if machine.exists(path) else ""
        if text or deadline.expired:
            return text or "it did not end"
        pause.wait(0.01)


def _save_by_tcp(vm: Vm, host: LabHost, sandbox: Sandbox, file: Path) -> MigrationInfo:
    with _socket(host, sandbox) as listener, file.open("wb") as content:
        own = _own_address(host, sandbox)
        listener.bind((own, 0))
        listener.listen(1)
        since = len(vm.events)
        uri = f"tcp:{_bracketed(own)}:{listener.getsockname()[1]}"
        vm.migrate(uri, parameters={"max-bandwidth": _FASTEST})
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(_STALLED_S)
            while data := connection.recv(_CHUNK):
                content.write(data)
    info = vm.wait_migration(Deadline(_WHOLE_S), since=since)
    vm.quit(Deadline(_END_S))
    return info


def _address(host: LabHost) -> str:
    if host.plan.management_address is None:
        raise LabError(f"{host.name}: has no address on the management network")
    return host.plan.management_address


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _socket(
    host: LabHost, sandbox: Sandbox, kind: socket.SocketKind = socket.SOCK_STREAM
) -> socket.socket:
    """One in the lab's own namespace, which is on the management network."""
    family = socket.AF_INET6 if ":" in _address(host) else socket.AF_INET
    made = sandbox.socket(sandbox.root, family, kind)
    made.settimeout(_STALLED_S)
    return made


def _own_address(host: LabHost, sandbox: Sandbox) -> str:
    """The lab's address on the management network: the one that it would send from."""
    with _socket(host, sandbox, socket.SOCK_DGRAM) as asking:
        asking.connect((_address(host), 9))
        return str(asking.getsockname()[0])
