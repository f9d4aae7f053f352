"""Saved states of host VMs: made once, loaded by every host that has the same command.

A state is of a host that has its drivers and disks, that has read into memory what a lab will
need, and that nobody has told who it is (``identity``): no virtual function is enabled, for
the emulated functions have no state that QEMU saves (``igbvf``: their data path is dead after
a load). A host that is loaded goes on waiting for its identity where the saved one did.

Where QEMU has it (9.0), RAM is written as it lies in memory (``mapped-ram``): the file is as
long as RAM, and holds only the pages that are not zero.

Neighbours: ``sshhost`` starts QEMU either way; ``harness.images.states`` keeps states and
checks them.
"""

from __future__ import annotations

import hashlib
import shlex
import threading
from collections.abc import Callable
from pathlib import Path

from harness.errors import DeadlineExceeded, ReachError, StateError, VmError
from harness.images import Progress, Reporter, State, StateKey, States
from harness.lab.images import LabImages
from harness.lab.statekey import processor
from harness.lab.statestream import ANNOUNCED_ONCE
from harness.plan.model import HostPlan
from harness.reach.deadline import Deadline
from harness.reach.machine import Machine
from harness.vm import Vm

_FORMAT = "1"
"""Of what a host does before it is saved (``images/host/identity.py`` is in the image's digest)."""
_SAVE_S = 120.0
_LOAD_S = 60.0
_QUIT_S = 20.0
_FASTEST = 1 << 40
"""Octets a second: QEMU slows a migration down to 128 MiB/s unless it is told otherwise."""
_MAPPED = "mapped-ram"
_MAPPED_FILE, _STREAM_FILE = "ram.mapped", "ram.stream"
_CONTENTS = "contents.json"


def host_key(plan: HostPlan, here: Machine, images: LabImages, accelerator: str) -> StateKey:
    """The key of the state of a host VM on this machine, ``here``.

    What counts is its QEMU, its command (which says nothing of which host it is), and what is
    in the images that the command names: its disks are read after the load.
    """
    command = plan.boot[accelerator]
    qemu = images.toolchain(command.qemu)
    named = {ref.token: images.directory(ref) for ref in plan.boot_images}
    named |= {f"disk:{ref.token}": images.disk(ref).parent for ref in plan.carried}
    parts = {
        "QEMU": f"{qemu.version} {_contents(qemu.root.parent)}",
        "command": shlex.join(command.args),
        "way of making it": _FORMAT,
        **{f"image {token}": _contents(directory) for token, directory in named.items()},
    }
    if accelerator == "kvm":
        parts["processor"] = processor(here)
    needs = [qemu.digest, *(images.get(ref).digest for ref in plan.boot_images)]
    return StateKey(f"host-{plan.name}", parts, tuple(needs))


def _contents(directory: Path) -> str:
    """What is in an image: two with one recipe may hold different versions of packages."""
    listing = directory / _CONTENTS
    if not listing.exists():  # made before there were such lists
        listing = directory / "manifest.json"
    return hashlib.sha256(listing.read_bytes()).hexdigest()[:16]


class HostStates:
    """The states that one lab needs, each made or checked once. Thread-safe."""

    def __init__(
        self, states: States, images: LabImages, progress: Progress, note: Callable[[str], None]
    ) -> None:
        self._states = states
        self._images = images
        self._progress = progress
        self._note = note
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._found: dict[str, State] = {}

    def obtain(
        self, plan: HostPlan, here: Machine, accelerator: str, save: Callable[[Path], None]
    ) -> State:
        """The state for a host; ``save`` makes it in a directory, if there is none that fits."""
        key = host_key(plan, here, self._images, accelerator)
        with self._lock:
            lock = self._locks.setdefault(key.digest, threading.Lock())
        with lock:
            if key.digest not in self._found:

                def make(into: Path, report: Reporter) -> None:
                    with report.step(f"booting and saving host {plan.name}"):
                        save(into)

                self._found[key.digest] = self._states.obtain(key, make, self._progress, self._note)
            return self._found[key.digest]


def save(vm: Vm, into: Path) -> None:
    """Save a host that is up and warm, and end its QEMU. StateError with QEMU's words."""
    try:
        vm.words = vm.ask_words()
        mapped = _MAPPED in vm.words.capabilities
        vm.pause()
        since = len(vm.events)
        vm.migrate(
            _uri(into / (_MAPPED_FILE if mapped else _STREAM_FILE), "cat >"),
            capabilities={_MAPPED: True} if mapped else None,
            parameters={"max-bandwidth": _FASTEST},
        )
        info = vm.wait_migration(Deadline(_SAVE_S), since=since)
        vm.quit(Deadline(_QUIT_S))
    except (VmError, ReachError, DeadlineExceeded) as error:
        raise StateError(f"{vm.title}: it cannot be saved: {error}") from error
    if info.status != "completed":
        raise StateError(
            f"{vm.title}: its state cannot be written: {info.error or info.status}",
            hint="free some space, or set HARNESS_CACHE to a larger disk",
            evidence=vm.log_tail()[-3:],
        )


def load(vm: Vm, state: State) -> None:
    """Load ``state`` into a QEMU that was started with ``-incoming defer``, and let it run.

    StateError with QEMU's words.
    """
    mapped = state.file(_MAPPED_FILE)
    capabilities = {_MAPPED: True} if mapped.exists() else None
    path = mapped if mapped.exists() else state.file(_STREAM_FILE)
    since = len(vm.events)
    try:
        vm.migrate_incoming(
            _uri(path, "cat"),
            capabilities=capabilities,
            # A host tells its network where it is when it has an address.
            parameters=ANNOUNCED_ONCE,
        )
        info = vm.wait_migration(Deadline(_LOAD_S), since=since)
        if info.status != "completed":
            raise VmError(f"{vm.title}: {info.error or info.status}", evidence=vm.log_tail()[-3:])
        vm.resume()
    except (VmError, ReachError, DeadlineExceeded) as error:
        raise StateError(
            f"{vm.guest}: its state {state.digest[:16]} cannot be loaded: {error.message}",
            evidence=error.evidence,
        ) from error


def _uri(path: Path, shell: str) -> str:
    """The address of a migration to or from a file, ``shell`` being what does it without
    ``file:`` (QEMU 8.2)."""
    if path.name == _MAPPED_FILE:
        return f"file:{path}"
    return f"exec:{shell} {shlex.quote(str(path))}"
