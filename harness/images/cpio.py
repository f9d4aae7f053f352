"""Writes an initramfs: a cpio archive in the ``newc`` format, without compression.

Uncompressed because decompression under TCG costs more than reading. All files belong to
root and carry no time, so equal contents give equal bytes, and no privilege is needed.

Source of the format: Linux ``Documentation/driver-api/early-userspace/buffer-format.rst``.
"""

from __future__ import annotations

import stat
from pathlib import Path


class Initramfs:
    """Collects files and writes them out; parent directories are made as needed."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._inode = 0
        self._names: set[str] = set()

    def add_dir(self, name: str) -> None:
        """A directory, with those above it; nothing happens when it is there."""
        parent = name.rpartition("/")[0]
        if parent:
            self.add_dir(parent)
        if name and name not in self._names:
            self._entry(name, stat.S_IFDIR | 0o755, b"")

    def add_file(self, name: str, data: bytes, *, executable: bool = False) -> None:
        """A regular file; a second one of the same name is not added."""
        self._leaf(name, stat.S_IFREG | (0o755 if executable else 0o644), data)

    def add_link(self, name: str, target: str) -> None:
        """A symbolic link."""
        self._leaf(name, stat.S_IFLNK | 0o777, target.encode())

    def add_char_device(self, name: str, major: int, minor: int) -> None:
        self._leaf(name, stat.S_IFCHR | 0o600, b"", major, minor)

    def add_tree(self, top: Path) -> None:
        """Everything below the directory ``top``, in the order of the names."""
        for path in sorted(top.rglob("*")):
            name = path.relative_to(top).as_posix()
            if path.is_symlink():
                self.add_link(name, str(path.readlink()))
            elif path.is_dir():
                self.add_dir(name)
            else:
                executable = bool(path.stat().st_mode & 0o111)
                self.add_file(name, path.read_bytes(), executable=executable)

    def content(self) -> bytes:
        """The whole archive."""
        return bytes(self._out) + _header(0, 0, 0, 0, 0, "TRAILER!!!")

    def _leaf(self, name: str, mode: int, data: bytes, major: int = 0, minor: int = 0) -> None:
        if name in self._names:
            return
        self.add_dir(name.rpartition("/")[0])
        self._entry(name, mode, data, major, minor)

    def _entry(self, name: str, mode: int, data: bytes, major: int = 0, minor: int = 0) -> None:
        self._inode += 1
        self._names.add(name)
        self._out += _header(self._inode, mode, len(data), major, minor, name)
        self._out += data + b"\0" * (-len(data) % 4)


def _header(inode: int, mode: int, size: int, major: int, minor: int, name: str) -> bytes:
    encoded = name.encode() + b"\0"
    numbers = (inode, mode, 0, 0, 1, 0, size, 0, 0, major, minor, len(encoded), 0)
    head = b"070701" + "".join(f"{number:08x}" for number in numbers).encode() + encoded
    return head + b"\0" * (-len(head) % 4)
