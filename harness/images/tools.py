"""Programs of this machine that build images, and how their failures are told.

It is not ``harness.reach``: images are built here and only here, before there is any lab.
Neighbours: used by the builders and by ``debian``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from harness.errors import ImageError, MissingDependency

Progress = Callable[[str], None]
"""Takes one line for a person to follow; called from the thread that builds."""

# Debian and Ubuntu names of the packages that hold the programs.
_PACKAGES = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "chroot": "coreutils",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "gcc": "gcc libc6-dev",
    "mkfs.erofs": "erofs-utils",
    "setpriv": "util-linux",
    "strip": "binutils",
    "unshare": "util-linux",
    "xz": "xz-utils",
    "zstd": "zstd",
}
_FULL = ("No space left on device", "have enough free space")
_SBIN = "/usr/sbin:/sbin"
# A harness that is killed takes its apt or compiler with it: an apt that goes on alone would
# keep the index locked.
_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


def require(*programs: str) -> None:
    """Raise MissingDependency, naming everything to install, unless all ``programs`` are here."""
    missing = [program for program in programs if _find(program) is None]
    if missing:
        packages = " ".join(_PACKAGES.get(program, program) for program in missing)
        raise MissingDependency(
            f"images: this machine lacks {', '.join(missing)}",
            hint=f"apt-get install --no-install-recommends {packages}",
        )


def run(
    argv: Sequence[str | Path],
    *,
    what: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 600,
    stdin: bytes = b"",
) -> bytes:
    """Standard output of a program; ImageError, beginning with ``what``, when it fails.

    The program runs in the C locale, so that its messages can be read by ``debian``. It does
    not outlive the calling thread.
    """
    require(_WITH_US[0])
    program = str(argv[0])
    if "/" not in program:
        require(program)
    path = _find(program)
    try:
        done = subprocess.run(
            [*_WITH_US, path or program, *map(str, argv[1:])],
            input=stdin,
            capture_output=True,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ImageError(
            f"{what}: {program} was stopped after {timeout:.0f} s",
            evidence=_tail(error.stderr or b""),
        ) from None
    except OSError as error:
        raise ImageError(f"{what}: {program} cannot be run: {error.strerror}") from error
    if done.returncode:
        evidence = _tail(done.stderr or done.stdout)
        hint = ""
        if is_disk_full(evidence):
            hint = "the disk is full: free some space, or set HARNESS_CACHE to a larger disk"
        raise ImageError(
            f"{what}: {program} ended with status {done.returncode}", hint=hint, evidence=evidence
        )
    return done.stdout


def is_disk_full(lines: Iterable[str]) -> bool:
    """Whether a program's last words say that there is no room left."""
    return any(words in line for line in lines for words in _FULL)


def _find(program: str) -> str | None:
    if "/" in program:
        return program if os.access(program, os.X_OK) else None
    # mkfs.erofs and depmod are in sbin, which is not in every user's PATH.
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{_SBIN}")


def _tail(output: bytes, lines: int = 12) -> list[str]:
    return [line for line in output.decode(errors="replace").splitlines() if line.strip()][-lines:]
