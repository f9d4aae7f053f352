"""Recipes: what an image is made of, in YAML. The file's stem is the name topologies use.

Nothing is built here. ``load_recipe`` gives a frozen model or *all* problems of the file.

A toolchain comes from a suite's packages, from its source package with patches, or from a
directory of the user's; a kernel from a package, from the user's own build, or from another
recipe's kernel with some modules changed. Which it is, the keys say.

Neighbours: ``harness.document`` reads the YAML with places; ``reference`` finds recipes by
what users write; the builders obey them. ``docs/images.md`` is for users.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from harness.document import Document, read, validate
from harness.errors import InputError, Problem, ProblemsError

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_VERSION = re.compile(r"(\d+:)?\d[A-Za-z0-9.+~-]*")
_SUITE = re.compile(r"[a-z][a-z0-9-]*")
_MODULE = re.compile(r"[A-Za-z0-9_-]+")

QEMU_PROGRAMS = ("usr/bin/qemu-system-x86_64", "usr/bin/qemu-img")
FIRMWARE = ("usr/share/qemu", "usr/share/seabios")
FOREIGN_FIRMWARE = (
    "QEMU,*",
    "bamboo*",
    "canyonlands*",
    "hppa*",
    "keymaps",
    "linux-user*",
    "npcm*",
    "openbios*",
    "opensbi*",
    "palcode*",
    "petalogix*",
    "pnv-*",
    "s390*",
    "skiboot*",
    "slof*",
    "trace-events-all",
    "u-boot*",
    "vof*",
)
"""Of other architectures, or for graphical screens only."""


def _package(text: str) -> str:
    if not _PACKAGE.fullmatch(text):
        raise ValueError("a package name has lower-case letters, digits, '+', '-' and '.'")
    return text


def _version(text: str) -> str:
    if not _VERSION.fullmatch(text):
        raise ValueError("a version is written like: 1:10.0.2+ds-2 (`apt-cache madison` has them)")
    return text


def _suite(text: str) -> str:
    if not _SUITE.fullmatch(text):
        raise ValueError("a suite is named like: bookworm, trixie, trixie-backports, sid")
    return text


def _module(text: str) -> str:
    if not _MODULE.fullmatch(text):
        raise ValueError("a module is named like: net_failover")
    return text


def _inside(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("a path here is relative, without '..'")
    return text


def _place(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError("wanted a path")
    return text


PackageName = Annotated[str, AfterValidator(_package)]
PackageVersion = Annotated[str, AfterValidator(_version)]
SuiteName = Annotated[str, AfterValidator(_suite)]
ModuleName = Annotated[str, AfterValidator(_module)]
InsidePath = Annotated[str, AfterValidator(_inside)]
UserPath = Annotated[str, AfterValidator(_place)]
"""A path of the user's: relative to the recipe, absolute, or with ``~``."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Recipe(_Part):
    def sources(self) -> tuple[str, ...]:
        """Files next to the recipe that the image is made of."""
        return ()

    def patches_of(self) -> Iterator[tuple[str, str]]:
        """Sets of patches: what they are for, and where they are."""
        yield from ()

    def places(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Paths of the user's that have to be there, and which key has each."""
        yield from ()


class _FromSuite(_Recipe):
    suite: SuiteName = Field(description="Debian suite the packages come from")


class ToolchainRecipe(_FromSuite):
    """A QEMU with its own loader and libraries, to be run on any x86-64 Linux."""

    kind: Literal["toolchain"]
    packages: tuple[PackageName, ...] = Field(("qemu-system-x86", "qemu-utils"), min_length=1)
    programs: tuple[InsidePath, ...] = Field(
        QEMU_PROGRAMS, min_length=1, description="programs to keep; the first is the emulator"
    )
    data: tuple[InsidePath, ...] = Field(FIRMWARE, description="directories to keep, for -L")
    drop: tuple[InsidePath, ...] = Field(
        tuple(f"usr/share/qemu/{pattern}" for pattern in FOREIGN_FIRMWARE),
        description="globs to remove from `data`",
    )
    version: PackageVersion | None = Field(
        None, description="exactly this version of the first package; the suite's when absent"
    )


class SourceToolchainRecipe(_FromSuite):
    """A QEMU built from a source package of the suite, with patches, for x86-64 only."""

    kind: Literal["toolchain"]
    source: PackageName = Field("qemu", description="source package")
    version: PackageVersion | None = Field(None, description="exactly this version of it")
    patches: UserPath | None = Field(
        None, description="a patch, or a directory of them (in the order of `series`, or sorted)"
    )
    configure: tuple[str, ...] = Field((), description="more arguments for ./configure")
    packages: tuple[PackageName, ...] = Field(
        ("qemu-system-data", "seabios"), description="packages that have the firmware"
    )
    data: tuple[InsidePath, ...] = Field(FIRMWARE, description="directories to keep, for -L")
    drop: tuple[InsidePath, ...] = Field(
        tuple(f"usr/share/qemu/{pattern}" for pattern in FOREIGN_FIRMWARE),
        description="globs to remove from `data`",
    )

    def patches_of(self) -> Iterator[tuple[str, str]]:
        if self.patches is not None:
            yield "", self.patches

    def places(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if self.patches is not None:
            yield ("patches",), self.patches


class OwnToolchainRecipe(_Recipe):
    """A QEMU of the user's: a build tree, or an installed prefix."""

    kind: Literal["toolchain"]
    path: UserPath = Field(description="build tree or installed prefix")
    data: tuple[UserPath, ...] | None = Field(
        None, description="directories of firmware; where the QEMU itself looks, when absent"
    )

    def places(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        yield ("path",), self.path
        for n, data in enumerate(self.data or ()):
            yield ("data", n), data


class KernelRecipe(_FromSuite):
    """A Debian kernel with its modules."""

    kind: Literal["kernel"]
    package: PackageName = "linux-image-amd64"
    version: PackageVersion | None = Field(None, description="exactly this version of it")


class OwnKernelRecipe(_Recipe):
    """A kernel of the user's: a build tree, or a bzImage and the directory of its modules."""

    kind: Literal["kernel"]
    path: UserPath | None = Field(None, description="build tree")
    image: UserPath | None = Field(None, description="bzImage")
    modules: UserPath | None = Field(
        None, description="lib/modules/RELEASE, or what `make modules_install` installed into"
    )

    @model_validator(mode="after")
    def _one_way(self) -> OwnKernelRecipe:
        if self.path is None and (self.image is None or self.modules is None):
            raise ValueError("wanted `path: BUILD TREE`, or both `image:` and `modules:`")
        if self.path is not None and (self.image or self.modules):
            raise ValueError("`path:` is a build tree with image and modules; give it alone")
        return self

    def places(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for key in ("path", "image", "modules"):
            if (text := getattr(self, key)) is not None:
                yield (key,), text


class ModulePatches(_Part):
    """How a module of a packaged kernel is changed."""

    patches: UserPath = Field(description="a patch, or a directory of them")


class ChangedKernelRecipe(_Recipe):
    """The kernel of another recipe with some modules replaced or patched."""

    kind: Literal["kernel"]
    base: UserPath = Field(description="the other kernel: a recipe's name or file")
    modules: dict[ModuleName, ModulePatches] = Field(
        default_factory=dict, description="modules built from the base's linux-source with patches"
    )
    replace: tuple[UserPath, ...] = Field((), description="module files (.ko) that are built")

    @model_validator(mode="after")
    def _changes(self) -> ChangedKernelRecipe:
        if not self.modules and not self.replace:
            raise ValueError("wanted `modules:` to patch or `replace:` with module files")
        return self

    def patches_of(self) -> Iterator[tuple[str, str]]:
        for name, module in self.modules.items():
            yield name, module.patches

    def places(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for name, module in self.modules.items():
            yield ("modules", name, "patches"), module.patches
        for n, file in enumerate(self.replace):
            yield ("replace", n), file


class GuestRecipe(_FromSuite):
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
        return (*self.compile.values(), *self.files.values())


class HostRecipe(_FromSuite):
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
        return (self.initramfs, *self.files.values())


AnyToolchainRecipe = ToolchainRecipe | SourceToolchainRecipe | OwnToolchainRecipe
AnyKernelRecipe = KernelRecipe | OwnKernelRecipe | ChangedKernelRecipe
Recipe = AnyToolchainRecipe | AnyKernelRecipe | GuestRecipe | HostRecipe
Kind = Literal["toolchain", "kernel", "guest", "host"]


@dataclass(frozen=True, slots=True)
class _Way:
    """A model, and the keys each of which says that it is meant."""

    model: type[Recipe]
    keys: tuple[str, ...] = ()


# The first whose key is there; the last when there is none.
_WAYS: dict[str, tuple[_Way, ...]] = {
    "toolchain": (
        _Way(OwnToolchainRecipe, ("path",)),
        _Way(SourceToolchainRecipe, ("source", "patches", "configure")),
        _Way(ToolchainRecipe),
    ),
    "kernel": (
        _Way(ChangedKernelRecipe, ("base", "replace")),
        _Way(OwnKernelRecipe, ("path", "image")),
        _Way(KernelRecipe),
    ),
    "guest": (_Way(GuestRecipe),),
    "host": (_Way(HostRecipe),),
}


class _Kind(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: Kind


def load_recipe(path: Path) -> Recipe:
    """The recipe in ``path``. ProblemsError tells all that is wrong with it."""
    document = read(path)
    kind = validate(document, _Kind).kind
    ways = _WAYS[kind]
    way = next((one for one in ways if not document.data.keys().isdisjoint(one.keys)), ways[-1])
    if mixed := list(_mixed(document, kind, way)):
        raise ProblemsError(mixed)
    recipe = validate(document, way.model)
    missing = [
        Problem(str(path), 0, 0, "", f"needs {name}, and there is no such file beside it")
        for name in recipe.sources()
        if not (path.parent / name).is_file()
    ]
    missing += [
        document.problem(key, f"'{text}': there is no {located(text, path.parent)}")
        for key, text in recipe.places()
        if not located(text, path.parent).exists()
    ]
    if missing:
        raise ProblemsError(missing)
    return recipe


def _mixed(document: Document, kind: str, way: _Way) -> Iterator[Problem]:
    """Keys that are right in another way of describing the same kind of image."""
    decisive = next((key for key in way.keys if key in document.data), "")
    for key in document.data:
        elsewhere = any(key in other.model.model_fields for other in _WAYS[kind])
        if key in way.model.model_fields:
            continue
        if kind == "kernel" and key in ("source", "patches"):
            yield document.problem(
                (key,),
                "a whole kernel is not built from source here",
                "`base: kernel` with `modules: {NAME: {patches: DIR}}` builds single modules; "
                "`path: BUILD TREE` takes a kernel that you have built",
                key=True,
            )
        elif elsewhere and decisive:
            yield document.problem((key,), f"does not go with `{decisive}:`", key=True)
        elif elsewhere:
            yield document.problem((key,), "goes with another source only", key=True)


def located(text: str, beside: Path) -> Path:
    """The place that ``text`` of a recipe in the directory ``beside`` means."""
    return (beside / Path(text).expanduser()).absolute()


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
    for of, text in recipe.patches_of():
        for number, patch in enumerate(patch_files(located(text, directory))):
            contents[f"patch {of} {number:04d}"] = patch.read_bytes()
    return contents


def patch_files(place: Path) -> tuple[Path, ...]:
    """The patches at ``place`` in the order in which they apply; InputError if there is none.

    A directory has them in the order of its file ``series`` (as quilt has it: one name a
    line, ``#`` begins a comment), or all ``*.patch`` and ``*.diff``, sorted.
    """
    if place.is_file():
        return (place,)
    series = place / "series"
    if series.is_file():
        lines = (line.partition("#")[0].split() for line in series.read_text("utf-8").splitlines())
        found = tuple(place / words[0] for words in lines if words)
        for patch in found:
            if not patch.is_file():
                raise InputError(f"{series}: names {patch.name}, and there is no {patch}")
    else:
        found = tuple(sorted([*place.glob("*.patch"), *place.glob("*.diff")]))
    if not found:
        raise InputError(
            f"{place}: there is no patch in it", hint="wanted files *.patch, or a file `series`"
        )
    return found
