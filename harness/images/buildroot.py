"""A place to compile in: a suite's own compiler and libraries, without installing anything.

The packages are unpacked into a directory and never configured; what their maintainer
scripts would have done and a compiler needs is done here. Commands run in it by chroot, in
namespaces of their own: without network, and gone with the process that asked for them.
What was built once is kept in the store like any other artifact.

Neighbours: ``qemu_source`` and ``modules_source`` compile; ``debian`` has the packages.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ImageError
from harness.images.cache import Cache, Key, Made, digest_of
from harness.images.debian import Suite, prune
from harness.images.reporter import Reporter
from harness.images.tools import Progress, require, run

BUILDER = "1"
KIND = "buildroot"
_BASE = (
    "bash",
    "binutils",
    "coreutils",
    "dash",
    "diffutils",
    "findutils",
    "gawk",
    "gcc",
    "grep",
    "libc6-dev",
    "make",
    "patch",
    "sed",
    "tar",
    "xz-utils",
)
# A kernel to run is no part of a place to compile in; headers packages ask for one.
_NEVER = ("linux-image-*",)
_DROP = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "boot", "etc/apt")
_MOUNTPOINTS = ("proc", "dev", "tmp", "work", "etc/ssl/certs")
# Links that update-alternatives would make.
_LINKS = {"usr/bin/cc": "gcc", "usr/bin/awk": "gawk"}

# Arguments: root, directory for /work, command. In a user namespace the root cannot be made
# read-only when it is on a file system with other flags; it is only tidier.
_ENTER = """\
set -e
root=$1 work=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root" 2> /dev/null || :
mount --bind "$work" "$root/work"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin HOME=/tmp LC_ALL=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 sh -euc "$@"
"""


@dataclass(frozen=True, slots=True)
class BuildRoot:
    """A finished place to compile in. ``packages``: name to version."""

    root: Path
    packages: dict[str, str]

    def run(
        self, script: str, *arguments: str, work: Path, what: str, timeout: float = 1800
    ) -> bytes:
        """Output of a shell script with ``work`` at /work; ImageError with its last lines."""
        require("unshare", "chroot")
        namespaces = ["--mount", "--pid", "--net", "--fork", "--kill-child"]
        if os.geteuid() != 0:
            namespaces = ["--user", "--map-root-user", *namespaces]
        argv: list[str | Path] = [
            "unshare",
            *namespaces,
            *("sh", "-c", _ENTER, "enter", str(self.root), str(work)),
            # Standard output and error in one: a compiler's last words are on both.
            *(f"exec 2>&1\n{script}", "sh", *arguments),
        ]
        try:
            return run(argv, what=what, timeout=timeout)
        except ImageError as error:
            if any("unshare failed" in line for line in error.evidence):
                raise ImageError(
                    f"{what}: compiling needs namespaces of its own, which this machine refuses",
                    hint="run it as root, or allow unprivileged user namespaces",
                    evidence=error.evidence,
                ) from error
            raise


def build_root(
    suite_name: str, packages: Sequence[str], cache: Cache, packages_dir: Path, progress: Progress
) -> BuildRoot:
    """The place to compile in with ``packages`` of the suite, made if need be."""
    wanted = sorted({*_BASE, *packages})
    digest = digest_of({"builder": BUILDER, "suite": suite_name, "packages": " ".join(wanted)})

    def build(into: Path, report: Reporter) -> Made:
        suite = Suite(suite_name, packages_dir, report)
        found = suite.resolve(wanted, exclude=_NEVER)
        root = into / "root"
        suite.unpack(found, root)
        prune(root, _DROP)
        for name in _MOUNTPOINTS:
            (root / name).mkdir(parents=True, exist_ok=True)
        for link, target in _LINKS.items():
            if not (root / link).is_symlink():
                (root / link).symlink_to(target)
        _gather_certificates(root)
        if not (root / "usr/bin/gcc").exists():
            raise ImageError(f"build root of {suite_name}: its packages hold no gcc")
        return Made(
            version=suite_name,
            facts={"suite": suite_name},
            packages={package.name: package.version for package in found},
        )

    entry = cache.obtain(
        Key(KIND, suite_name, digest, f"packages of {suite_name}"), build, progress
    )
    return BuildRoot(entry.path / "root", entry.manifest.made.packages)


def _gather_certificates(root: Path) -> None:
    """What ca-certificates' script would write; Python's venv reads it even without network."""
    found = sorted(root.glob("usr/share/ca-certificates/mozilla/*.crt"))
    if found:
        bundle = root / "etc/ssl/certs/ca-certificates.crt"
        bundle.write_bytes(b"".join(path.read_bytes() for path in found))
