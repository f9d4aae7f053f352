"""Builds a toolchain: a QEMU of some Debian suite that runs on any x86-64 Linux.

Kept are the programs, their libraries with the suite's own loader, and the firmware; of
QEMU's loadable modules only TCG, for a lab uses no displays, sound or smart cards.

Every toolchain, whatever it was made from, is tried before it counts as built.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ImageError
from harness.images.artifacts import Toolchain
from harness.images.cache import Entry, Made
from harness.images.debian import Suite, prune
from harness.images.recipe import ToolchainRecipe
from harness.images.reporter import Reporter
from harness.images.staging import copy_programs
from harness.images.tools import run

BUILDER = "2"
_VERSION = re.compile(r"version (\S+)(?: \(([^)]*)\))?")
_DEVICE = re.compile(r'^name "([^"]+)"', re.MULTILINE)
_ACCELERATORS = tuple(
    f"{place}/qemu/accel-tcg-x86_64.so" for place in ("lib", "lib64", "lib/x86_64-linux-gnu")
)
# A machine that stops before its first instruction: the firmware has been loaded by then.
_MACHINE = (
    *("-machine", "q35", "-accel", "tcg", "-nodefaults", "-no-user-config"),
    *("-display", "none", "-S", "-chardev", "stdio,id=m", "-mon", "chardev=m,mode=readline"),
)


@dataclass(frozen=True, slots=True)
class Tried:
    """What a QEMU that was tried said of itself."""

    version: str
    package: str
    devices: tuple[str, ...]

    def recorded(self, programs: Sequence[str], data: Sequence[str]) -> dict[str, str]:
        """The same and what a ``Toolchain`` is made of, for a manifest."""
        return {
            "devices": " ".join(self.devices),
            "programs": " ".join(programs),
            "data": " ".join(data),
            "says": self.package,
        }


def build_toolchain(
    recipe: ToolchainRecipe, name: str, packages_dir: Path, into: Path, report: Reporter
) -> Made:
    """Fill ``into``; the tree is its ``root``. ImageError when the QEMU does not run here."""
    suite = Suite(recipe.suite, packages_dir, report)
    packages = suite.resolve(suite.pinned(recipe.packages, recipe.version))
    with tempfile.TemporaryDirectory(dir=into, prefix="packages-") as scratch:
        root = Path(scratch)
        suite.unpack(packages, root)
        kept = into / "root"
        with report.step("copying programs, libraries and firmware"):
            copy_programs(root, recipe.programs, kept)
            copy_accelerators(root / "usr", kept)
            copy_firmware(root, recipe.data, recipe.drop, kept, name)
    tried = try_toolchain(kept, recipe.programs, recipe.data, name, report)
    return Made(
        version=tried.version,
        facts={"suite": recipe.suite, **tried.recorded(recipe.programs, recipe.data)},
        packages={package.name: package.version for package in packages},
    )


def accelerators(prefix: Path) -> Iterator[tuple[str, Path]]:
    """Loadable modules without which the QEMU in ``prefix``/bin has no TCG: where they go,
    and where they are (bookworm builds QEMU so, trixie does not).

    QEMU looks for them beside the directory of its program, which to it is the loader's.
    """
    for pattern in _ACCELERATORS:
        for file in sorted(prefix.glob(pattern)):
            yield file.relative_to(prefix).as_posix(), file


def copy_accelerators(prefix: Path, kept: Path) -> None:
    """Copy what ``accelerators`` finds."""
    for target, file in accelerators(prefix):
        (kept / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, kept / target)


def copy_firmware(
    root: Path, data: Sequence[str], drop: Sequence[str], kept: Path, name: str
) -> None:
    """Copy the directories ``data`` of unpacked packages, less what matches ``drop``."""
    for directory in data:
        if not (root / directory).is_dir():
            raise ImageError(f"toolchain {name}: no package of the recipe has {directory}/")
        # Some firmware files are links to files of other packages: copy what they mean.
        shutil.copytree(
            root / directory,
            kept / directory,
            symlinks=False,
            ignore_dangling_symlinks=True,
            dirs_exist_ok=True,
        )
    prune(kept, drop)


def try_toolchain(
    root: Path, programs: Sequence[str], data: Sequence[str], name: str, report: Reporter
) -> Tried:
    """Run the QEMU below ``root``: its version, its devices, and a machine with firmware."""
    qemu = Toolchain(name, "", "", root, tuple(programs), tuple(data), frozenset())
    what = f"toolchain {name}"
    with report.step("trying it"):
        answer = run([*qemu.argv(), "--version"], what=what, timeout=60).decode()
        version = _VERSION.search(answer)
        if not version:
            raise ImageError(f"{what}: its QEMU does not say its version: {answer[:80]!r}")
        devices = run([*qemu.argv(), "-device", "help"], what=what, timeout=60).decode()
        run([*qemu.argv(), *_MACHINE], what=f"{what}: a machine", timeout=60, stdin=b"quit\n")
    # CPU models are listed there, too (as x86-64 cpu devices).
    known = sorted(one for one in _DEVICE.findall(devices) if not one.endswith("-cpu"))
    return Tried(version[1], version[2] or "", tuple(known))


def describe_toolchain(entry: Entry) -> Toolchain:
    """The finished toolchain in the cache."""
    made = entry.manifest.made
    return Toolchain(
        name=entry.manifest.name,
        digest=entry.manifest.digest,
        version=made.version,
        root=entry.path / "root",
        programs=tuple(made.facts["programs"].split()),
        data=tuple(made.facts["data"].split()),
        devices=frozenset(made.facts["devices"].split()),
        detail=", ".join(
            text for text in (made.facts.get("says"), made.facts.get("patches")) if text
        ),
    )
