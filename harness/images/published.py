"""Which versions of QEMU and of the kernel the suites have today, in Debian's order.

Neighbours: ``debian`` asks the index; the CLI bisects over them and makes recipes of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.errors import InputError
from harness.images.debian import Suite
from harness.images.recipe import KernelRecipe, ToolchainRecipe
from harness.images.reporter import Reporter
from harness.images.store import Store
from harness.images.tools import Progress

Kind = Literal["toolchain", "kernel"]
_PACKAGE: dict[Kind, str] = {"toolchain": "qemu-system-x86", "kernel": "linux-image-amd64"}
_PARTS = re.compile(r"(\D*)(\d*)")
_Key = tuple[tuple[tuple[int, ...], int], ...]
VersionKey = tuple[int, _Key, _Key]


@dataclass(frozen=True, slots=True)
class Published:
    """A version of a package, and a suite that has it."""

    kind: Kind
    version: str
    suite: str

    def recipe(self) -> str:
        """A recipe for exactly this version, as YAML."""
        return f"kind: {self.kind}\nsuite: {self.suite}\nversion: '{self.version}'\n"


def published(
    store: Store, kind: Kind, suites: Sequence[str], progress: Progress
) -> tuple[Published, ...]:
    """The versions in ``suites``, the oldest first; without suites, those of shipped recipes.

    InputError when there is none; ImageError when an index cannot be read.
    """
    package = _PACKAGE[kind]
    wanted = tuple(suites) or _shipped(store, kind)
    found: dict[str, Published] = {}
    # Backports are read with the suite that they are for, whose versions come with theirs.
    for suite in sorted(wanted, key=lambda name: name.endswith("-backports")):
        index = Suite(suite, store.root / "packages", Reporter(f"suite {suite}", progress))
        for version in index.versions(package):
            found.setdefault(version, Published(kind, version, suite))
    if not found:
        raise InputError(f"no version of {package} is in {', '.join(wanted)}")
    return tuple(sorted(found.values(), key=lambda one: version_key(one.version)))


def _shipped(store: Store, kind: Kind) -> tuple[str, ...]:
    recipes = (store.resolve(name).recipe for name in store.recipes())
    return tuple(
        dict.fromkeys(
            one.suite
            for one in recipes
            if isinstance(one, ToolchainRecipe | KernelRecipe) and one.kind == kind
        )
    )


def version_key(version: str) -> VersionKey:
    """What Debian versions are sorted by (deb-version(7)): the epoch, then upstream's version and
    Debian's revision, each by turns as signs and as numbers.
    """
    epoch, colon, rest = version.partition(":")
    upstream, dash, revision = (rest if colon else version).rpartition("-")
    if not dash:
        upstream, revision = revision, ""
    return int(epoch) if colon else 0, _key(upstream), _key(revision or "0")


def _key(text: str) -> _Key:
    # The last match is empty: the end, which goes before everything but a tilde.
    return tuple(
        ((*map(_weight, signs), 0), int(digits or 0)) for signs, digits in _PARTS.findall(text)
    )


def _weight(sign: str) -> int:
    if sign == "~":
        return -1
    return ord(sign) if sign.isalpha() else ord(sign) + 256
