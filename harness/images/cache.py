"""A directory of finished things, each named by the digest of what it was made from.

Layout: ``ROOT/KIND/DIGEST-NAME/`` with ``manifest.json``, written last. Things are built in
``ROOT/KIND/.building-DIGEST-NAME`` and renamed when they are complete, so that what looks
finished is finished. A lock per digest makes parallel builders do the work once; a builder
that died (even by ``kill -9``) has lost its lock, and the next one sweeps its remains.

Each thing has a list of its contents: a use looks at the sizes, ``damage`` reads all. The
time of the manifest is when the thing was last used.

It knows nothing of Debian or QEMU; ``store`` does. ``upkeep`` says what may go.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import pwd
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import ImageError
from harness.images.contents import (
    FILE,
    changed_sizes,
    damage,
    list_contents,
    listing_of,
    parse_contents,
)
from harness.images.reporter import Reporter
from harness.images.tools import Progress

_MANIFEST = "manifest.json"
_BUILDING = ".building-"
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Key:
    """What is wanted: ``digest`` covers everything it is made from.

    ``origin`` says for people where that is written, and is no part of the digest.
    """

    kind: str
    name: str
    digest: str
    origin: str = ""

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

    # A later version of the harness may say more: what it made is good all the same.
    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: str
    name: str
    digest: str
    made: Made
    size: int = Field(description="bytes, all files together")
    files: dict[str, int] = Field(description="regular files at the top: bytes")
    contents: str = Field("", description="SHA-256 of the list of contents; none: an old thing")
    origin: str = Field("", description="where it is written what the thing is")
    made_at: float = Field(0.0, description="when it was finished, in seconds since 1970")
    seconds: float = Field(0.0, description="how long that took")


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished thing in the cache."""

    path: Path
    manifest: Manifest

    @property
    def used_at(self) -> float:
        """When it was last used, in seconds since 1970; 0 if it is gone."""
        with suppress(OSError):
            return (self.path / _MANIFEST).stat().st_mtime
        return 0.0


Build = Callable[[Path, Reporter], Made]
"""Fills an empty directory. Raises ImageError; must not leave processes behind."""


class Cache:
    """Finished things below ``root``, which is made when it is first needed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, key: Key) -> Entry | None:
        """The finished thing, or None: not built, or damaged as far as sizes tell.

        The same thing under another name will do: what it is made from is the same.
        """
        return next((entry for entry in self._there(key) if not any(_glance(entry))), None)

    def refused(self, key: Key) -> tuple[str, ...]:
        """Why ``find`` does not take what is there; nothing where there is nothing."""
        return tuple(problem for entry in self._there(key) for problem in _glance(entry))

    def _there(self, key: Key) -> Iterator[Entry]:
        there = self.root / key.kind
        paths = [there / key.directory, *sorted(there.glob(f"{key.digest[:_DIGITS]}-*"))]
        for path in dict.fromkeys(paths):
            manifest = _read_manifest(path)
            if manifest is not None and manifest.digest == key.digest:
                yield Entry(path, manifest)

    def damage(self, entry: Entry) -> tuple[str, ...]:
        """What of a finished thing is not as it was when it was finished; reads everything."""
        seen = tuple(_glance(entry))
        listing = listing_of(entry.path)
        if seen or listing is None:
            return seen
        return tuple(damage(entry.path, parse_contents(listing)))

    def obtain(self, key: Key, build: Build, progress: Progress) -> Entry:
        """The finished thing, built by ``build`` if need be; waits for another builder of it."""
        found = self.find(key)
        if found:
            self.mark_used(found)
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

    def mark_used(self, entry: Entry) -> None:
        """Something is used now: it is not to go soon."""
        # A store that others own can be used without being marked.
        with suppress(OSError):
            os.utime(entry.path / _MANIFEST)

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
            began = time.monotonic()
            made = build(work, report)
            contents = list_contents(work)
            listing = contents.model_dump_json()
            (work / FILE).write_text(listing, encoding="utf-8")
            files = {p.name: p.stat().st_size for p in sorted(work.iterdir()) if p.is_file()}
            manifest = Manifest(
                kind=key.kind,
                name=key.name,
                digest=key.digest,
                made=made,
                size=contents.size,
                files=files,
                contents=hashlib.sha256(listing.encode()).hexdigest(),
                origin=key.origin,
                made_at=time.time(),
                seconds=time.monotonic() - began,
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
            if not _taken(lock):
                with report.step(f"waiting for {_holder(lock)}"):
                    fcntl.flock(lock, fcntl.LOCK_EX)
            _sign(lock)
            yield

    @contextmanager
    def _lock_file(self, kind: str, directory: str) -> Iterator[int]:
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = os.open(locks / f"{kind}-{directory}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            yield lock
        finally:
            os.close(lock)

    def _sweep(self, report: Reporter) -> None:
        """Remove what dead builders left: unfinished directories that nobody holds a lock for."""
        for path in self.root.glob(f"*/{_BUILDING}*"):
            with self._lock_file(path.parent.name, path.name.removeprefix(_BUILDING)) as lock:
                # Not taken: being built, or what this process is about to build itself.
                if _taken(lock):
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


def _glance(entry: Entry) -> Iterator[str]:
    """What is wrong with a thing as far as sizes tell."""
    if not entry.manifest.contents:
        yield from _sizes_at_top(entry)
        return
    listing = listing_of(entry.path)
    if listing is None or hashlib.sha256(listing).hexdigest() != entry.manifest.contents:
        yield f"{FILE}: is {'missing' if listing is None else 'not what it was'}"
        return
    yield from changed_sizes(entry.path, parse_contents(listing))


def _sizes_at_top(entry: Entry) -> Iterator[str]:
    for name, size in entry.manifest.files.items():
        try:
            if (entry.path / name).stat().st_size != size:
                yield f"{name}: is not what it was"
        except OSError:
            yield f"{name}: is missing"


class _Holder(BaseModel):
    """Who has a lock, as written into its file."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    pid: int
    user: str
    since: float


def _taken(lock: int) -> bool:
    """Take ``lock``, if nobody has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(lock: int) -> None:
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = f"user {os.getuid()}"
    signed = _Holder(pid=os.getpid(), user=user, since=time.time())
    os.ftruncate(lock, 0)
    os.pwrite(lock, signed.model_dump_json().encode(), 0)


def _holder(lock: int) -> str:
    """Who builds, and since when, for the one who waits."""
    try:
        holder = _Holder.model_validate_json(os.pread(lock, 4096, 0))
    except ValidationError:
        return "another process that builds it"
    since = time.strftime("%H:%M:%S", time.localtime(holder.since))
    return f"process {holder.pid} ({holder.user}), which has been building it since {since}"


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
