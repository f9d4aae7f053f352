"""Builds the initramfs that a guest lives in, for one kernel.

It holds busybox, the guest agent, the lab's probe and the network drivers: a guest boots in
seconds even in a nested machine without KVM, and has no netdev or daemon of its own.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.images.artifacts import GuestImage, Kernel
from harness.images.cache import Entry, Made
from harness.images.cpio import Initramfs
from harness.images.debian import Suite
from harness.images.modules import ModuleTree
from harness.images.recipe import GuestRecipe
from harness.images.reporter import Reporter
from harness.images.staging import (
    add_files,
    add_modules,
    copy_programs,
    link_applets,
    loading_list,
    merged_usr,
)
from harness.images.tools import require, run

BUILDER = "1"
_DIRECTORIES = ("dev", "proc", "sys", "run", "tmp", "root", "etc", "var/run", "var/log", "mnt")
_CC = ("gcc", "-static", "-O2", "-Wall", "-Werror", "-pthread")


def build_guest(
    recipe: GuestRecipe,
    name: str,
    beside: Path,
    kernel: Kernel,
    packages_dir: Path,
    into: Path,
    report: Reporter,
) -> Made:
    """Fill ``into`` with the initramfs. ``beside`` is the directory of the recipe."""
    require(*(["gcc"] if recipe.compile else []), "depmod")
    suite = Suite(recipe.suite, packages_dir, report)
    packages = suite.resolve(recipe.packages)
    with tempfile.TemporaryDirectory(dir=into, prefix="packages-") as scratch:
        root, top = Path(scratch, "root"), Path(scratch, "top")
        suite.unpack(packages, root)
        merged_usr(top)
        with report.step("putting the initramfs together"):
            for directory in _DIRECTORIES:
                (top / directory).mkdir(parents=True, exist_ok=True)
            copy_programs(root, recipe.programs, top)
            link_applets(top, root / "usr/bin/busybox")
            for target, source in recipe.compile.items():
                (top / target).parent.mkdir(parents=True, exist_ok=True)
                run([*_CC, "-o", top / target, beside / source], what=f"compiling {source}")
            add_files(top, recipe.files, beside)
            tree = ModuleTree.read(kernel.modules)
            load = tree.order(recipe.load)
            carry = tree.order([*recipe.load, *recipe.carry])
            add_modules(top, tree, kernel.release, carry)
            (top / "etc/modules.load").write_text(
                loading_list(kernel.release, load), encoding="utf-8"
            )
            archive = Initramfs()
            # Before devtmpfs is mounted, /init's own output needs it.
            archive.add_char_device("dev/console", 5, 1)
            archive.add_tree(top)
            (into / "initramfs").write_bytes(archive.content())
    return Made(
        version=kernel.version,
        facts={"suite": recipe.suite, "kernel": kernel.digest},
        packages={package.name: package.version for package in packages},
    )


def describe_guest(entry: Entry) -> GuestImage:
    """The finished guest image in the cache."""
    return GuestImage(
        name=entry.manifest.name,
        digest=entry.manifest.digest,
        version=entry.manifest.made.version,
        initramfs=entry.path / "initramfs",
    )
