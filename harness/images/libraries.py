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


def closure(root: Path, programs: Iterable[str]) -> tuple[str, ...]:
    """Paths below ``root`` of every library that ``programs`` load, sorted.

    ImageError names the program and the library that the tree lacks.
    """
    libraries: set[str] = set()
    for program in programs:
        path = root / program
        if not path.is_file():
            raise ImageError(f"{program}: is in none of the packages of the recipe")
        if not is_dynamic(path):
            continue
        listing = run(
            [root / LOADER, "--library-path", root / LIBRARY_DIR, "--list", path],
            what=f"libraries of {program}",
            timeout=60,
        )
        for line in listing.decode(errors="replace").splitlines():
            match = _FOUND.match(line)
            if match and "ld-linux" not in match[1]:
                found = Path(match[2])
                if not found.is_relative_to(root):
                    raise ImageError(
                        f"{program}: needs {match[1]}, which is in none of the packages of the "
                        "recipe"
                    )
                libraries.add(found.relative_to(root).as_posix())
    return tuple(sorted(libraries))


def is_dynamic(path: Path) -> bool:
    """Whether ``path`` is an ELF program that asks for a loader (has PT_INTERP)."""
    with path.open("rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:5] != b"\x7fELF\x02":
            return False
        (table,) = struct.unpack_from("<Q", head, 0x20)
        size, count = struct.unpack_from("<HH", head, 0x36)
        file.seek(table)
        entries = file.read(size * count)
    return any(
        struct.unpack_from("<I", entries, n * size)[0] == _PT_INTERP
        for n in range(len(entries) // size)
    )
