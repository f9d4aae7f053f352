"""Recipes: what an image is made of, in YAML. The file's stem is the name topologies use.

Nothing is built here. ``load_recipe`` gives a frozen model or *all* problems of the file.

Every recipe builds from packages of one Debian suite today; another source (a source
package with patches, a tree of the user's) would be a further key beside ``suite``.

Neighbours: ``harness.document`` reads the YAML with places; the builders obey the recipes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from harness.document import read, validate
from harness.errors import InputError, Problem, ProblemsError

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_SUITE = re.compile(r"[a-z][a-z0-9-]*")


def _package(text: str) -> str:
    if not _PACKAGE.fullmatch(text):
        raise ValueError("a package name has lower-case letters, digits, '+', '-' and '.'")
    return text


def _suite(text: str) -> str:
    if not _SUITE.fullmatch(text):
        raise ValueError("a suite is named like: bookworm, trixie, trixie-backports, sid")
    return text


def _inside(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("a path here is relative, without '..'")
    return text


PackageName = Annotated[str, AfterValidator(_package)]
SuiteName = Annotated[str, AfterValidator(_suite)]
InsidePath = Annotated[str, AfterValidator(_inside)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Recipe(_Part):
    suite: SuiteName = Field(description="Debian suite the packages come from")


class ToolchainRecipe(_Recipe):
    """A QEMU with its own loader and libraries, to be run on any x86-64 Linux."""

    kind: Literal["toolchain"]
    packages: tuple[PackageName, ...] = Field(min_length=1)
    programs: tuple[InsidePath, ...] = Field(
        min_length=1, description="programs to keep; the first is the emulator"
    )
    data: tuple[InsidePath, ...] = Field((), description="directories to keep, for QEMU's -L")
    drop: tuple[InsidePath, ...] = Field((), description="globs to remove from `data`")

    def sources(self) -> tuple[str, ...]:
        """Files next to the recipe that the image is made of."""
        return ()


class KernelRecipe(_Recipe):
    """A Debian kernel with its modules."""

    kind: Literal["kernel"]
    package: PackageName

    def sources(self) -> tuple[str, ...]:
        """Files next to the recipe that the image is made of."""
        return ()


class GuestRecipe(_Recipe):
    """The initramfs that a guest lives in."""

    kind: Literal["guest"]
    packages: tuple[PackageName, ...] = Field(min_length=1)
    programs: tuple[InsidePath, ...] = Field(
        min_length=1, description="programs to keep, with the libraries they need"
    )
    load: tuple[str, ...] = Field(description="kernel modules that /init loads, in this order")
    carry: tuple[str, ...] = Field((), description="kernel modules that modprobe can load later")
    compile: dict[InsidePath, InsidePath] = Field(
        default_factory=dict, description="program in the image: C file next to the recipe"
    )
    files: dict[InsidePath, InsidePath] = Field(
        default_factory=dict, description="file in the image: file next to the recipe"
    )

    def sources(self) -> tuple[str, ...]:
        """Files next to the recipe that the image is made of."""
        return (*self.compile.values(), *self.files.values())


class HostRecipe(_Recipe):
    """The root file system of a host VM, and the small initramfs that mounts it."""

    kind: Literal["host"]
    packages: tuple[PackageName, ...] = Field(min_length=1)
    exclude: tuple[str, ...] = Field(
        (), description="globs of packages not to unpack though others depend on them"
    )
    drop: tuple[InsidePath, ...] = Field((), description="globs to remove from the root")
    boot: tuple[str, ...] = Field(description="kernel modules that the initramfs loads")
    early: tuple[str, ...] = Field(description="kernel modules that /init loads before sshd")
    late: tuple[str, ...] = Field(description="kernel modules that /init loads beside sshd")
    carry: tuple[str, ...] = Field((), description="kernel modules that modprobe can load later")
    initramfs: InsidePath = Field(description="/init of the initramfs, next to the recipe")
    files: dict[InsidePath, InsidePath] = Field(
        description="file in the root: file next to the recipe"
    )

    def sources(self) -> tuple[str, ...]:
        """Files next to the recipe that the image is made of."""
        return (self.initramfs, *self.files.values())


Recipe = ToolchainRecipe | KernelRecipe | GuestRecipe | HostRecipe


_MODELS: dict[str, type[Recipe]] = {
    "toolchain": ToolchainRecipe,
    "kernel": KernelRecipe,
    "guest": GuestRecipe,
    "host": HostRecipe,
}


class _Kind(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: Literal["toolchain", "kernel", "guest", "host"]


def load_recipe(path: Path) -> Recipe:
    """The recipe in ``path``. ProblemsError tells all that is wrong with it."""
    document = read(path)
    kind = validate(document, _Kind).kind
    recipe = validate(document, _MODELS[kind])
    missing = [name for name in recipe.sources() if not (path.parent / name).is_file()]
    if missing:
        raise ProblemsError(
            [
                Problem(str(path), 0, 0, "", f"needs {name}, and there is no such file beside it")
                for name in missing
            ]
        )
    return recipe


def recipe_names(directory: Path) -> tuple[str, ...]:
    """The names of all recipes in ``directory``, sorted."""
    return tuple(sorted(path.stem for path in directory.glob("*.yaml")))


def find_recipe(directory: Path, name: str) -> Path:
    """The file of the recipe ``name``; InputError lists what there is."""
    path = directory / f"{name}.yaml"
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name) or not path.is_file():
        known = ", ".join(recipe_names(directory)) or "none"
        raise InputError(
            f"there is no image recipe {name!r} in {directory}", hint=f"recipes there: {known}"
        )
    return path


def source_contents(directory: Path, recipe: Recipe) -> Mapping[str, bytes]:
    """The content of every file that a recipe in ``directory`` refers to, by its name there.

    Whether a file may be executed counts as content.
    """
    contents = {}
    for name in recipe.sources():
        path = directory / name
        executable = b"x" if path.stat().st_mode & 0o100 else b"-"
        contents[name] = executable + path.read_bytes()
    return contents
