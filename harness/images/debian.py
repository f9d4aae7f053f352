"""Packages of a Debian suite: resolve, download and unpack them, whatever this machine runs.

apt works here in a directory of its own, with an empty package status, so that it resolves
against nothing but the suite, and the machine's own apt state is neither read nor changed.
Packages are unpacked, never installed: no maintainer script runs, and no privilege is
needed.

Signatures are checked by apt (index) and digests again here (each package, cached or not).

Neighbours: ``mirror`` says where from; the builders say which packages and what to keep.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote

from harness.errors import ImageError
from harness.images.mirror import debian_mirrors, keyring, network_settings
from harness.images.reporter import Reporter
from harness.images.staging import merged_usr
from harness.images.tools import is_disk_full, run

_URI = re.compile(r"^'([^']+)' (\S+) (\d+) SHA256:([0-9a-f]{64})$")
_MISSING = re.compile(r"E: Unable to locate package (\S+)")
_NO_SOURCE = re.compile(r"E: Unable to find a source package for (\S+)")
_NO_VERSION = re.compile(r"E: Version '([^']+)' for '([^']+)' was not found")
_REFUSED = re.compile(r"E: Failed to fetch (\S+)\s+(.*)")
_NO_STATUS = "/dev/null"


@dataclass(frozen=True, slots=True)
class Package:
    """A package file of the suite; ``size`` in bytes."""

    name: str
    version: str
    file: str
    size: int
    sha256: str


class Suite:
    """One suite of the Debian archive, with its index and packages kept below ``cache``."""

    def __init__(self, suite: str, cache: Path, report: Reporter) -> None:
        self.name = suite
        self._dir = cache / suite
        self._report = report
        self._updated = self._with_sources = False

    def resolve(
        self, packages: Sequence[str], *, exclude: Sequence[str] = (), only: str = "*"
    ) -> tuple[Package, ...]:
        """``packages`` with all they depend on, less those that match a pattern in ``exclude``.

        ``NAME=VERSION`` pins a version. ImageError names the package that the suite does not
        have, and for a version that it lacks those that it has.
        """
        with self._locked():
            self._update()
            try:
                listing = self._apt("--print-uris", "--yes", "install", *packages)
            except ImageError as error:
                raise self._lacking(error) from error
        found = tuple(parse_uris(listing))
        return tuple(
            package
            for package in found
            if fnmatchcase(package.name, only)
            and not any(fnmatchcase(package.name, pattern) for pattern in exclude)
        )

    def versions(self, package: str) -> tuple[str, ...]:
        """The versions of a package that the suite has, the newest first; none: no package."""
        with self._locked():
            self._update()
            return self._versions(package)

    def pinned(self, packages: Sequence[str], version: str | None) -> tuple[str, ...]:
        """``packages`` for ``resolve``: the first, and those that have it, in ``version``."""
        if version is None:
            return tuple(packages)
        first, *others = packages
        return (
            f"{first}={version}",
            *(f"{one}={version}" if version in self.versions(one) else one for one in others),
        )

    def fetch_source(self, source: str, version: str | None, into: Path) -> str:
        """Put the files of a source package into ``into``; its version.

        ImageError as for packages: no such source, no such version, or the mirror lacks it.
        """
        wanted = f"{source}={version}" if version else source
        archives = self._dir / "archives"
        with self._locked():
            self._update(sources=True)
            try:
                listing = self._apt("--print-uris", "--only-source", "source", wanted)
            except ImageError as error:
                text = "\n".join(error.evidence)
                if _NO_SOURCE.search(text):
                    found = ", ".join(dict.fromkeys(self._versions(source, "Sources")))
                    what = f"{source} {version}" if version else repr(source)
                    raise ImageError(
                        f"suite {self.name} has no source package {what}",
                        hint=f"it has: {found}" if found else "",
                        evidence=error.evidence,
                    ) from error
                raise
            files = [Package("", "", *fields) for fields in _uris(listing)]
            archives.mkdir(exist_ok=True)
            size = sum(file.size for file in files)
            with self._report.step(
                f"downloading the source of {source} ({size >> 20} MB)",
                lambda: _arrived(archives, files),
            ):
                try:
                    self._apt("--download-only", "--only-source", "source", wanted, cwd=archives)
                except ImageError as error:
                    raise refused_by_mirror(self.name, error) from error
            for file in files:
                if not _intact(archives / file.file, file):
                    raise ImageError(
                        f"suite {self.name}: {file.file} did not arrive as the index describes it"
                    )
                shutil.copyfile(archives / file.file, into / file.file)
        (description,) = [file.file for file in files if file.file.endswith(".dsc")]
        for line in (into / description).read_text("utf-8", errors="replace").splitlines():
            if line.startswith("Version: "):
                return line.removeprefix("Version: ").strip()
        raise ImageError(f"suite {self.name}: {description} does not say its version")

    def unpack(self, packages: Sequence[Package], into: Path) -> None:
        """Download what is not cached, check it, and unpack everything into ``into``.

        ImageError names package and suite when the archive lacks a file that its index
        lists; nothing else is ever taken instead.
        """
        with self._locked():
            files = self._download(packages)
        size = sum(package.size for package in packages) >> 20
        with self._report.step(f"unpacking {len(files)} packages ({size} MB)"):
            merged_usr(into)
            for package, file in zip(packages, files, strict=True):
                run(["dpkg-deb", "-x", file, into], what=f"package {package.name}")
            # Packages of bookworm put directories in the place of the links.
            merged_usr(into)

    def _download(self, packages: Sequence[Package]) -> list[Path]:
        archives = self._dir / "archives"
        archives.mkdir(exist_ok=True)
        missing = [each for each in packages if not _intact(archives / each.file, each)]
        if missing:
            size = sum(package.size for package in missing) >> 20
            with self._report.step(
                f"downloading {len(missing)} packages ({size} MB)",
                lambda: _arrived(archives, missing),
            ):
                try:
                    self._apt(
                        "download",
                        *(f"{each.name}={each.version}" for each in missing),
                        cwd=archives,
                    )
                except ImageError as error:
                    raise refused_by_mirror(self.name, error) from error
        files = [archives / each.file for each in packages]
        for file in files:
            with suppress(OSError):
                os.utime(file)  # when it was last needed, for those who tidy up
        for file, package in zip(files, packages, strict=True):
            if package in missing and not _intact(file, package):
                raise ImageError(
                    f"suite {self.name}: package {package.name} {package.version} did not "
                    "arrive as the index describes it"
                )
        return files

    def _lacking(self, error: ImageError) -> ImageError:
        text = "\n".join(error.evidence)
        if match := _MISSING.search(text):
            return ImageError(
                f"suite {self.name} has no package {match[1]!r}",
                hint="check the name and the suite",
                evidence=error.evidence,
            )
        if match := _NO_VERSION.search(text):
            version, package = match[1], match[2]
            found = ", ".join(self._versions(package))
            return ImageError(
                f"suite {self.name} has no {package} {version}; it has: {found or 'none'}",
                hint="a mirror keeps few versions: take one of these, or leave `version` out",
                evidence=error.evidence,
            )
        return error

    def _versions(self, package: str, index: str = "Packages") -> tuple[str, ...]:
        rows = (
            [field.strip() for field in line.split("|")]
            for line in self._apt("madison", package, program="apt-cache").splitlines()
        )
        return tuple(row[1] for row in rows if len(row) == 3 and row[2].endswith(index))

    def _update(self, *, sources: bool = False) -> None:
        if self._updated and self._with_sources >= sources:
            return
        failures: list[str] = []
        with self._report.step(f"reading the index of {self.name}"):
            for site in debian_mirrors():
                self._configure(site, sources)
                try:
                    self._apt("--error-on=any", "update", timeout=300)
                except ImageError as error:
                    if is_disk_full(error.evidence):
                        raise
                    failures += [f"{site}: {line}" for line in error.evidence[-4:]]
                else:
                    self._updated, self._with_sources = True, sources
                    return
        raise ImageError(
            f"suite {self.name}: no index could be read from the Debian archives of this machine",
            evidence=failures,
            hint="check the network, and the name of the suite; HARNESS_DEBIAN_MIRROR names "
            "another mirror",
        )

    def _configure(self, site: str, sources: bool) -> None:
        # Backports depend on packages of the suite that they are for.
        base = self.name.removesuffix("-backports")
        keys = keyring()
        (self._dir / "sources.list").write_text(
            "".join(
                f"{kind} [{arch}signed-by={keys}] {site} {suite} main\n"
                for suite in dict.fromkeys([base, self.name])
                for kind, arch in (("deb", "arch=amd64 "), ("deb-src", ""))[: 1 + sources]
            ),
            encoding="utf-8",
        )
        for name in ("lists/partial", "cache/archives/partial"):
            (self._dir / name).mkdir(parents=True, exist_ok=True)
        dump = run(["apt-config", "dump"], what="apt's configuration").decode()
        top = self._dir
        config = f"""\
Dir::State "{top}";
Dir::State::lists "{top}/lists";
Dir::State::status "{_NO_STATUS}";
Dir::Cache "{top}/cache";
Dir::Etc::Parts "/dev/null";
Dir::Etc::Main "/dev/null";
Dir::Etc::SourceList "{top}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::Log "{top}/cache";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Default-Release "{self.name}";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::ForceHash "SHA256";
"""
        path = self._dir / "apt.conf"
        path.touch(mode=0o600)  # a proxy's address may carry a password
        path.write_text(network_settings(dump) + config, encoding="utf-8")

    def _apt(
        self,
        *arguments: str,
        program: str = "apt-get",
        cwd: Path | None = None,
        timeout: float = 1800,
    ) -> str:
        return run(
            [program, "--quiet", *arguments],
            what=f"suite {self.name}",
            cwd=cwd,
            env={"APT_CONFIG": str(self._dir / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"},
            timeout=timeout,
        ).decode(errors="replace")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._dir.mkdir(parents=True, exist_ok=True)
        with (self._dir / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with self._report.step(f"waiting for another download from {self.name}"):
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def parse_uris(listing: str) -> Iterator[Package]:
    """The packages in the output of ``apt-get --print-uris install``."""
    for file, size, digest in _uris(listing):
        name, version, _ = unquote(file).rsplit("_", 2)
        yield Package(name, version, file, size, digest)


def _uris(listing: str) -> Iterator[tuple[str, int, str]]:
    for line in listing.splitlines():
        if match := _URI.match(line):
            yield match[2], int(match[3]), match[4]


def _arrived(archives: Path, packages: Sequence[Package]) -> str:
    """How much of a download is there, for a person."""
    there = 0
    for package in packages:
        with suppress(OSError):
            there += (archives / package.file).stat().st_size
    return f"{there >> 20} MB are here"


def refused_by_mirror(suite: str, error: ImageError) -> ImageError:
    """``error`` of a download, told as: which package of which suite the mirror lacks."""
    for line in error.evidence:
        if match := _REFUSED.search(line):
            file = unquote(match[1].rpartition("/")[2])
            return ImageError(
                f"suite {suite}: {file} is in the index, and the mirror answers: "
                f"{match[2].strip()}",
                hint="try again later, or set HARNESS_DEBIAN_MIRROR to another mirror",
                evidence=error.evidence,
            )
    return error


def prune(root: Path, patterns: Sequence[str]) -> None:
    """Remove what matches ``patterns`` (globs below ``root``); no match is no error."""
    for pattern in patterns:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _intact(file: Path, package: Package) -> bool:
    try:
        if os.stat(file).st_size != package.size:
            return False
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == package.sha256
    except FileNotFoundError:
        return False
