"""What this machine can do for a lab, found out by trying, and what to install.

Neighbours: ``cli`` prints it. Nothing is changed on the machine.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import HarnessError
from harness.images import Store
from harness.images.mirror import debian_mirrors, keyring
from harness.lab.accelerator import choose
from harness.observe import LAB
from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import Sandbox

_DISK_NEEDED = 4 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One answer. ``lacking`` keeps labs from running, ``limited`` does not."""

    what: str
    state: Literal["ok", "limited", "lacking"]
    found: str
    hint: str = ""


def examine(store: Store) -> Iterator[Check]:
    """All checks, each as soon as it is known."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("Python", "ok" if sys.version_info >= (3, 11) else "lacking", version)
    root = os.geteuid() == 0
    yield Check("user", "ok" if root else "lacking", "root" if root else "not root",
                "" if root else "run as root: namespaces, taps and bridges need it")  # fmt: skip
    yield _programs()
    yield _try("tun", _tun, "load the module tun")
    yield _disk(store.root)
    yield _try("Debian mirror", _mirror, "set HARNESS_DEBIAN_MIRROR to the address of one")
    if not root:
        return
    try:
        with (
            Sandbox("doctor") as sandbox,
            NamespaceMachine(sandbox, sandbox.root, name=LAB) as machine,
        ):
            yield Check("namespaces", "ok", "network, mount and PID namespaces can be made")
            yield from _accelerators(machine, store)
    except HarnessError as error:
        yield Check("namespaces", "lacking", error.message, error.hint)


def _try(what: str, look: Callable[[], str], hint: str) -> Check:
    try:
        return Check(what, "ok", look())
    except (HarnessError, OSError) as error:
        return Check(what, "lacking", str(error).splitlines()[0], hint)


def _programs() -> Check:
    wanted = {
        "apt-get": "apt", "dpkg-deb": "dpkg", "mkfs.erofs": "erofs-utils", "depmod": "kmod",
        "gcc": "gcc libc6-dev", "zstd": "zstd", "unshare": "util-linux", "nsenter": "util-linux",
        "tcpdump": "tcpdump",
    }  # fmt: skip
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in wanted if shutil.which(name, path=path) is None]
    if not missing:
        return Check("programs", "ok", f"all {len(wanted)} are there")
    packages = " ".join(dict.fromkeys(wanted[name] for name in missing))
    # Without tcpdump labs run; only the paths of packets are then not known.
    state: Literal["limited", "lacking"] = "limited" if missing == ["tcpdump"] else "lacking"
    return Check("programs", state, f"missing: {', '.join(missing)}",
                 f"apt-get install --no-install-recommends {packages}")  # fmt: skip


def _tun() -> str:
    with Path("/dev/net/tun").open("r+b", buffering=0):
        return "/dev/net/tun opens"


def _mirror() -> str:
    # The address itself stays out of reports: it is this machine's business.
    keyring()
    return f"{len(debian_mirrors())} archive(s) known, with the keys to verify them"


def _disk(root: Path) -> Check:
    there = root
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    found = f"{free >> 20} MiB free for images"
    if free >= _DISK_NEEDED:
        return Check("disk", "ok", found)
    return Check("disk", "limited", found, "set HARNESS_CACHE to a directory with 4 GiB")


def _accelerators(machine: NamespaceMachine, store: Store) -> Iterator[Check]:
    try:
        qemu = store.toolchain("qemu")
        yield Check("QEMU", "ok", f"{qemu.version} (recipe qemu)")
        trials = choose(machine, qemu.argv(), str(store.tiny_guest()))
    except HarnessError as error:
        yield Check("QEMU", "lacking", error.message, error.hint or "harness images build")
        return
    for trial in trials:
        state: Literal["ok", "limited"] = "ok" if trial.works else "limited"
        yield Check(f"accelerator {trial.accelerator}", state, trial.evidence)
