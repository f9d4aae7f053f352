"""Putting a file tree together, and making an erofs image of it.

Neighbours: the builders of guests, hosts and toolchains share it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.images.libraries import LIBRARY_DIR, LOADER, closure
from harness.images.modules import Module, ModuleTree
from harness.images.tools import run

_USR_LINKS = ("bin", "sbin", "lib", "lib64")


def copy_programs(
    root: Path, programs: Iterable[str], into: Path, *, libraries: Path | None = None
) -> None:
    """Copy ``programs`` from ``root`` with the loader and all libraries they need.

    Those are taken from the tree ``libraries``; from ``root`` when absent. All libraries go
    into one directory, so that one library path is enough.
    """
    names = tuple(programs)
    system = libraries or root
    for name in names:
        _copy(root / name, into / name)
    for library in closure(root, names, system):
        _copy(system / library, into / LIBRARY_DIR / Path(library).name)
    if (system / LOADER).exists():
        _copy(system / LOADER, into / LOADER)


def merged_usr(top: Path) -> None:
    """Make /usr and the links to it (bin, sbin, lib, lib64), where they are not there.

    What an older suite's packages have put beside /usr is moved there.
    """
    for name in _USR_LINKS:
        (top / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (top / name).is_symlink():
            if (top / name).is_dir():
                _merge(top / name, top / "usr" / name)
            (top / name).symlink_to(f"usr/{name}")
    # Bookworm's link to the loader is absolute: it would mean this machine's own.
    loader = top / LOADER
    if loader.is_symlink() and os.readlink(loader).startswith("/"):
        target = os.readlink(loader)
        loader.unlink()
        loader.symlink_to(f"../..{target}")


def _merge(source: Path, target: Path) -> None:
    """Move everything in ``source`` into ``target``, and remove it."""
    for path in list(source.iterdir()):
        there = target / path.name
        if path.is_dir() and not path.is_symlink() and there.is_dir():
            _merge(path, there)
        else:
            there.unlink(missing_ok=True)
            path.rename(there)
    source.rmdir()


def link_applets(top: Path, busybox: Path) -> None:
    """Links to busybox in /usr/bin for every program that ``top`` does not have already.

    ``busybox`` must be the static one, so that it can be asked here.
    """
    for line in run([busybox, "--list-full"], what="busybox").decode().splitlines():
        name = line.rpartition("/")[2]
        places = [top / "usr" / place / name for place in ("bin", "sbin")]
        if name and not any(place.exists() or place.is_symlink() for place in places):
            places[0].symlink_to("busybox")


def add_files(top: Path, files: Mapping[str, str], beside: Path) -> None:
    """Copy files of a recipe into the tree; a mode of execution is kept."""
    for target, source in files.items():
        _copy(beside / source, top / target)


def add_modules(top: Path, tree: ModuleTree, release: str, modules: Iterable[Module]) -> None:
    """Put ``modules``, decompressed, below ``top``, with the tables that modprobe reads."""
    there = top / "usr/lib/modules" / release
    for module in modules:
        path = there / plain_path(module)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tree.content(module))
    there.mkdir(parents=True, exist_ok=True)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (tree.top / name).exists():
            shutil.copyfile(tree.top / name, there / name)
    run(["depmod", "-b", top, release], what=f"modules of {release}")


def plain_path(module: Module) -> str:
    """The path of the decompressed module below lib/modules/RELEASE."""
    return module.path.removesuffix(".xz").removesuffix(".zst").removesuffix(".gz")


def loading_list(release: str, modules: Iterable[Module]) -> str:
    """What /init reads: one path a line, with ``-`` before a module that may refuse."""
    return "".join(
        f"{'-' if module.optional else ''}/usr/lib/modules/{release}/{plain_path(module)}\n"
        for module in modules
    )


def make_erofs(top: Path, image: Path, *, label: str) -> None:
    """``image``: the tree ``top``, uncompressed (reading is cheaper than unpacking under TCG)."""
    run(
        [
            "mkfs.erofs",
            "-T0",
            "--all-root",
            "-U",
            "00000000-0000-0000-0000-000000000000",
            image,
            top,
        ],
        what=label,
    )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    shutil.copymode(source, target)
