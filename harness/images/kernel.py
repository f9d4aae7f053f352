"""Builds a kernel artifact from a Debian kernel package: vmlinuz, vmlinux and the modules.

Only the image package itself is unpacked, not what it depends on (initramfs tools, udev).
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from harness.errors import ImageError
from harness.images.artifacts import Kernel
from harness.images.bzimage import extract_vmlinux
from harness.images.cache import Entry, Made
from harness.images.debian import Suite
from harness.images.recipe import KernelRecipe
from harness.images.reporter import Reporter
from harness.images.tools import run

BUILDER = "1"


def build_kernel(
    recipe: KernelRecipe, name: str, packages_dir: Path, into: Path, report: Reporter
) -> Made:
    """Fill ``into`` with vmlinuz, vmlinux and modules/RELEASE."""
    suite = Suite(recipe.suite, packages_dir, report)
    # A metapackage (linux-image-amd64) depends on the package of the newest version.
    packages = suite.resolve([recipe.package], only="linux-image-[0-9]*")
    if len(packages) != 1:
        found = ", ".join(package.name for package in packages) or "none"
        raise ImageError(
            f"kernel {name}: package {recipe.package} of {recipe.suite} should bring exactly one "
            f"kernel image (found: {found})"
        )
    with tempfile.TemporaryDirectory(dir=into, prefix="packages-") as scratch:
        root = Path(scratch)
        suite.unpack(packages, root)
        releases = [path.name for path in (root / "usr/lib/modules").iterdir()]
        if len(releases) != 1:
            raise ImageError(f"kernel {name}: {packages[0].name} holds the modules of {releases}")
        release = releases[0]
        with report.step("extracting vmlinux and reading the modules' dependencies"):
            vmlinuz = (root / "boot" / f"vmlinuz-{release}").read_bytes()
            (into / "vmlinuz").write_bytes(vmlinuz)
            (into / "vmlinux").write_bytes(extract_vmlinux(vmlinuz, what=f"kernel {name}"))
            run(["depmod", "-b", root, release], what=f"kernel {name}")
            shutil.move(root / "usr/lib/modules", into / "modules")
    return Made(
        version=packages[0].version,
        facts={"suite": recipe.suite, "release": release},
        packages={packages[0].name: packages[0].version},
    )


def describe_kernel(entry: Entry) -> Kernel:
    """The finished kernel in the cache."""
    made = entry.manifest.made
    release = made.facts["release"]
    return Kernel(
        name=entry.manifest.name,
        digest=entry.manifest.digest,
        version=made.version,
        release=release,
        vmlinux=entry.path / "vmlinux",
        vmlinuz=entry.path / "vmlinuz",
        modules=entry.path / "modules" / release,
    )
