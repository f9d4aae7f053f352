"""Applying a user's patches to a source tree in a build root.

Neighbours: ``recipe.patch_files`` finds them, ``qemu_source`` and ``modules_source`` apply.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import ImageError
from harness.images.buildroot import BuildRoot
from harness.images.reporter import Reporter

_FILE = re.compile(r"^(?:---|\+\+\+) (?:[^/\s]+/)?([^\t\n]+)", re.MULTILINE)


def apply_patches(
    compiler: BuildRoot,
    patches: Sequence[Path],
    work: Path,
    tree: str,
    report: Reporter,
    what: str,
) -> None:
    """Apply ``patches`` (``-p1``) to ``work/tree``; ImageError names the one that does not fit."""
    there = work / "patches"
    there.mkdir()
    for number, patch in enumerate(patches):
        report.say(f"applying {patch.name}")
        shutil.copyfile(patch, there / str(number))
        try:
            compiler.run(
                'cd "/work/$1"; exec patch -p1 --batch --forward --no-backup-if-mismatch '
                '--reject-file=- --input="/work/patches/$2"',
                *(tree, str(number)),
                work=work,
                what=f"{what}: {patch.name}",
            )
        except ImageError as error:
            raise ImageError(
                f"{what}: {patch} does not apply to {tree}",
                hint="it is applied with -p1 on top of what the suite has; refresh it for that",
                evidence=error.evidence,
            ) from error


def touched_files(patches: Iterable[Path]) -> frozenset[str]:
    """The files that ``patches`` change, as they name them without the first directory."""
    found = set()
    for patch in patches:
        for name in _FILE.findall(patch.read_text("utf-8", errors="replace")):
            if name.strip() != "dev/null" and name.strip() != "null":
                found.add(name.strip())
    return frozenset(found)
