"""A directory of finished things, each named by the digest of what it was made from.

Layout: ``ROOT/KIND/DIGEST-NAME/`` with ``manifest.json``, written last. Things are built in
``ROOT/KIND/.building-DIGEST-NAME`` and renamed when they are complete, so that what looks
finished is finished. A lock per digest makes parallel builders do the work once; a builder
that died (even by ``kill -9``) has lost its lock, and the next one sweeps its remains.

It knows nothing of Debian or QEMU; ``store`` does.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import ImageError
from harness.images.reporter import Reporter
from harness.images.tools import Progress

_MANIFEST = "manifest.json"
_BUILDING = ".building-"
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Key:
    """What is wanted: ``digest`` covers everything it is made from."""

    kind: str
    name: str
    digest: str

    @property
    def directory(self) -> str:
        return f"{self.digest[:_DIGITS]}-{self.name}"


class Made(BaseModel):
    """What a builder says of its work. ``packages``: name to version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field(description="version of the thing itself, as its makers call it")
    facts: dict[str, str] = Field(default_factory=dict)
    packages: dict[str, str] = Field(default_factory=dict)


class Manifest(BaseModel):
    """``manifest.json``: what made a thing, and what it holds (file: bytes)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    name: str
    digest: str
    made: Made
    size: int = Field(description="bytes, all files together")
    files: dict[str, int] = Field(description="regular files at the top: bytes")


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished thing in the cache."""

    path: Path
    manifest: Manifest


Build = Callable[[Path, Reporter], Made]
"""Fills an empty directory. Raises ImageError; must not leave processes behind."""


class Cache:
    """Finished things below ``root``, which is made when it is first needed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, key: Key) -> Entry | None:
        """The finished thing, or None: not built, or damaged."""
        path = self.root / key.kind / key.directory
        manifest = _read_manifest(path)
        if manifest is None or manifest.digest != key.digest:
            return None
        for name, size in manifest.files.items():
            try:
                if (path / name).stat().st_size != size:
                    return None
            except OSError:
                return None
        return Entry(path, manifest)

    def obtain(self, key: Key, build: Build, progress: Progress) -> Entry:
        """The finished thing, built by ``build`` if need be; waits for another builder of it."""
        found = self.find(key)
        if found:
            return found
        report = Reporter(f"{key.kind} {key.name}", progress)
        try:
            with self._lock(key, report):
                found = self.find(key)
                if found:
                    return found
                self._sweep(report)
                return self._build(key, build, report)
        except OSError as error:
            raise _disk_error(key, self.root, error) from error

    def entries(self) -> tuple[Entry, ...]:
        """Everything finished, in the order of kinds and names."""
        found = []
        for path in sorted(self.root.glob(f"*/*/{_MANIFEST}")):
            manifest = _read_manifest(path.parent)
            if manifest and not path.parent.name.startswith(_BUILDING):
                found.append(Entry(path.parent, manifest))
        return tuple(sorted(found, key=lambda e: (e.manifest.kind, e.manifest.name, e.path)))

    def remove(self, entry: Entry) -> None:
        """Remove a finished thing; ImageError names what could not be removed."""
        # The manifest goes first: what is left of an interrupted removal is not finished.
        try:
            (entry.path / _MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(entry.path)
        except OSError as error:
            raise ImageError(f"{entry.path}: cannot be removed: {error.strerror}") from error

    def _build(self, key: Key, build: Build, report: Reporter) -> Entry:
        final = self.root / key.kind / key.directory
        work = final.with_name(_BUILDING + key.directory)
        if final.exists():
            report.say("what is in the cache is damaged; building it again")
            shutil.rmtree(final)
        if work.exists():
            self._remove_remains(work, report)
        work.mkdir(parents=True)
        try:
            made = build(work, report)
            files = {p.name: p.stat().st_size for p in sorted(work.iterdir()) if p.is_file()}
            manifest = Manifest(
                kind=key.kind,
                name=key.name,
                digest=key.digest,
                made=made,
                size=_size(work),
                files=files,
            )
            (work / _MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
            # A crash of the machine must not leave a whole manifest beside empty files.
            _sync(work)
            work.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        report.say(f"done ({manifest.size / 1e6:.0f} MB)")
        return Entry(final, manifest)

    @contextmanager
    def _lock(self, key: Key, report: Reporter) -> Iterator[None]:
        with self._lock_file(key.kind, key.directory) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with report.step("waiting for another process that builds it"):
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _lock_file(self, kind: str, directory: str) -> IO[str]:
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return (locks / f"{kind}-{directory}").open("w")

    def _sweep(self, report: Reporter) -> None:
        """Remove what dead builders left: unfinished directories that nobody holds a lock for."""
        for path in self.root.glob(f"*/{_BUILDING}*"):
            with self._lock_file(path.parent.name, path.name.removeprefix(_BUILDING)) as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    # Being built; or the one that this process is about to build itself.
                    continue
                self._remove_remains(path, report)

    def _remove_remains(self, path: Path, report: Reporter) -> None:
        report.say(f"removing what an interrupted build left: {path.name}")
        # The dead builder's apt or dpkg may still be writing: its files are not missed.
        shutil.rmtree(path, ignore_errors=True)


def digest_of(parts: Mapping[str, str | bytes]) -> str:
    """SHA-256 over named parts; names and lengths count, so that nothing can shift."""
    state = hashlib.sha256()
    for name in sorted(parts):
        part = parts[name]
        data = part.encode() if isinstance(part, str) else part
        state.update(json.dumps([name, len(data)]).encode() + b"\n" + data)
    return state.hexdigest()


def _read_manifest(path: Path) -> Manifest | None:
    try:
        return Manifest.model_validate_json((path / _MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def _size(top: Path) -> int:
    return sum(p.lstat().st_size for p in top.rglob("*") if not p.is_dir())


def _sync(top: Path) -> None:
    descriptor = os.open(top, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        for path in top.iterdir():
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
    finally:
        os.close(descriptor)


def _disk_error(key: Key, root: Path, error: OSError) -> ImageError:
    hint = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "the disk is full: free some space, or set HARNESS_CACHE to a larger disk"
    elif error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        hint = f"{root} must be writable; HARNESS_CACHE names another directory"
    place = f"{error.filename}: " if error.filename else ""
    return ImageError(f"{key.kind} {key.name}: {place}{error.strerror}", hint=hint)
