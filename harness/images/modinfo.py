"""What a kernel module says of itself, and taking its debugging sections away.

The section ``.modinfo`` holds NUL-terminated ``key=value`` texts; ``vermagic`` is what the
kernel compares with its own before it loads a module.

Source of the layout: ELF-64 object file format (section headers), Linux
``include/linux/module.h`` (MODULE_INFO) and ``kernel/module/version.c`` (same_magic).
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import ImageError
from harness.images.tools import run

_ELF = b"\x7fELF\x02"
_AT_ONCE = 200


def module_content(path: Path, what: str) -> bytes:
    """A module file, decompressed if its name says it is compressed."""
    try:
        data = path.read_bytes()
        if path.suffix == ".xz":
            return lzma.decompress(data)
    except (OSError, lzma.LZMAError) as error:
        raise ImageError(f"{what}: {path}: cannot be read: {error}") from error
    if path.suffix == ".zst":
        return run(["zstd", "-dcq"], what=what, stdin=data)
    if path.suffix == ".gz":
        return run(["gzip", "-dcq"], what=what, stdin=data)
    return data


def modinfo(content: bytes, what: str) -> Mapping[str, str]:
    """``key: value`` of the section ``.modinfo``; ImageError when ``content`` is no module."""
    section = _section(content, b".modinfo")
    if section is None:
        raise ImageError(f"{what}: is no kernel module (an ELF file with a section .modinfo)")
    pairs = (item.partition(b"=") for item in section.split(b"\0") if b"=" in item)
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, _, value in pairs}


def _section(content: bytes, wanted: bytes) -> bytes | None:
    if len(content) < 64 or not content.startswith(_ELF):
        return None
    try:
        (table,) = struct.unpack_from("<Q", content, 0x28)
        size, count, names = struct.unpack_from("<HHH", content, 0x3A)
        (texts,) = struct.unpack_from("<Q", content, table + names * size + 0x18)
        for n in range(count):
            (name,) = struct.unpack_from("<I", content, table + n * size)
            offset, length = struct.unpack_from("<QQ", content, table + n * size + 0x18)
            end = texts + name + len(wanted)
            if content[texts + name : end + 1] == wanted + b"\0":
                return content[offset : offset + length]
    except struct.error:
        return None
    return None


def strip_modules(files: Sequence[Path]) -> None:
    """Remove debugging sections (never what the kernel reads) from uncompressed modules."""
    for start in range(0, len(files), _AT_ONCE):
        run(["strip", "--strip-debug", *files[start : start + _AT_ONCE]], what="kernel modules")
