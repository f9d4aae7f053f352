"""Builds the root file system of a host VM and the initramfs that mounts it, for one kernel.

Packages are unpacked and never configured: no service manager, no udev. The lab's own
/init (``images/host/init``) starts sshd and loads the drivers; that is up in seconds under
TCG, where a distribution's boot takes a minute.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.errors import ImageError
from harness.images.artifacts import HostImage, Kernel
from harness.images.cache import Entry, Made
from harness.images.cpio import Initramfs
from harness.images.debian import Suite, prune
from harness.images.libraries import LIBRARY_DIR, LOADER
from harness.images.modules import ModuleTree
from harness.images.recipe import HostRecipe
from harness.images.reporter import Reporter
from harness.images.staging import (
    add_files,
    add_modules,
    link_applets,
    loading_list,
    make_erofs,
    merged_usr,
)
from harness.images.tools import require, run

BUILDER = "1"
_DIRECTORIES = (
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "root",
    "etc",
    "var/log",
    "var/tmp",
    "mnt",
    "lab",
)
_LAB = "usr/lib/lab"
# apt's own files could name the mirror; none of them is of use in a host.
_NEVER = ("etc/apt", "var/lib/apt", "var/cache/apt", "var/lib/dpkg", "var/cache/debconf")


def build_host(
    recipe: HostRecipe,
    name: str,
    beside: Path,
    kernel: Kernel,
    packages_dir: Path,
    into: Path,
    report: Reporter,
) -> Made:
    """Fill ``into`` with root.erofs and initramfs. ``beside`` is the directory of the recipe."""
    require("depmod", "mkfs.erofs")
    suite = Suite(recipe.suite, packages_dir, report)
    packages = suite.resolve(recipe.packages, exclude=recipe.exclude)
    with tempfile.TemporaryDirectory(dir=into, prefix="packages-") as scratch:
        top = Path(scratch, "root")
        suite.unpack(packages, top)
        busybox = top / "usr/bin/busybox"
        if not busybox.is_file():
            raise ImageError(f"host {name}: the recipe needs the package busybox-static")
        tree = ModuleTree.read(kernel.modules)
        with report.step("putting the root file system together"):
            merged_usr(top)
            prune(top, [*_NEVER, *recipe.drop])
            for directory in _DIRECTORIES:
                (top / directory).mkdir(parents=True, exist_ok=True)
            add_files(top, recipe.files, beside)
            link_applets(top, busybox)
            every = (*recipe.boot, *recipe.early, *recipe.late, *recipe.carry)
            add_modules(top, tree, kernel.release, tree.order(every))
            for when, names in (("early", recipe.early), ("late", recipe.late)):
                path = top / _LAB / f"modules.{when}"
                path.parent.mkdir(parents=True, exist_ok=True)
                there = [each.removesuffix("?") for each in names]
                path.write_text("".join(f"{each}\n" for each in there), encoding="utf-8")
        with report.step("compiling Python's modules"):
            _compile_python(top)
        with report.step("writing the images"):
            _write_initramfs(recipe, beside, kernel, tree, busybox, into)
            make_erofs(top, into / "root.erofs", label=f"host {name}")
    return Made(
        version=kernel.version,
        facts={"suite": recipe.suite, "kernel": kernel.digest},
        packages={package.name: package.version for package in packages},
    )


def _compile_python(top: Path) -> None:
    """Byte code for all of Python: its maintainer scripts would do that, and the root is
    read-only. Without the check of times (``unchecked-hash``) imports are quicker, too."""
    for python in sorted(top.glob("usr/bin/python3.[0-9]*[0-9]")):
        trees = [top / "usr/lib" / python.name, top / "usr/lib/python3/dist-packages"]
        run(
            [
                top / LOADER,
                "--library-path",
                top / LIBRARY_DIR,
                python,
                "-I",
                "-S",
                "-m",
                "compileall",
                "-q",
                "--invalidation-mode",
                "unchecked-hash",
                "-s",
                top,
                "-p",
                "/",
                *(tree for tree in trees if tree.is_dir()),
            ],
            what="compiling Python's modules",
        )


def _write_initramfs(
    recipe: HostRecipe,
    beside: Path,
    kernel: Kernel,
    tree: ModuleTree,
    busybox: Path,
    into: Path,
) -> None:
    modules = tree.order(recipe.boot)
    archive = Initramfs()
    for directory in ("dev", "proc", "sys", "new", "rw"):
        archive.add_dir(directory)
    archive.add_char_device("dev/console", 5, 1)
    archive.add_file("bin/busybox", busybox.read_bytes(), executable=True)
    archive.add_link("bin/sh", "busybox")
    archive.add_file("init", (beside / recipe.initramfs).read_bytes(), executable=True)
    archive.add_file("modules.load", loading_list(kernel.release, modules).encode())
    for module in modules:
        path = loading_list(kernel.release, [module]).strip().lstrip("-/")
        archive.add_file(path, tree.content(module))
    (into / "initramfs").write_bytes(archive.content())


def describe_host(entry: Entry) -> HostImage:
    """The finished host image in the cache."""
    return HostImage(
        name=entry.manifest.name,
        digest=entry.manifest.digest,
        version=entry.manifest.made.version,
        initramfs=entry.path / "initramfs",
        root_erofs=entry.path / "root.erofs",
    )
