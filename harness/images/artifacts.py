"""What the store gives out: typed descriptions of finished images.

All paths are local. ``digest`` (SHA-256, hexadecimal) names what the thing was made from;
``version`` is what its makers call it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.images.libraries import LIBRARY_DIR, LOADER


@dataclass(frozen=True, slots=True)
class Toolchain:
    """An unpacked QEMU below ``root``, run through its own loader; needs no chroot.

    ``programs`` and ``data`` are relative to ``root``; the first program is the emulator.
    ``devices`` are the names that its ``-device`` option knows. ``detail`` is what else tells
    which QEMU it is: what it says after its version, and its patches.
    """

    name: str
    digest: str
    version: str
    root: Path
    programs: tuple[str, ...]
    data: tuple[str, ...]
    devices: frozenset[str]
    detail: str = ""

    def argv(self, at: str | None = None) -> tuple[str, ...]:
        """The beginning of a QEMU command line.

        ``at`` is the directory where the tree is mounted on the machine that runs it; the
        local directory when absent.
        """
        top = at or str(self.root)
        options = [word for name in self.data for word in ("-L", f"{top}/{name}")]
        return (*self._loader(top), f"{top}/{self.programs[0]}", *options)

    def program(self, name: str, at: str | None = None) -> tuple[str, ...]:
        """The beginning of a command line of another program, e.g. ``qemu-img``."""
        top = at or str(self.root)
        path = next(path for path in self.programs if path.rpartition("/")[2] == name)
        return (*self._loader(top), f"{top}/{path}")

    def _loader(self, top: str) -> tuple[str, ...]:
        return (f"{top}/{LOADER}", "--library-path", f"{top}/{LIBRARY_DIR}")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel: ``vmlinux`` (ELF, starts fastest in QEMU), ``vmlinuz``, and its modules.

    ``vmlinux`` is the bzImage of a kernel without CONFIG_PVH, whose ELF QEMU cannot start.
    ``modules`` is ``lib/modules/RELEASE`` as its makers have it, with modules.dep. ``detail``
    names the modules that are not its makers' own.
    """

    name: str
    digest: str
    version: str
    release: str
    vmlinux: Path
    vmlinuz: Path
    modules: Path
    detail: str = ""


@dataclass(frozen=True, slots=True)
class GuestImage:
    """The initramfs of a guest, for one kernel."""

    name: str
    digest: str
    version: str
    initramfs: Path


@dataclass(frozen=True, slots=True)
class HostImage:
    """The root file system (erofs) of a host VM and the initramfs that mounts it."""

    name: str
    digest: str
    version: str
    initramfs: Path
    root_erofs: Path


Artifact = Toolchain | Kernel | GuestImage | HostImage
