"""Things of the user's that are taken as they are: which file goes where, and their digest.

``gather_*`` looks at a build tree, a prefix or a few files and says what an artifact of it
would hold, without copying. The digest is over content: an artifact is made anew when a
rebuild changed something, and found again when it did not.

Neighbours: ``own_toolchain`` and ``own_kernel`` gather; ``store`` asks for the digest first.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ImageError


@dataclass(frozen=True, slots=True)
class Gathered:
    """``files``: path in the artifact -> file on this machine. ``facts`` are for builders."""

    origin: Path
    files: Mapping[str, Path]
    facts: Mapping[str, str]

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file, by its path in the artifact."""
        return {target: _sha256(source) for target, source in sorted(self.files.items())}

    def copy(self, into: Path, expected: Mapping[str, str]) -> None:
        """Copy the files; ImageError if they are not those that had the ``expected`` digests."""
        for target, source in self.files.items():
            path = into / target
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source, path)
                shutil.copymode(source, path)
            except FileNotFoundError as error:
                raise self._changed(source) from error
            if _sha256(path) != expected.get(target):
                raise self._changed(source)

    def _changed(self, source: Path) -> ImageError:
        return ImageError(
            f"{source}: changed while it was copied",
            hint=f"is a build going on in {self.origin}? Try again when it has ended",
        )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
