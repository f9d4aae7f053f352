"""What in a store may go, and why.

A thing goes when a shipped recipe of its name gives something else today, or when nobody
used it for long; never while a process runs from it, or within an hour of its last use (a
lab may be about to start with it).

Neighbours: ``cache`` has the things, ``store`` knows what the recipes give today.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.images.cache import Entry
from harness.images.states import HOLDS, KIND

_DISK = "disk"
_MADE_OF_OTHERS = (_DISK, KIND)
"""Kinds that go with what they were made from."""
_KINDS = {"toolchain", "kernel", "guest", "host", "buildroot", *_MADE_OF_OTHERS}
_HOUR = 3600.0
_DAY = 24 * _HOUR
_SHIPPED = "recipe "


@dataclass(frozen=True, slots=True)
class Doomed:
    """A finished thing that may go. ``why`` is for people."""

    entry: Entry
    why: str


def superseded_or_unused(
    entries: Sequence[Entry], current: frozenset[str], *, unused_days: float
) -> tuple[Doomed, ...]:
    """Which of ``entries`` may go; ``current`` are the digests that recipes give today."""
    now = time.time()
    busy = tuple(_files_in_use())
    doomed = []
    staying: set[str] = set()
    # Disks and states last: they go with what they hold.
    for entry in sorted(entries, key=lambda one: one.manifest.kind in _MADE_OF_OTHERS):
        # Other rooms keep things in the same store.
        if entry.manifest.kind not in _KINDS:
            continue
        unused = now - entry.used_at
        why = ""
        if unused > unused_days * _DAY:
            why = f"not used for {unused / _DAY:.0f} days"
        elif unused > _HOUR and entry.manifest.kind in _MADE_OF_OTHERS:
            held = entry.manifest.made.facts.get(HOLDS, "").split()
            why = "" if staying.issuperset(held) else "what it holds is gone"
        elif unused > _HOUR and _is_superseded(entry, current):
            why = "no recipe gives it today"
        prefix = f"{entry.path}/"
        if why and not any(path.startswith(prefix) for path in busy):
            doomed.append(Doomed(entry, why))
        else:
            staying.add(entry.manifest.digest)
    return tuple(doomed)


def _is_superseded(entry: Entry, current: frozenset[str]) -> bool:
    manifest = entry.manifest
    if manifest.kind == "buildroot":
        return False
    if manifest.contents and not manifest.origin.startswith(_SHIPPED):
        return False
    return manifest.digest not in current


def _files_in_use() -> Iterator[str]:
    """Files that processes have open or mapped, as far as they may be seen."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for line in (process / "maps").read_text(errors="replace").splitlines():
                _, slash, rest = line.partition("/")
                if slash:
                    yield slash + rest
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    yield str(descriptor.readlink())


def remove_unused_downloads(packages: Path, *, unused_days: float) -> int:
    """Remove package files that were not needed for that long; how many bytes that were."""
    limit = time.time() - unused_days * _DAY
    freed = 0
    for path in packages.glob("*/archives/*"):
        with suppress(OSError):
            status = path.stat()
            if path.is_file() and status.st_mtime < limit:
                path.unlink()
                freed += status.st_size
    return freed
