"""Builds a QEMU from a suite's source package with a user's patches, in the suite's own
build root: only what a lab needs of it (x86-64, TCG and KVM, tap and vhost), in minutes.

The firmware is the suite's: Debian's source package of QEMU does not hold it.

Neighbours: ``buildroot`` has the compiler; ``toolchain`` says what a toolchain is.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from harness.errors import ImageError
from harness.images.buildroot import build_root
from harness.images.cache import Cache, Made
from harness.images.debian import Suite
from harness.images.patches import apply_patches
from harness.images.recipe import QEMU_PROGRAMS, SourceToolchainRecipe, located, patch_files
from harness.images.reporter import Reporter
from harness.images.staging import copy_programs
from harness.images.toolchain import copy_firmware, try_toolchain

BUILDER = "1"
NEEDS = (
    "bison",
    "dpkg-dev",
    "flex",
    "libglib2.0-dev",
    "meson",
    "ninja-build",
    "pkgconf",
    "python3",
    "python3-venv",
    "zlib1g-dev",
)
_CONFIGURE = (
    "--prefix=/usr",
    "--target-list=x86_64-softmmu",
    "--without-default-features",
    "--enable-system",
    "--enable-tools",
    "--enable-tcg",
    "--enable-kvm",
    "--enable-vhost-net",
    "--enable-vhost-kernel",
    "--disable-docs",
    "--disable-download",
    "--disable-install-blobs",
    "--disable-werror",
)


def build_from_source(
    recipe: SourceToolchainRecipe,
    name: str,
    beside: Path,
    cache: Cache,
    packages_dir: Path,
    into: Path,
    report: Reporter,
) -> Made:
    """Fill ``into``; the tree is its ``root``. ImageError with the compiler's last lines."""
    patches = patch_files(located(recipe.patches, beside)) if recipe.patches is not None else ()
    compiler = build_root(recipe.suite, NEEDS, cache, packages_dir, report.progress)
    suite = Suite(recipe.suite, packages_dir, report)
    what = f"toolchain {name}"
    with tempfile.TemporaryDirectory(dir=into, prefix="source-") as scratch:
        work = Path(scratch)
        version = suite.fetch_source(recipe.source, recipe.version, work)
        with report.step(f"unpacking {recipe.source} {version}"):
            compiler.run("cd /work; dpkg-source -x --no-check ./*.dsc src", work=work, what=what)
        apply_patches(compiler, patches, work, "src", report, what)
        with report.step("configuring"):
            compiler.run(
                'mkdir /work/build; cd /work/build; ../src/configure "$@"',
                *_CONFIGURE,
                *recipe.configure,
                work=work,
                what=what,
            )
        programs = [Path(program).name for program in QEMU_PROGRAMS]
        with report.step(f"compiling {recipe.source} {version}"):
            compiler.run(
                'cd /work/build; exec ninja "$@"',
                *(f"-j{len(os.sched_getaffinity(0))}", *programs),
                work=work,
                what=what,
                timeout=7200,
            )
        kept = into / "root"
        packages = suite.resolve(recipe.packages)
        firmware = work / "firmware"
        suite.unpack(packages, firmware)
        with report.step("copying programs, libraries and firmware"):
            top = work / "top"
            for program, target in zip(programs, QEMU_PROGRAMS, strict=True):
                if not (work / "build" / program).is_file():
                    raise ImageError(f"{what}: its build made no {program}")
                (top / target).parent.mkdir(parents=True, exist_ok=True)
                compiler.run(
                    'strip -o "/work/top/$2" "/work/build/$1"',
                    *(program, target),
                    work=work,
                    what=what,
                )
            # The libraries are those of the build root: what it was linked with.
            copy_programs(top, QEMU_PROGRAMS, kept, libraries=compiler.root)
            copy_firmware(firmware, recipe.data, recipe.drop, kept, name)
    facts = try_toolchain(kept, QEMU_PROGRAMS, recipe.data, name, report)
    return Made(
        version=facts.version,
        facts={
            "suite": recipe.suite,
            "source": f"{recipe.source} {version}",
            "patches": " ".join(patch.name for patch in patches),
            **facts.recorded(QEMU_PROGRAMS, recipe.data),
        },
        packages={package.name: package.version for package in packages},
    )
