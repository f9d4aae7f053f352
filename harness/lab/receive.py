"""The program that keeps images on a real machine: shipped as text, run by its python3.

``check CACHE DAYS NAME...`` prints which of the images are there and whole, and removes
those that no lab has asked for in so many days. ``receive CACHE NAME SHA256`` unpacks an
archive (tar, compressed by zlib) from its standard input. An image appears under its name
only after all of it has arrived, has the digest that was announced and is on the disk.

Runs under Python 3.9 and newer; imports nothing of the harness. Neighbours: ``imagecopy``
sends it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import time
import zlib
from typing import Any

_COMPLETE = ".complete"
"""Written last: the size of every file. Its time is when a lab last asked for the image."""
_CHUNK = 1 << 18


class Arriving(io.RawIOBase):
    """The archive as it comes out of the compressed stream; ``digest`` is of what was read."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._inflate = zlib.decompressobj()
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data and not self._inflate.eof:
            tail = self._inflate.unconsumed_tail or self._source.read1(_CHUNK)
            if not tail:
                break
            data = self._inflate.decompress(tail, len(buffer))
        self.digest.update(data)
        buffer[: len(data)] = data
        return len(data)


def files_of(top: str) -> dict[str, int]:
    """Path below ``top`` of every file and link -> its size."""
    found = {}
    for directory, _, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            if name != _COMPLETE:
                found[os.path.relpath(path, top)] = os.lstat(path).st_size
    return found


def whole(top: str) -> bool:
    """Whether an image is there, with all its files at their sizes."""
    try:
        with open(os.path.join(top, _COMPLETE)) as file:
            return bool(json.load(file) == files_of(top))
    except (OSError, ValueError):
        return False


def check(cache: str, days: float, names: list[str]) -> None:
    """Print the names of images that are there; each was asked for just now."""
    os.makedirs(cache, exist_ok=True)
    for name in names:
        top = os.path.join(cache, name)
        if whole(top):
            os.utime(os.path.join(top, _COMPLETE))
            print(name)
    for name in os.listdir(cache):
        top = os.path.join(cache, name)
        try:
            asked = os.stat(os.path.join(top, _COMPLETE)).st_mtime
        except OSError:
            asked = os.stat(top).st_mtime  # unfinished: its copying was cut off
        if time.time() - asked > days * 86400:
            shutil.rmtree(top, ignore_errors=True)


def receive(cache: str, name: str, sha256: str) -> None:
    """Unpack standard input; nothing stays of an archive that is not whole."""
    unfinished = tempfile.mkdtemp(prefix=".unfinished-", dir=cache)
    try:
        stream = Arriving(sys.stdin.buffer)
        archive = io.BufferedReader(stream, _CHUNK)
        with tarfile.open(fileobj=archive, mode="r|") as tar:
            # Every member is one that the harness packed; newer Pythons want it said.
            tar.extraction_filter = lambda member, _path: member
            tar.extractall(unfinished)
        while archive.read(_CHUNK):  # what follows the last member
            pass
        if stream.digest.hexdigest() != sha256:
            raise ValueError("what arrived is not what was sent")
        with open(os.path.join(unfinished, _COMPLETE), "w") as file:
            json.dump(files_of(unfinished), file)
        os.chmod(unfinished, 0o755)
        os.sync()
        top = os.path.join(cache, name)
        try:
            os.rename(unfinished, top)
        except OSError:
            # Another lab was quicker, or what is there is damaged.
            if not whole(top):
                shutil.rmtree(top)
                os.rename(unfinished, top)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def main() -> None:
    verb, cache, *rest = sys.argv[1:]
    try:
        if verb == "check":
            check(cache, float(rest[0]), rest[1:])
        else:
            receive(cache, *rest)
    except (OSError, ValueError, EOFError, tarfile.TarError, zlib.error) as error:
        sys.exit(f"{cache}: {error}")


if __name__ == "__main__":
    main()
