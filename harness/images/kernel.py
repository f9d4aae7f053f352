"""Builds a kernel artifact from a Debian kernel package: vmlinuz, vmlinux and the modules.

Of what the image package depends on only the parts of the kernel are unpacked, not
initramfs tools or udev.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

from harness.errors import ImageError
from harness.images.artifacts import Kernel
from harness.images.bzimage import extract_vmlinux, starts_by_pvh
from harness.images.cache import Entry, Made
from harness.images.debian import Suite
from harness.images.recipe import KernelRecipe
from harness.images.reporter import Reporter
from harness.images.tools import run

BUILDER = "1"
# Since Linux 7 the image package is empty, and these hold what it held.
_PARTS = ("base", "binary", "modules")


def build_kernel(
    recipe: KernelRecipe, name: str, packages_dir: Path, into: Path, report: Reporter
) -> Made:
    """Fill ``into`` with vmlinuz, vmlinux and modules/RELEASE."""
    suite = Suite(recipe.suite, packages_dir, report)
    # A metapackage (linux-image-amd64) depends on the package of the newest version.
    found = suite.resolve(suite.pinned([recipe.package], recipe.version), only="linux-*")
    images = [package for package in found if fnmatchcase(package.name, "linux-image-[0-9]*")]
    if len(images) != 1:
        names = ", ".join(package.name for package in images) or "none"
        raise ImageError(
            f"kernel {name}: package {recipe.package} of {recipe.suite} should bring exactly one "
            f"kernel image (found: {names})"
        )
    packages = images + [
        package
        for package in found
        if any(fnmatchcase(package.name, f"linux-{part}-[0-9]*") for part in _PARTS)
    ]
    with tempfile.TemporaryDirectory(dir=into, prefix="packages-") as scratch:
        root = Path(scratch)
        suite.unpack(packages, root)
        releases = [path.name for path in root.glob("usr/lib/modules/*")]
        if len(releases) != 1:
            raise ImageError(f"kernel {name}: {images[0].name} holds the modules of {releases}")
        release = releases[0]
        places = [root / f"usr/lib/modules/{release}/vmlinuz", root / f"boot/vmlinuz-{release}"]
        images_there = [path for path in places if path.is_file()]
        if not images_there:
            raise ImageError(f"kernel {name}: its packages hold no vmlinuz of {release}")
        shutil.move(images_there[0], into / "vmlinuz")
        shutil.move(root / "usr/lib/modules", into / "modules")
    finish_kernel(into, release, f"kernel {name}", report)
    return Made(
        version=images[0].version,
        facts={"suite": recipe.suite, "release": release},
        packages={package.name: package.version for package in packages},
    )


def finish_kernel(into: Path, release: str, what: str, report: Reporter) -> None:
    """From vmlinuz and modules/RELEASE: vmlinux, and the tables of the modules."""
    with report.step("extracting vmlinux and reading the modules' dependencies"):
        vmlinuz = (into / "vmlinuz").read_bytes()
        kernel = extract_vmlinux(vmlinuz, what=what)
        if starts_by_pvh(kernel):
            (into / "vmlinux").write_bytes(kernel)
        else:
            os.link(into / "vmlinuz", into / "vmlinux")
        index_modules(into, release, what)


def index_modules(into: Path, release: str, what: str) -> None:
    """Write modules.dep and its like of ``into/modules/RELEASE``."""
    # depmod wants to find lib/modules below a directory.
    with tempfile.TemporaryDirectory(dir=into, prefix="depmod-") as scratch:
        (Path(scratch) / "lib").mkdir()
        (Path(scratch) / "lib/modules").symlink_to(into / "modules")
        run(["depmod", "-b", scratch, release], what=what)


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
        detail=f"{made.facts['changed']} replaced" if "changed" in made.facts else "",
    )
