"""A packaged kernel with some modules replaced, or built from its own source with patches.

A patched module is compiled from ``linux-source`` of the suite, in exactly the version of the
packaged kernel, against that kernel's headers and by the suite's compiler. Only the module's
own directory of the source is used: a patch that changes more needs a kernel of one's own.

Everything else is shared with the base by hard links.

Neighbours: ``buildroot`` compiles; ``kernel`` says what a kernel artifact is.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from harness.errors import ImageError, InputError
from harness.images.artifacts import Kernel
from harness.images.buildroot import BuildRoot, build_root
from harness.images.cache import Cache, Made
from harness.images.debian import Suite
from harness.images.kernel import index_modules
from harness.images.modinfo import modinfo, module_content, strip_modules
from harness.images.modules import ModuleTree
from harness.images.patches import apply_patches, touched_files
from harness.images.recipe import ChangedKernelRecipe, located, patch_files
from harness.images.reporter import Reporter

BUILDER = "1"
_SERIES = re.compile(r"\d+\.\d+")
# Beside the directory's Makefile, which stays the one that says what a module is made of.
_KBUILD = """\
include $(src)/Makefile
obj-y :=
obj-m := {module}.o
"""
_EXTRACT = """\
cd /work
exec tar -xJf "$1" --strip-components=1 -C tree --no-recursion --wildcards \
    --no-wildcards-match-slash "linux-source-$2/$3/*"
"""


def build_changed_kernel(
    recipe: ChangedKernelRecipe,
    name: str,
    beside: Path,
    base: Kernel,
    base_made: Made,
    cache: Cache,
    packages_dir: Path,
    into: Path,
    report: Reporter,
) -> Made:
    """Fill ``into`` with vmlinuz, vmlinux and modules/RELEASE."""
    what = f"kernel {name}"
    tree = ModuleTree.read(base.modules)
    with report.step(f"sharing the files of {base.name}"):
        _share(base, into)
    modules = into / "modules" / base.release
    changed = []
    for text in recipe.replace:
        path = located(text, beside)
        changed.append(_put(path, "", tree, base, modules, what))
    for module, how in recipe.modules.items():
        patches = patch_files(located(how.patches, beside))
        with tempfile.TemporaryDirectory(dir=into, prefix="source-") as scratch:
            built = _build_module(
                module, patches, tree, base, base_made, cache, packages_dir, Path(scratch), report
            )
            changed.append(_put(built, module, tree, base, modules, what))
    index_modules(into, base.release, what)
    return Made(
        version=base.version,
        facts={
            **{key: text for key, text in base_made.facts.items() if key == "suite"},
            "release": base.release,
            "base": base.digest,
            "changed": " ".join(changed),
        },
        packages=base_made.packages,
    )


def _share(base: Kernel, into: Path) -> None:
    for file in (base.vmlinux, base.vmlinuz):
        os.link(file, into / file.name)

    def link(source: str, target: str) -> str:
        # depmod writes its tables anew: those must not be the base's own.
        if Path(source).name.startswith("modules."):
            return str(shutil.copy2(source, target))
        os.link(source, target)
        return target

    shutil.copytree(
        base.modules, into / "modules" / base.release, symlinks=True, copy_function=link
    )


def _put(file: Path, module: str, tree: ModuleTree, base: Kernel, modules: Path, what: str) -> str:
    """Put a module file in the place of the base's; its name. InputError if it cannot fit."""
    content = module_content(file, what)
    told = modinfo(content, f"{what}: {file}")
    name = module or told.get("name") or file.name.partition(".ko")[0].replace("-", "_")
    if name in tree.builtin:
        raise InputError(
            f"{what}: {name} is built into kernel {base.name} {base.release}, so that no module "
            "can replace it",
            hint="`path: BUILD TREE` takes a whole kernel that you have built",
        )
    former = tree.paths.get(name)
    wanted = _vermagic(tree, former, what)
    found = told.get("vermagic", "").strip()
    if found != wanted:
        raise InputError(
            f"{what}: {file} is built for '{found}' (found), kernel {base.name} is '{wanted}'",
            hint=f"build it against linux-headers-{base.release}",
        )
    place = modules / (former or f"extra/{name}.ko")
    target = place.with_name(place.name.partition(".ko")[0] + ".ko")
    place.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    strip_modules([target])
    return name


def _vermagic(tree: ModuleTree, path: str | None, what: str) -> str:
    """What the kernel of the tree wants of a module: what any of its own has."""
    any_of_it = path or next(iter(tree.paths.values()), None)
    if any_of_it is None:
        raise InputError(f"{what}: the base kernel has no modules at all")
    file = tree.top / any_of_it
    return modinfo(module_content(file, what), f"{what}: {file}").get("vermagic", "").strip()


def _build_module(
    module: str,
    patches: tuple[Path, ...],
    tree: ModuleTree,
    base: Kernel,
    base_made: Made,
    cache: Cache,
    packages_dir: Path,
    work: Path,
    report: Reporter,
) -> Path:
    """Compile ``module`` of the base's source with ``patches``; the module file."""
    what = f"module {module}"
    directory = _directory(module, tree, base)
    outside = sorted(
        name for name in touched_files(patches) if name.rpartition("/")[0] != directory
    )
    if outside:
        raise InputError(
            f"{what}: a patch changes {', '.join(outside)}, and {module} is built from "
            f"{directory}/ alone",
            hint="build the whole kernel yourself, and give its build tree: `path: BUILD TREE`",
        )
    suite_name = base_made.facts.get("suite")
    packaged = next(iter(base_made.packages.items()), None)
    series = _SERIES.match(base.release)
    if suite_name is None or packaged is None or series is None:
        raise InputError(
            f"{what}: kernel {base.name} is no packaged kernel, so that there is no source of it",
            hint="build the module in your own tree, and give it: `replace: [FILE.ko]`",
        )
    package, version = packaged
    source = f"linux-source-{series[0]}"
    try:
        compiler = build_root(
            suite_name,
            [f"linux-headers-{base.release}={version}"],
            cache,
            packages_dir,
            report.progress,
        )
        suite = Suite(suite_name, packages_dir, report)
        (archive,) = suite.resolve([f"{source}={version}"], only=source)
    except ImageError as error:
        raise ImageError(
            f"{what}: {suite_name} does not have the source or the headers of {package} {version}",
            hint=f"has the suite moved on? `harness images remove {base.name}` lets the next "
            "build take its kernel of today",
            evidence=[error.message, *error.evidence],
        ) from error
    suite.unpack([archive], work / "package")
    (work / "tree").mkdir()
    tarball = f"package/usr/src/{source}.tar.xz"
    with report.step(f"unpacking {directory} of {source} {version}"):
        compiler.run(_EXTRACT, tarball, series[0], directory, work=work, what=what)
    shutil.rmtree(work / "package")
    apply_patches(compiler, patches, work, "tree", report, what)
    return _compile(compiler, module, directory, base, work, report)


def _directory(module: str, tree: ModuleTree, base: Kernel) -> str:
    if module in tree.builtin:
        raise InputError(
            f"module {module}: is built into kernel {base.name} {base.release}, so that no module "
            "can replace it",
            hint="`path: BUILD TREE` takes a whole kernel that you have built",
        )
    # ``order`` knows what to say of a name that the kernel does not have.
    tree.order([module])
    return tree.paths[module].removeprefix("kernel/").rpartition("/")[0]


def _compile(
    compiler: BuildRoot, module: str, directory: str, base: Kernel, work: Path, report: Reporter
) -> Path:
    there = work / "tree" / directory
    file = Path(base.modules / ModuleTree.read(base.modules).paths[module]).name
    target = file.partition(".ko")[0]
    (there / "Kbuild").write_text(_KBUILD.format(module=target), encoding="utf-8")
    with report.step(f"compiling {module} for {base.release}"):
        said = compiler.run(
            'exec make -C "/usr/src/linux-headers-$1" "M=/work/tree/$2" modules',
            *(base.release, directory),
            work=work,
            what=f"module {module}",
        )
    built = there / f"{target}.ko"
    if not built.is_file():
        raise ImageError(
            f"module {module}: its build made no {built.name}",
            evidence=said.decode(errors="replace").splitlines()[-8:],
        )
    return built
