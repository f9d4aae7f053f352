"""Builds a QEMU from a suite's source package with a user's patches, in the suite's own
build root: only what a lab needs of it (x86-64, TCG and KVM, tap and vhost), in minutes.

The firmware is the suite's: Debian's source package of QEMU does not hold it.

The source without patches is compiled once and kept, for its version, configuration and compiler.
A patch that changes nothing but C files is applied to a copy of that tree, in which ninja compiles
again what depends on them; any other is built from nothing, because ninja does not know all that
configure read. What comes out is the same, so that it is no part of a toolchain's digest.

Neighbours: ``buildroot`` has the compiler; ``toolchain`` says what a toolchain is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.errors import ImageError
from harness.images.buildroot import BuildRoot, build_root
from harness.images.cache import Cache, Key, Made, digest_of
from harness.images.debian import Suite
from harness.images.patches import apply_patches, keeps_files
from harness.images.recipe import QEMU_PROGRAMS, SourceToolchainRecipe, located, patch_files
from harness.images.reporter import Reporter
from harness.images.staging import copy_programs
from harness.images.toolchain import copy_firmware, try_toolchain
from harness.images.tools import run

BUILDER = "1"
COMPILED = "compiled"
"""The kind of a source that is kept as it was compiled without patches."""
_FOLLOWED = (".c", ".h", ".inc")
"""Files that ninja has written down for every object that was made from them."""
_PROGRAMS = tuple(Path(program).name for program in QEMU_PROGRAMS)
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
        if keeps_files(patches, _FOLLOWED):
            _copy_compiled(recipe, version, compiler, cache, work, report)
            apply_patches(compiler, patches, work, "src", report, what)
        else:
            _unpack(compiler, work, report, f"{recipe.source} {version}")
            apply_patches(compiler, patches, work, "src", report, what)
            _configure(compiler, recipe.configure, work, report, what)
        _compile(compiler, work, report, what)
        kept = into / "root"
        packages = suite.resolve(recipe.packages)
        firmware = work / "firmware"
        suite.unpack(packages, firmware)
        with report.step("copying programs, libraries and firmware"):
            top = work / "top"
            for program, target in zip(_PROGRAMS, QEMU_PROGRAMS, strict=True):
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


def _copy_compiled(
    recipe: SourceToolchainRecipe,
    version: str,
    compiler: BuildRoot,
    cache: Cache,
    work: Path,
    report: Reporter,
) -> None:
    """Fill ``work`` with the source, unpacked and compiled; its files are in ``work``."""
    what = f"{recipe.source} {version}"
    digest = digest_of(
        {
            "builder": BUILDER,
            "suite": recipe.suite,
            "source": what,
            "configure": " ".join((*_CONFIGURE, *recipe.configure)),
            "compiler": " ".join(f"{name}={of}" for name, of in sorted(compiler.packages.items())),
        }
    )

    def build(into: Path, report: Reporter) -> Made:
        for file in work.iterdir():
            shutil.copyfile(file, into / file.name)
        _unpack(compiler, into, report, what)
        for file in work.iterdir():
            (into / file.name).unlink()
        _configure(compiler, recipe.configure, into, report, what)
        _compile(compiler, into, report, what)
        return Made(version=version, facts={"suite": recipe.suite})

    key = Key(COMPILED, recipe.source, digest, f"source of {recipe.suite}")
    entry = cache.obtain(key, build, report.progress)
    with report.step(f"copying {what} as it was compiled"):
        for tree in ("src", "build"):
            # Times too: ninja goes by them.
            run(["cp", "-a", "--reflink=auto", entry.path / tree, work / tree], what=what)


def _unpack(compiler: BuildRoot, work: Path, report: Reporter, what: str) -> None:
    with report.step(f"unpacking {what}"):
        compiler.run("cd /work; dpkg-source -x --no-check ./*.dsc src", work=work, what=what)


def _configure(
    compiler: BuildRoot, more: Sequence[str], work: Path, report: Reporter, what: str
) -> None:
    with report.step("configuring"):
        compiler.run(
            'mkdir /work/build; cd /work/build; ../src/configure "$@"',
            *_CONFIGURE,
            *more,
            work=work,
            what=what,
        )


def _compile(compiler: BuildRoot, work: Path, report: Reporter, what: str) -> None:
    with report.step(f"compiling {what}"):
        compiler.run(
            'cd /work/build; exec ninja "$@"',
            *(f"-j{len(os.sched_getaffinity(0))}", *_PROGRAMS),
            work=work,
            what=what,
            timeout=7200,
        )
