"""Builds a toolchain: a QEMU of some Debian suite that runs on any x86-64 Linux.

Kept are the programs, their libraries with the suite's own loader, and the firmware; not
kept are QEMU's loadable modules (displays, sound, smart cards), which a lab does not use.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from harness.errors import ImageError
from harness.images.artifacts import Toolchain
from harness.images.cache import Entry, Made
from harness.images.debian import Suite, prune
from harness.images.recipe import ToolchainRecipe
from harness.images.reporter import Reporter
from harness.images.staging import copy_programs
from harness.images.tools import run

BUILDER = "1"
_VERSION = re.compile(r"version (\S+)")
_DEVICE = re.compile(r'^name "([^"]+)"', re.MULTILINE)


def build_toolchain(
    recipe: ToolchainRecipe, name: str, packages_dir: Path, into: Path, report: Reporter
) -> Made:
    """Fill ``into``; the tree is its ``root``. ImageError when the QEMU does not run here."""
    suite = Suite(recipe.suite, packages_dir, report)
    packages = suite.resolve(recipe.packages)
    with tempfile.TemporaryDirectory(dir=into, prefix="packages-") as scratch:
        root = Path(scratch)
        suite.unpack(packages, root)
        kept = into / "root"
        with report.step("copying programs, libraries and firmware"):
            copy_programs(root, recipe.programs, kept)
            for data in recipe.data:
                if not (root / data).is_dir():
                    raise ImageError(f"toolchain {name}: no package of the recipe has {data}/")
                # Some firmware files are links to files of other packages: copy what they mean.
                shutil.copytree(
                    root / data, kept / data, symlinks=False, ignore_dangling_symlinks=True
                )
            prune(kept, recipe.drop)
    qemu = Toolchain(name, "", "", kept, recipe.programs, recipe.data, frozenset())
    with report.step("trying it"):
        answer = run([*qemu.argv(), "--version"], what=f"toolchain {name}", timeout=60).decode()
        devices = run(
            [*qemu.argv(), "-device", "help"], what=f"toolchain {name}", timeout=60
        ).decode()
    version = _VERSION.search(answer)
    if not version:
        raise ImageError(f"toolchain {name}: its QEMU does not say its version: {answer[:80]!r}")
    return Made(
        version=version[1],
        facts={
            "suite": recipe.suite,
            # CPU models are listed there, too (as x86-64 cpu devices).
            "devices": " ".join(
                sorted(name for name in _DEVICE.findall(devices) if not name.endswith("-cpu"))
            ),
        },
        packages={package.name: package.version for package in packages},
    )


def describe_toolchain(recipe: ToolchainRecipe, entry: Entry) -> Toolchain:
    """The finished toolchain in the cache."""
    made = entry.manifest.made
    return Toolchain(
        name=entry.manifest.name,
        digest=entry.manifest.digest,
        version=made.version,
        root=entry.path / "root",
        programs=recipe.programs,
        data=recipe.data,
        devices=frozenset(made.facts.get("devices", "").split()),
    )
