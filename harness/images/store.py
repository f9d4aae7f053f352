"""The store of images: recipes in, finished artifacts out, built once and kept.

An artifact's digest covers its recipe, the files the recipe refers to, the digests of the
artifacts it depends on and the version of its builder. The versions of packages are found
while building and are recorded in the manifest; they are no part of the digest, because
finding them needs the network. To take newer packages, remove the artifact.

Neighbours: ``lab`` asks for artifacts and boots them; ``cli`` shows and removes them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from harness.errors import InputError
from harness.images import guest, host, kernel, toolchain, trial
from harness.images.artifacts import Artifact, GuestImage, HostImage, Kernel, Toolchain
from harness.images.cache import Build, Cache, Entry, Key, Made, digest_of
from harness.images.recipe import (
    GuestRecipe,
    HostRecipe,
    KernelRecipe,
    Recipe,
    ToolchainRecipe,
    find_recipe,
    load_recipe,
    recipe_names,
    source_contents,
)
from harness.images.reporter import Reporter
from harness.images.staging import make_erofs
from harness.images.tools import Progress, require

_BUILDERS = {
    "toolchain": toolchain.BUILDER,
    "kernel": kernel.BUILDER,
    "guest": guest.BUILDER,
    "host": host.BUILDER,
}
_DISK = "disk"
_DISK_BUILDER = "1"
_R = TypeVar("_R", bound=Recipe)


def default_root() -> Path:
    """$HARNESS_CACHE, or ``failover-harness`` in the user's cache directory."""
    if explicit := os.environ.get("HARNESS_CACHE"):
        return Path(explicit).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "failover-harness"


def default_recipes() -> Path:
    """``images/`` of the checkout that this package is in."""
    return Path(__file__).resolve().parents[2] / "images"


def quiet(line: str) -> None:
    """Progress that nobody follows."""


def artifact_digest(recipe: Recipe, directory: Path, needs: tuple[Kernel, ...] = ()) -> str:
    """What names the artifact of a ``recipe`` in ``directory`` that depends on ``needs``."""
    return _digest(recipe, directory, {each.name: each.digest for each in needs})


class Store:
    """Images by the names of their recipes. Safe to use from several threads and processes.

    Every method that gives an artifact builds it if need be, and raises ProblemsError (the
    recipe is wrong), MissingDependency (this machine lacks a tool) or ImageError.
    """

    def __init__(self, root: Path | None = None, *, recipes: Path | None = None) -> None:
        self._cache = Cache(root or default_root())
        self._recipes = recipes or default_recipes()

    @property
    def root(self) -> Path:
        """Where the artifacts are kept."""
        return self._cache.root

    def recipes(self) -> tuple[str, ...]:
        """The names of all recipes."""
        return recipe_names(self._recipes)

    def toolchain(self, name: str, *, progress: Progress = quiet) -> Toolchain:
        """A QEMU."""
        recipe = self._recipe(name, ToolchainRecipe)
        entry = self._obtain(
            name,
            recipe,
            (),
            lambda into, report: toolchain.build_toolchain(
                recipe, name, self._packages, into, report
            ),
            progress,
        )
        return toolchain.describe_toolchain(recipe, entry)

    def kernel(self, name: str, *, progress: Progress = quiet) -> Kernel:
        """A kernel with its modules."""
        recipe = self._recipe(name, KernelRecipe)
        entry = self._obtain(
            name,
            recipe,
            (),
            lambda into, report: kernel.build_kernel(recipe, name, self._packages, into, report),
            progress,
        )
        return kernel.describe_kernel(entry)

    def guest(self, name: str, on: Kernel, *, progress: Progress = quiet) -> GuestImage:
        """The initramfs of a guest that runs the kernel ``on``."""
        recipe = self._recipe(name, GuestRecipe)
        entry = self._obtain(
            name,
            recipe,
            (on,),
            lambda into, report: guest.build_guest(
                recipe, name, self._recipes, on, self._packages, into, report
            ),
            progress,
        )
        return guest.describe_guest(entry)

    def host(self, name: str, on: Kernel, *, progress: Progress = quiet) -> HostImage:
        """The root file system and initramfs of a host VM that runs the kernel ``on``."""
        recipe = self._recipe(name, HostRecipe)
        entry = self._obtain(
            name,
            recipe,
            (on,),
            lambda into, report: host.build_host(
                recipe, name, self._recipes, on, self._packages, into, report
            ),
            progress,
        )
        return host.describe_host(entry)

    def ensure(self, name: str, *, on: str = "kernel", progress: Progress = quiet) -> Artifact:
        """The artifact of recipe ``name``, of whatever kind; ``on`` names the kernel recipe."""
        recipe = load_recipe(find_recipe(self._recipes, name))
        match recipe:
            case ToolchainRecipe():
                return self.toolchain(name, progress=progress)
            case KernelRecipe():
                return self.kernel(name, progress=progress)
            case GuestRecipe():
                return self.guest(name, self.kernel(on, progress=progress), progress=progress)
            case HostRecipe():
                return self.host(name, self.kernel(on, progress=progress), progress=progress)

    def packed(
        self, *artifacts: Toolchain | Kernel | GuestImage, progress: Progress = quiet
    ) -> Path:
        """A read-only disk (erofs) with the artifacts in its top directory, made once.

        A toolchain contributes its tree, a kernel ``vmlinux`` and ``vmlinuz``, a guest image
        ``initramfs``. A host VM mounts the disk at /lab/SERIAL.
        """
        digest = digest_of(
            {"builder": _DISK_BUILDER, **{type(a).__name__: a.digest for a in artifacts}}
        )
        name = "-".join(artifact.name for artifact in artifacts)

        def build(into: Path, report: Reporter) -> Made:
            require("mkfs.erofs")
            with (
                report.step("packing"),
                tempfile.TemporaryDirectory(dir=into, prefix="top-") as scratch,
            ):
                for artifact in artifacts:
                    for source in _payload(artifact):
                        _link(source, Path(scratch, source.name))
                make_erofs(Path(scratch), into / "disk.erofs", label=f"disk {name}")
            return Made(
                version=artifacts[0].version,
                facts={"holds": " ".join(artifact.digest for artifact in artifacts)},
            )

        entry = self._cache.obtain(Key(_DISK, name, digest), build, progress)
        return entry.path / "disk.erofs"

    def tiny_guest(self, *, progress: Progress = quiet) -> Path:
        """The guest that accelerators are tried with: an ELF program for QEMU's -kernel."""
        source = self._recipes / trial.SOURCE
        digest = digest_of({"builder": trial.BUILDER, "source": source.read_text("utf-8")})
        entry = self._cache.obtain(
            Key("trial", "accelerator", digest),
            lambda into, report: trial.build_tiny_guest(source, into, report),
            progress,
        )
        return entry.path / trial.PROGRAM

    def list(self) -> tuple[Entry, ...]:
        """Everything that is finished, used by today's recipes or not."""
        return self._cache.entries()

    def stale(self) -> tuple[Entry, ...]:
        """The finished things that today's recipes would not give; safe to remove."""
        recipes = [load_recipe(find_recipe(self._recipes, name)) for name in self.recipes()]
        kernels = {
            name: _digest(recipe, self._recipes, {})
            for name, recipe in zip(self.recipes(), recipes, strict=True)
            if isinstance(recipe, KernelRecipe)
        }
        current = set()
        for recipe in recipes:
            if isinstance(recipe, GuestRecipe | HostRecipe):
                for name, digest in kernels.items():
                    current.add(_digest(recipe, self._recipes, {name: digest}))
            else:
                current.add(_digest(recipe, self._recipes, {}))

        def is_current(entry: Entry) -> bool:
            if entry.manifest.kind not in {*_BUILDERS, _DISK}:
                return True  # other rooms keep things in the same cache
            held = entry.manifest.made.facts.get("holds", entry.manifest.digest)
            return current.issuperset(held.split())

        return tuple(entry for entry in self.list() if not is_current(entry))

    def remove(self, entry: Entry) -> None:
        """Remove one finished thing. Nothing must be running from it."""
        self._cache.remove(entry)

    def remove_packages(self) -> None:
        """Remove the downloaded packages; they are needed again only for new builds."""
        shutil.rmtree(self._packages, ignore_errors=True)

    @property
    def _packages(self) -> Path:
        return self._cache.root / "packages"

    def _recipe(self, name: str, wanted: type[_R]) -> _R:
        recipe = load_recipe(find_recipe(self._recipes, name))
        if not isinstance(recipe, wanted):
            needed = wanted.__name__.removesuffix("Recipe").lower()
            raise InputError(
                f"image recipe {name!r} is of kind {recipe.kind} (found), "
                f"kind {needed} is wanted here"
            )
        return recipe

    def _obtain(
        self,
        name: str,
        recipe: Recipe,
        needs: tuple[Kernel, ...],
        build: Build,
        progress: Progress,
    ) -> Entry:
        digest = artifact_digest(recipe, self._recipes, needs)
        return self._cache.obtain(Key(recipe.kind, name, digest), build, progress)


def _digest(recipe: Recipe, directory: Path, needs: Mapping[str, str]) -> str:
    return digest_of(
        {
            "builder": _BUILDERS[recipe.kind],
            "recipe": recipe.model_dump_json(),
            **{f"file {path}": data for path, data in source_contents(directory, recipe).items()},
            **{f"needs {name}": digest for name, digest in needs.items()},
        }
    )


def _payload(artifact: Toolchain | Kernel | GuestImage) -> Iterator[Path]:
    match artifact:
        case Toolchain():
            yield from sorted(artifact.root.iterdir())
        case Kernel():
            yield artifact.vmlinux
            yield artifact.vmlinuz
        case GuestImage():
            yield artifact.initramfs


def _link(source: Path, target: Path) -> None:
    # Hard links: a toolchain is 100 MB, and it is only read.
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=os.link)
    else:
        os.link(source, target)
