"""What a finished thing holds, file by file, so that damage shows.

``contents.json`` lists every file with its size and SHA-256, every link with its target.
A glance (``changed_sizes``) is for each use; ``damage`` reads everything.

Neighbours: ``cache`` writes the list when a thing is finished and asks both questions.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict

FILE = "contents.json"
_DATA = "data:"
"""Begins the digest of a file of which only the data was read, not the holes."""
_CHUNK = 1 << 16
_SPARSE = 1 << 20


class Contents(BaseModel):
    """Paths below the thing's directory. ``files``: (bytes, SHA-256); ``links``: target."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    files: dict[str, tuple[int, str]]
    links: dict[str, str]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(size for size, _ in self.files.values())


def list_contents(top: Path) -> Contents:
    """Everything below ``top``; reads every file."""
    files: dict[str, tuple[int, str]] = {}
    links: dict[str, str] = {}
    for name, path in _walk(top):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            links[name] = os.readlink(path)
        else:
            sparse = status.st_size > _SPARSE and status.st_blocks * 512 < status.st_size // 2
            files[name] = (status.st_size, _digest(path, data_only=sparse))
    return Contents(files=files, links=links)


def listing_of(top: Path) -> bytes | None:
    """The list as it was written when ``top`` was finished; None if there is none."""
    try:
        return (top / FILE).read_bytes()
    except OSError:
        return None


def parse_contents(listing: bytes) -> Contents:
    """The list in ``contents.json``, whose digest the manifest has."""
    return Contents.model_validate_json(listing)


def changed_sizes(top: Path, contents: Contents) -> Iterator[str]:
    """Files that are missing or of another size: no file is read."""
    for name, (size, _) in contents.files.items():
        try:
            found = os.lstat(top / name).st_size
        except OSError:
            yield f"{name}: is missing"
        else:
            if found != size:
                yield f"{name}: has {found} bytes, had {size}"


def damage(top: Path, contents: Contents) -> Iterator[str]:
    """Everything below ``top`` that is not as it was when it was finished."""
    there = dict(_walk(top))
    for name, (size, digest) in contents.files.items():
        path = there.pop(name, None)
        if path is None:
            yield f"{name}: is missing"
        elif (
            path.is_symlink()
            or path.lstat().st_size != size
            or _digest(path, data_only=digest.startswith(_DATA)) != digest
        ):
            yield f"{name}: is not what it was"
    for name, target in contents.links.items():
        path = there.pop(name, None)
        if path is None:
            yield f"{name}: is missing"
        elif not path.is_symlink() or os.readlink(path) != target:
            yield f"{name}: does not point to {target} any more"
    for name in there:
        yield f"{name}: was not there"


def _walk(top: Path) -> Iterator[tuple[str, Path]]:
    for directory, below, names in os.walk(top):
        links = [name for name in below if os.path.islink(os.path.join(directory, name))]
        for name in sorted([*names, *links]):
            path = Path(directory, name)
            if path.parent != top or name not in (FILE, "manifest.json"):
                yield path.relative_to(top).as_posix(), path


def _digest(path: Path, *, data_only: bool) -> str:
    """SHA-256 of a file; of one that is mostly holes with ``data_only``, quickly."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return ""  # a device or a FIFO of a package
    with path.open("rb") as file:
        if data_only:
            return _DATA + _data_digest(file)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _data_digest(file: BinaryIO) -> str:
    """SHA-256 of the chunks that are not all zero, each with its place: wherever a file system
    sees holes, it is the same."""
    state = hashlib.sha256()
    zeros = bytes(_CHUNK)
    end = os.fstat(file.fileno()).st_size
    at = 0
    while at < end:
        try:
            at = os.lseek(file.fileno(), at, os.SEEK_DATA) // _CHUNK * _CHUNK
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                break
            raise
        hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
        hole = max(hole, at + 1)  # the chunk may begin in a hole
        while at < hole:
            chunk = os.pread(file.fileno(), _CHUNK, at)
            if chunk != zeros[: len(chunk)]:
                state.update(f"{at} {len(chunk)}\n".encode())
                state.update(chunk)
            at += _CHUNK
    return state.hexdigest()
