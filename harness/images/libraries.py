"""The shared libraries that programs of an unpacked Debian tree need.

The tree's own loader is asked, so that the answer does not depend on this machine's libc.
Library search paths built into a program (RPATH) are looked up in the tree as well.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from pathlib import Path

from harness.errors import ImageError
from harness.images.tools import run

LOADER = "lib64/ld-linux-x86-64.so.2"
LIBRARY_DIR = "usr/lib/x86_64-linux-gnu"
_FOUND = re.compile(r"^\s*(\S+) => (.+?)(?: \(0x[0-9a-f]+\))?$")
_PT_INTERP = 3


def closure(root: Path, programs: Iterable[str], system: Path | None = None) -> tuple[str, ...]:
    """Paths of every library that ``programs`` of ``root`` load, sorted.

    The libraries, and the loader that is asked, are below ``system`` (``root`` when absent).
    ImageError names the program and the library that the tree lacks.
    """
    system = system or root
    libraries: set[str] = set()
    for program in programs:
        path = root / program
        if not path.is_file():
            raise ImageError(f"{program}: is in none of the packages of the recipe")
        if not is_dynamic(path):
            continue
        listing = run(
            [system / LOADER, "--library-path", system / LIBRARY_DIR, "--list", path],
            what=f"libraries of {program}",
            timeout=60,
        )
        for line in listing.decode(errors="replace").splitlines():
            match = _FOUND.match(line)
            if match and "ld-linux" not in match[1]:
                found = Path(match[2])
                if not found.is_relative_to(system):
                    raise ImageError(
                        f"{program}: needs {match[1]}, which is in none of the packages of the "
                        "recipe"
                    )
                libraries.add(found.relative_to(system).as_posix())
    return tuple(sorted(libraries))


def loaded_by(
    program: Path, loader: Path, directories: Iterable[Path], *, what: str
) -> tuple[Path, ...]:
    """The libraries that ``program`` loads when ``loader`` looks in ``directories`` first.

    ImageError names the library, or the version of one, that is not there.
    """
    path = ":".join(map(str, directories))
    chosen = ["--library-path", path] if path else []
    listing = run([loader, *chosen, "--list", program], what=f"{what}: libraries of {program}")
    found: dict[Path, None] = {}
    for line in listing.decode(errors="replace").splitlines():
        match = _FOUND.match(line)
        if match is None or "ld-linux" in match[1]:
            continue
        if match[2] == "not found":
            raise ImageError(f"{program}: needs {match[1]}, which is not found")
        found[Path(match[2])] = None
    return tuple(found)


def is_dynamic(path: Path) -> bool:
    """Whether ``path`` is an ELF program that asks for a loader (has PT_INTERP)."""
    return bool(interpreter(path))


def interpreter(path: Path) -> str:
    """The loader that an ELF program asks for (PT_INTERP); empty if it asks for none."""
    with path.open("rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:5] != b"\x7fELF\x02":
            return ""
        (table,) = struct.unpack_from("<Q", head, 0x20)
        size, count = struct.unpack_from("<HH", head, 0x36)
        file.seek(table)
        entries = file.read(size * count)
        for n in range(len(entries) // size):
            if struct.unpack_from("<I", entries, n * size)[0] == _PT_INTERP:
                start, length = struct.unpack_from("<Q16xQ", entries, n * size + 8)
                file.seek(start)
                return file.read(length).rstrip(b"\0").decode(errors="replace")
    return ""
