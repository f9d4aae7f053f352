"""The images of a lab: built before it starts, and where they are on each machine.

In a namespace an image is where the store has it; a host VM has it as a read-only disk at
``/lab/SERIAL``; to an ssh host it is copied.
"""

from __future__ import annotations

import threading
from pathlib import Path

from harness.errors import LabError
from harness.images import GuestImage, HostImage, Kernel, States, Store, Toolchain
from harness.images.tools import Progress
from harness.plan.model import ImageRef, Plan


class LabImages:
    """What a plan needs from the store. ``prepare`` builds; everything else only looks up."""

    def __init__(self, store: Store, progress: Progress) -> None:
        self._store = store
        self._progress = progress
        self._made: dict[ImageRef, Toolchain | Kernel | GuestImage | HostImage] = {}
        self._disks: dict[ImageRef, Path] = {}
        self._lock = threading.Lock()

    def prepare(self, plan: Plan) -> None:
        """Build everything that the plan refers to, disks of host VMs included."""
        wanted = [
            ref for guest in plan.guests.values() for refs in guest.images.values() for ref in refs
        ]
        for host in plan.hosts.values():
            wanted += host.boot_images
            wanted += [ImageRef("qemu", command.qemu) for command in host.boot.values()]
        for ref in dict.fromkeys(wanted):
            self.get(ref)
        for host in plan.hosts.values():
            if host.boot:
                for ref in host.carried:
                    self.disk(ref)

    def get(self, ref: ImageRef) -> Toolchain | Kernel | GuestImage | HostImage:
        """The artifact, built if need be."""
        with self._lock:
            if ref not in self._made:
                self._made[ref] = self._build(ref)
            return self._made[ref]

    def _build(self, ref: ImageRef) -> Toolchain | Kernel | GuestImage | HostImage:
        match ref.kind:
            case "qemu":
                return self._store.toolchain(ref.name, progress=self._progress)
            case "kernel":
                return self._store.kernel(ref.name, progress=self._progress)
            case "guest":
                on = self._store.kernel(ref.kernel, progress=self._progress)
                return self._store.guest(ref.name, on, progress=self._progress)
            case "host":
                on = self._store.kernel(ref.kernel, progress=self._progress)
                return self._store.host(ref.name, on, progress=self._progress)

    def toolchain(self, name: str) -> Toolchain:
        """The QEMU of that recipe."""
        made = self.get(ImageRef("qemu", name))
        if not isinstance(made, Toolchain):
            raise LabError(f"image {name}: not a QEMU")
        return made

    def disk(self, ref: ImageRef) -> Path:
        """The image as one read-only disk."""
        made = self.get(ref)
        if isinstance(made, HostImage):
            raise LabError(f"image {ref.name}: a host's root file system is not carried into hosts")
        with self._lock:
            if ref not in self._disks:
                self._disks[ref] = self._store.packed(made, progress=self._progress)
            return self._disks[ref]

    def directory(self, ref: ImageRef) -> Path:
        """Where the store has the image on this machine."""
        made = self.get(ref)
        match made:
            case Toolchain():
                return made.root
            case Kernel():
                return made.vmlinux.parent
            case GuestImage() | HostImage():
                return made.initramfs.parent

    def payload(self, ref: ImageRef) -> tuple[Path, ...]:
        """The files and directories that a host needs of the image, by absolute path."""
        made = self.get(ref)
        match made:
            case Toolchain():
                return tuple(sorted(p for p in made.root.iterdir() if p.name != "manifest.json"))
            case Kernel():
                return (made.vmlinux,)
            case GuestImage():
                return (made.initramfs,)
            case HostImage():
                raise LabError(f"image {ref.name}: a root file system is not carried into hosts")

    @property
    def memory(self) -> Path:
        """Where trials of this machine's accelerators are remembered."""
        return self._store.root / "trials"

    @property
    def states(self) -> States:
        """The saved states of guests and hosts."""
        return self._store.states

    def tiny_guest(self) -> Path:
        """The guest that accelerators are tried with."""
        return self._store.tiny_guest(progress=self._progress)

    def versions(self) -> dict[str, str]:
        """Of everything used: version, digest and details, by the image's kind and recipe."""
        with self._lock:
            return {ref.token: _told(made) for ref, made in self._made.items()}


def _told(made: Toolchain | Kernel | GuestImage | HostImage) -> str:
    detail = made.detail if isinstance(made, Toolchain | Kernel) else ""
    return f"{made.version} {made.digest[:16]}" + (f" ({detail})" if detail else "")
