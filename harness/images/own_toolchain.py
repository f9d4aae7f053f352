"""A QEMU of the user's, from its build tree or an installed prefix, made fit to travel.

It is taken with every library it loads and with the loader that it asks for, so that it runs
in a nested host and on a machine with an older libc; and with the firmware from where it
looks for it itself. Nothing is taken from the suite.

Neighbours: ``own`` copies and digests; ``toolchain`` tries what came out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from harness.errors import ImageError, InputError
from harness.images.cache import Made
from harness.images.libraries import LIBRARY_DIR, LOADER, interpreter, is_dynamic, loaded_by
from harness.images.own import Gathered
from harness.images.recipe import FOREIGN_FIRMWARE, OwnToolchainRecipe, located
from harness.images.reporter import Reporter
from harness.images.toolchain import accelerators, try_toolchain
from harness.images.tools import run

BUILDER = "1"
_EMULATOR = "qemu-system-x86_64"
_IMG = "qemu-img"
_BIOS = "bios-256k.bin"  # what machines of type q35 and pc start with
_PLACES = ("", "bin", "usr/bin", "usr/local/bin")
_LIBRARIES = (
    LIBRARY_DIR,
    "lib/x86_64-linux-gnu",
    "usr/local/lib",
    "usr/lib64",
    "usr/lib",
    "lib64",
    "lib",
)
# Where the firmware of an installed QEMU is, below the prefix; Debian has two directories.
_FIRMWARE = ("usr/share/qemu", "usr/share/seabios", "share/qemu", "share/seabios")
_KINDS = ("*.bin", "*.rom", "*.img", "*.dtb", "*.fd")
_TOO_LARGE = ("edk2-*",)
# What QEMU prints for `-L help`: one directory a line.
_DIRECTORY = re.compile(r"^(/.+)$", re.MULTILINE)


def gather_toolchain(recipe: OwnToolchainRecipe, beside: Path, name: str) -> Gathered:
    """What a toolchain of the user's would hold; InputError where there is no QEMU."""
    top = located(recipe.path, beside)
    emulator = _emulator(top)
    what = f"toolchain {name}"
    prefix = top
    if not is_dynamic(emulator):
        raise InputError(
            f"{emulator}: is no dynamically linked program (ELF, x86-64), so that it cannot be "
            "carried with its loader",
            hint="build QEMU without --static",
        )
    loader = _loader(prefix, emulator)
    libraries = [prefix / one for one in _LIBRARIES if (prefix / one).is_dir()]
    programs = [emulator, *(path for path in [emulator.with_name(_IMG)] if path.is_file())]
    files: dict[str, Path] = {LOADER: loader}
    for program in programs:
        files[f"usr/bin/{program.name}"] = program
        for library in loaded_by(program, loader, libraries, what=what):
            # The same name twice: the first is what the emulator loads.
            files.setdefault(f"{LIBRARY_DIR}/{library.name}", library)
    files |= accelerators(emulator.parent.parent)
    data = []
    directories = (
        [located(text, beside) for text in recipe.data]
        if recipe.data is not None
        else list(_looked_in(emulator, loader, libraries, prefix, what))
    )
    for number, directory in enumerate(directories):
        held = dict(_firmware(directory))
        if held:
            data.append(f"usr/share/firmware-{number}")
            files |= {f"{data[-1]}/{key}": path for key, path in held.items()}
    if not any(target.endswith(f"/{_BIOS}") for target in files):
        raise InputError(
            f"{emulator}: there is no {_BIOS} where it looks for firmware "
            f"({', '.join(map(str, directories)) or 'nowhere'})",
            hint=f"in a recipe, `data: [DIRECTORY, ...]` says where {_BIOS} and the others are",
        )
    facts = {"programs": " ".join(f"usr/bin/{p.name}" for p in programs), "data": " ".join(data)}
    return Gathered(top, files, facts)


def build_own_toolchain(
    gathered: Gathered, digests: dict[str, str], name: str, into: Path, report: Reporter
) -> Made:
    """Fill ``into``; the tree is its ``root``. ImageError when the QEMU does not run alone."""
    root = into / "root"
    with report.step(f"copying {len(gathered.files)} files of {gathered.origin}"):
        gathered.copy(root, digests)
    programs, data = gathered.facts["programs"].split(), gathered.facts["data"].split()
    (root / LOADER).chmod(0o755)
    tried = try_toolchain(root, programs, data, name, report)
    return Made(
        version=tried.version,
        facts={"from": str(gathered.origin), **tried.recorded(programs, data)},
    )


def _emulator(top: Path) -> Path:
    if top.is_file() and top.name.startswith("qemu-system-"):
        raise InputError(
            f"{top}: is a file; wanted the build tree or prefix that it is in",
            hint=f"path: {top.parent}",
        )
    if not top.is_dir():
        raise InputError(f"{top}: is no directory; wanted a QEMU's build tree or prefix")
    for place in _PLACES:
        path = top / place / _EMULATOR
        if path.is_file():
            return path.absolute()
    hint = "wanted a build tree (BUILD/qemu-system-x86_64) or a prefix (PREFIX/bin/...)"
    if (top / "build" / _EMULATOR).is_file():
        hint = f"did you mean {top / 'build'}?"
    elif (top / "build.ninja").is_file() or (top / "config-host.mak").is_file():
        hint = f"it is a build tree that has not built it: `ninja {_EMULATOR}` there"
    raise InputError(f"{top}: there is no {_EMULATOR} in it", hint=hint)


def _loader(prefix: Path, emulator: Path) -> Path:
    own = prefix / LOADER
    if own.is_file():
        return own
    asked = Path(interpreter(emulator))
    if not asked.is_file():
        raise InputError(
            f"{emulator}: asks for the loader {asked}, which this machine does not have",
            hint="a prefix that was built elsewhere needs its own libc and loader in it",
        )
    return asked


def _looked_in(
    emulator: Path, loader: Path, libraries: Sequence[Path], prefix: Path, what: str
) -> Iterator[Path]:
    """Where the QEMU looks for firmware: it is asked, by its own name if it can be.

    A QEMU that was moved is asked in vain; its prefix then has the usual places.
    """
    found = [prefix / place for place in _FIRMWARE if (prefix / place).is_dir()]
    if (emulator.parent / "pc-bios").is_dir() or not found:
        # By its own name, for it finds a build tree's firmware from where it lies.
        argv: list[str | Path] = [emulator, "-L", "help"]
        if loader != Path(interpreter(emulator)):
            argv = [loader, "--library-path", ":".join(map(str, libraries)), *argv]
        environment = {"LD_LIBRARY_PATH": ":".join(map(str, libraries))} if libraries else {}
        try:
            said = run(argv, what=what, env=environment, timeout=60).decode(errors="replace")
        except ImageError as error:
            raise ImageError(
                f"{emulator}: does not run here: {error.message}",
                hint=error.hint,
                evidence=error.evidence,
            ) from error
        found = [Path(one) for one in _DIRECTORY.findall(said) if Path(one).is_dir()] + found
        built = emulator.parent / "pc-bios"
        found += [one for one in (built, built / "optionrom") if one.is_dir()]
    seen: dict[Path, Path] = {}
    for path in found:
        seen.setdefault(path.resolve(), path)
    yield from seen.values()


def _firmware(directory: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        wanted = any(fnmatchcase(path.name, pattern) for pattern in _KINDS)
        unwanted = any(fnmatchcase(path.name, one) for one in (*FOREIGN_FIRMWARE, *_TOO_LARGE))
        if wanted and not unwanted and path.is_file():
            yield path.name, path
