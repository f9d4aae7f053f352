"""A kernel of the user's: from a build tree, or a bzImage and a directory of its modules.

Modules are taken without their debugging sections, which are most of a build tree's bytes.

Neighbours: ``own`` copies and digests; ``kernel`` says what a kernel artifact is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from harness.errors import InputError
from harness.images.bzimage import kernel_release
from harness.images.cache import Made
from harness.images.kernel import finish_kernel
from harness.images.modinfo import strip_modules
from harness.images.own import Gathered
from harness.images.recipe import OwnKernelRecipe, located
from harness.images.reporter import Reporter

BUILDER = "1"
_IMAGE = "arch/x86/boot/bzImage"
_SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")
_TABLES = ("modules.builtin", "modules.builtin.modinfo", "modules.order")


def gather_kernel(recipe: OwnKernelRecipe, beside: Path, name: str) -> Gathered:
    """What a kernel of the user's would hold; InputError where there is none."""
    if recipe.path is not None:
        top = located(recipe.path, beside)
        image = _image_of_tree(top)
    else:
        image = located(recipe.image or "", beside)
        top = located(recipe.modules or "", beside)
        if not image.is_file():
            raise InputError(f"{image}: is no file; wanted a bzImage")
    release = _release(image, name)
    if recipe.path is None:
        top = _installed_modules(top, release)
    prefix = f"modules/{release}/"
    files = {"vmlinuz": image}
    for table in _TABLES:
        if (top / table).is_file():
            files[prefix + table] = top / table
    modules = dict(_modules(top))
    inside = "" if recipe.path is None else "kernel/"
    files |= {f"{prefix}{inside}{path}": file for path, file in modules.items()}
    if not modules and f"{prefix}modules.builtin" not in files:
        raise InputError(
            f"{top}: holds no modules (.ko) and no modules.builtin",
            hint="`make bzImage modules` in a build tree; or a directory that "
            "`make modules_install INSTALL_MOD_PATH=DIR` filled",
        )
    return Gathered(top, files, {"release": release})


def build_own_kernel(
    gathered: Gathered, digests: dict[str, str], name: str, into: Path, report: Reporter
) -> Made:
    """Fill ``into`` with vmlinuz, vmlinux and modules/RELEASE."""
    release = gathered.facts["release"]
    with report.step(f"copying {len(gathered.files)} files of {gathered.origin}"):
        gathered.copy(into, digests)
        tree = into / "modules" / release
        tree.mkdir(parents=True, exist_ok=True)
        strip_modules([path for path in tree.rglob("*.ko") if path.is_file()])
    finish_kernel(into, release, f"kernel {name}", report)
    return Made(version=release, facts={"from": str(gathered.origin), "release": release})


def _image_of_tree(top: Path) -> Path:
    if not top.is_dir():
        raise InputError(f"{top}: is no directory; wanted a kernel's build tree")
    image = top / _IMAGE
    if not image.is_file():
        known = (top / "Kconfig").is_file() or (top / ".config").is_file()
        raise InputError(
            f"{top}: there is no {_IMAGE} in it",
            hint="`make bzImage modules` there first"
            if known
            else "wanted the build tree of a kernel for x86-64 (or `image:` and `modules:`)",
        )
    return image


def _release(image: Path, name: str) -> str:
    try:
        return kernel_release(image.read_bytes(), what=f"kernel {name}: {image}")
    except OSError as error:
        raise InputError(f"{image}: cannot be read: {error.strerror}") from error


def _installed_modules(top: Path, release: str) -> Path:
    """``lib/modules/RELEASE`` itself, given it or what it was installed into."""
    if not top.is_dir():
        raise InputError(f"{top}: is no directory; wanted the modules of the kernel")
    parents = [top / "lib/modules", top / "usr/lib/modules", top]
    for parent in parents:
        if (parent / release).is_dir():
            return parent / release
    others = sorted(
        path.name
        for parent in parents
        for path in (parent.iterdir() if parent.is_dir() else ())
        if (path / "modules.order").is_file() or (path / "kernel").is_dir()
    )
    if others and not (top / "kernel").is_dir():
        raise InputError(
            f"{top}: has the modules of {', '.join(others)} (found), the image is of {release}"
        )
    if (top / "kernel").is_dir() and top.name != release:
        raise InputError(
            f"{top}: is named {top.name} (found), the image is of {release}; modules of another "
            "release do not load"
        )
    return top


def _modules(top: Path) -> Iterator[tuple[str, Path]]:
    # os.walk: a kernel's build tree has 100,000 files, most of them in no .ko's way.
    for directory, below, names in os.walk(top):
        below[:] = sorted(one for one in below if not one.startswith(".") and one != "build")
        for name in sorted(names):
            if name.endswith(_SUFFIXES):
                path = Path(directory, name)
                yield path.relative_to(top).as_posix(), path
