"""The store of images: recipes in, finished artifacts out, built once and kept.

An artifact's digest covers its recipe, the files the recipe refers to, the content of what
is taken from the user's directories, the digests of the artifacts it depends on and the
version of its builder. The versions of packages are found
while building and are recorded in the manifest; they are no part of the digest, because
finding them needs the network. To take newer packages, remove the artifact.

Neighbours: ``lab`` asks for artifacts and boots them; ``cli`` shows and removes them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from harness.errors import InputError
from harness.images import (
    changed_kernel,
    guest,
    host,
    kernel,
    own_kernel,
    own_toolchain,
    qemu_source,
    toolchain,
    trial,
)
from harness.images.artifacts import Artifact, GuestImage, HostImage, Kernel, Toolchain
from harness.images.cache import Build, Cache, Entry, Key, Made, digest_of
from harness.images.own import Gathered
from harness.images.recipe import (
    ChangedKernelRecipe,
    GuestRecipe,
    HostRecipe,
    KernelRecipe,
    OwnKernelRecipe,
    OwnToolchainRecipe,
    Recipe,
    SourceToolchainRecipe,
    ToolchainRecipe,
    located,
    recipe_names,
    source_contents,
)
from harness.images.reference import Chosen, Wanted, of_kind, resolve
from harness.images.reporter import Reporter
from harness.images.staging import make_erofs
from harness.images.states import States
from harness.images.tools import Progress, require
from harness.images.upkeep import Doomed, remove_unused_downloads, superseded_or_unused

_BUILDERS: Mapping[type[Recipe], str] = {
    ToolchainRecipe: toolchain.BUILDER,
    SourceToolchainRecipe: qemu_source.BUILDER,
    OwnToolchainRecipe: own_toolchain.BUILDER,
    KernelRecipe: kernel.BUILDER,
    OwnKernelRecipe: own_kernel.BUILDER,
    ChangedKernelRecipe: changed_kernel.BUILDER,
    GuestRecipe: guest.BUILDER,
    HostRecipe: host.BUILDER,
}
DEFAULTS = ("qemu", "kernel", "guest", "host")
"""The recipes that a topology means when it names none."""
_DISK = "disk"
_DISK_BUILDER = "1"


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


def artifact_digest(
    recipe: Recipe,
    directory: Path,
    needs: tuple[Kernel, ...] = (),
    contents: Mapping[str, str] | None = None,
) -> str:
    """What names the artifact of a ``recipe`` in ``directory`` that depends on ``needs``.

    ``contents`` are the digests of what is taken as it is, by its path in the artifact.
    """
    return digest_of(
        {
            "builder": _BUILDERS[type(recipe)],
            "recipe": recipe.model_dump_json(exclude_none=True, exclude=_places_in(recipe)),
            **{f"file {path}": data for path, data in source_contents(directory, recipe).items()},
            **{f"takes {path}": digest for path, digest in (contents or {}).items()},
            # The version, too: a kernel that was built again may be a newer one.
            **{f"needs {n}": f"{one.digest} {one.version}" for n, one in enumerate(needs)},
        }
    )


class Store:
    """Images by reference (see ``reference``). Safe for several threads and processes.

    Every method that gives an artifact builds it if need be, and raises InputError (the
    reference or the recipe is wrong), MissingDependency (this machine lacks a tool) or
    ImageError.
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

    def resolve(
        self, reference: str, wanted: Wanted | None = None, *, beside: Path | None = None
    ) -> Chosen:
        """What a user's ``reference`` stands for; nothing is built, and a directory not read.

        Relative paths are relative to ``beside``, the working directory when absent; the
        ``text`` of the result is good anywhere. InputError where there is no such thing or it
        is not of the ``wanted`` kind.
        """
        chosen = resolve(reference, self._recipes, beside=beside)
        return of_kind(chosen, wanted) if wanted else chosen

    def toolchain(self, reference: str, *, progress: Progress = quiet) -> Toolchain:
        """A QEMU."""
        chosen = self.resolve(reference, "toolchain")
        recipe, name, beside = chosen.recipe, chosen.name, chosen.beside
        contents: dict[str, str] = {}
        build: Build
        match recipe:
            case OwnToolchainRecipe():
                gathered = own_toolchain.gather_toolchain(recipe, beside, name)
                contents = gathered.digests()
                build = partial(own_toolchain.build_own_toolchain, gathered, contents, name)
            case SourceToolchainRecipe():
                build = partial(
                    qemu_source.build_from_source, recipe, name, beside, self._cache, self._packages
                )
            case ToolchainRecipe():
                build = partial(toolchain.build_toolchain, recipe, name, self._packages)
            case _:
                raise self._not_of_kind(chosen, "toolchain")
        return toolchain.describe_toolchain(self._obtain(chosen, (), contents, build, progress))

    def kernel(self, reference: str, *, progress: Progress = quiet) -> Kernel:
        """A kernel with its modules."""
        return kernel.describe_kernel(self._kernel(self.resolve(reference, "kernel"), progress))

    def _kernel(self, chosen: Chosen, progress: Progress) -> Entry:
        recipe, name, beside = chosen.recipe, chosen.name, chosen.beside
        contents: dict[str, str] = {}
        needs: tuple[Kernel, ...] = ()
        build: Build
        match recipe:
            case OwnKernelRecipe():
                gathered = own_kernel.gather_kernel(recipe, beside, name)
                contents = gathered.digests()
                build = partial(own_kernel.build_own_kernel, gathered, contents, name)
            case ChangedKernelRecipe():
                entry = self._kernel(self.resolve(recipe.base, "kernel", beside=beside), progress)
                base = kernel.describe_kernel(entry)
                needs = (base,)
                contents = replacements(recipe, beside)
                build = partial(
                    changed_kernel.build_changed_kernel,
                    *(recipe, name, beside, base, entry.manifest.made),
                    *(self._cache, self._packages),
                )
            case KernelRecipe():
                build = partial(kernel.build_kernel, recipe, name, self._packages)
            case _:
                raise self._not_of_kind(chosen, "kernel")
        return self._obtain(chosen, needs, contents, build, progress)

    def guest(self, reference: str, on: Kernel, *, progress: Progress = quiet) -> GuestImage:
        """The initramfs of a guest that runs the kernel ``on``."""
        chosen = self.resolve(reference, "guest")
        if not isinstance(chosen.recipe, GuestRecipe):
            raise self._not_of_kind(chosen, "guest")
        build = partial(
            guest.build_guest, chosen.recipe, chosen.name, chosen.beside, on, self._packages
        )
        return guest.describe_guest(self._obtain(chosen, (on,), {}, build, progress))

    def host(self, reference: str, on: Kernel, *, progress: Progress = quiet) -> HostImage:
        """The root file system and initramfs of a host VM that runs the kernel ``on``."""
        chosen = self.resolve(reference, "host")
        if not isinstance(chosen.recipe, HostRecipe):
            raise self._not_of_kind(chosen, "host")
        build = partial(
            host.build_host, chosen.recipe, chosen.name, chosen.beside, on, self._packages
        )
        return host.describe_host(self._obtain(chosen, (on,), {}, build, progress))

    def ensure(self, reference: str, *, on: str = "kernel", progress: Progress = quiet) -> Artifact:
        """The artifact of a reference, of whatever kind; ``on`` is the kernel's reference."""
        match self.resolve(reference).recipe.kind:
            case "toolchain":
                return self.toolchain(reference, progress=progress)
            case "kernel":
                return self.kernel(reference, progress=progress)
            case "guest":
                return self.guest(reference, self.kernel(on, progress=progress), progress=progress)
            case "host":
                return self.host(reference, self.kernel(on, progress=progress), progress=progress)

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

        entry = self._cache.obtain(Key(_DISK, name, digest, "images together"), build, progress)
        return entry.path / "disk.erofs"

    def tiny_guest(self, *, progress: Progress = quiet) -> Path:
        """The guest that accelerators are tried with: an ELF program for QEMU's -kernel."""
        source = self._recipes / trial.SOURCE
        digest = digest_of({"builder": trial.BUILDER, "source": source.read_text("utf-8")})
        entry = self._cache.obtain(
            Key("trial", "accelerator", digest, trial.SOURCE),
            lambda into, report: trial.build_tiny_guest(source, into, report),
            progress,
        )
        return entry.path / trial.PROGRAM

    @property
    def states(self) -> States:
        """Saved states of machines that ran from these images."""
        return States(self._cache)

    def list(self) -> tuple[Entry, ...]:
        """Everything that is finished, used by today's recipes or not."""
        return self._cache.entries()

    def damage(self, entry: Entry) -> tuple[str, ...]:
        """What of a finished thing is not as it was when it was finished; reads everything."""
        return self._cache.damage(entry)

    def stale(self, *, unused_days: float = 30.0) -> tuple[Doomed, ...]:
        """What may go: what a shipped recipe gives no more, and what was not used for long.

        Nothing that a process is running from, and nothing that was used in the last hour.
        """
        entries = self.list()
        return superseded_or_unused(entries, self._current(entries), unused_days=unused_days)

    def _current(self, entries: tuple[Entry, ...]) -> frozenset[str]:
        """The digests that shipped recipes give today, with every kernel that is here."""
        kernels = [
            kernel.describe_kernel(entry) for entry in entries if entry.manifest.kind == "kernel"
        ]
        current = set()
        for name in self.recipes():
            recipe = self.resolve(name).recipe
            if isinstance(recipe, GuestRecipe | HostRecipe):
                current |= {artifact_digest(recipe, self._recipes, (on,)) for on in kernels}
            elif isinstance(recipe, OwnToolchainRecipe | OwnKernelRecipe | ChangedKernelRecipe):
                # What it would give now takes reading it; what it gave stays until unused.
                current |= {one.manifest.digest for one in entries if one.manifest.name == name}
            else:
                current.add(artifact_digest(recipe, self._recipes))
        return frozenset(current)

    def remove(self, entry: Entry) -> None:
        """Remove one finished thing. Nothing must be running from it."""
        self._cache.remove(entry)

    def remove_packages(self, *, unused_days: float = 0.0) -> int:
        """Remove downloads that were not needed for that long; how many bytes that were.

        They are needed again only for new builds.
        """
        return remove_unused_downloads(self._packages, unused_days=unused_days)

    @property
    def _packages(self) -> Path:
        return self._cache.root / "packages"

    def _not_of_kind(self, chosen: Chosen, wanted: str) -> InputError:
        return InputError(f"image recipe {chosen.text!r} is no {wanted}")

    def _obtain(
        self,
        chosen: Chosen,
        needs: tuple[Kernel, ...],
        contents: Mapping[str, str],
        build: Build,
        progress: Progress,
    ) -> Entry:
        digest = artifact_digest(chosen.recipe, chosen.beside, needs, contents)
        key = Key(chosen.recipe.kind, chosen.name, digest, chosen.origin)
        return self._cache.obtain(key, build, progress)


def _places_in(recipe: Recipe) -> dict[str, bool | dict[str, dict[str, bool]]]:
    """What of a recipe says only where something is: what is there counts, wherever it is."""
    match recipe:
        case OwnToolchainRecipe():
            return {"path": True, "data": True}
        case OwnKernelRecipe():
            return {"path": True, "image": True, "modules": True}
        case ChangedKernelRecipe():
            return {"base": True, "replace": True, "modules": {"__all__": {"patches": True}}}
        case SourceToolchainRecipe():
            return {"patches": True}
        case _:
            return {}


def replacements(recipe: ChangedKernelRecipe, beside: Path) -> dict[str, str]:
    """The digests of the module files that a recipe puts in place of the base's."""
    files = [located(text, beside) for text in recipe.replace]
    return Gathered(
        beside, {f"replace {n:04d} {file.name}": file for n, file in enumerate(files)}, {}
    ).digests()


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
