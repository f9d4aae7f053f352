"""What users write to say which QEMU or kernel they mean, and the recipe that it stands for.

A *reference* is one of:

- the name of a shipped recipe: ``qemu-11``
- a recipe file: ``./mine.yaml`` (anything with a ``/`` or a leading ``~``, ending in .yaml)
- a directory: ``~/qemu/build``, or ``path:build`` where a name would be read otherwise
- a kernel and module files in place of its own: ``kernel-6.12+~/net_failover.ko``

Neighbours: ``recipe`` has the models; ``store`` builds what was found.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.errors import InputError
from harness.images.recipe import (
    ChangedKernelRecipe,
    OwnKernelRecipe,
    OwnToolchainRecipe,
    Recipe,
    find_recipe,
    load_recipe,
    recipe_names,
)

_PATH = "path:"
_WITH_MODULES = re.compile(r"(?P<base>[A-Za-z0-9._-]+)(?P<files>(?:\+[^+]+\.ko)+)")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 40
_PLAIN = 24

Wanted = Literal["toolchain", "kernel", "guest", "host"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A reference that was found.

    ``text`` is the reference again, good in any working directory: a name, or with absolute
    paths. ``name`` is short, without spaces or slashes, for file names and reports. Paths in
    ``recipe`` are relative to ``beside``. ``origin`` says for people where it comes from.
    """

    text: str
    name: str
    recipe: Recipe
    beside: Path
    origin: str


def resolve(reference: str, recipes: Path, *, beside: Path | None = None) -> Chosen:
    """What ``reference`` stands for; relative paths are relative to ``beside`` (or to here).

    ``recipes`` has the shipped recipes. InputError (ProblemsError for what is wrong in a
    recipe) where there is no such thing. A build tree is looked into only when it is used.
    """
    here = (beside or Path.cwd()).absolute()
    text = reference.strip()
    if match := _WITH_MODULES.fullmatch(text):
        base = resolve(match["base"], recipes)
        files = [_absolute(one, here) for one in match["files"].split("+")[1:]]
        for file in files:
            if not file.is_file():
                raise InputError(f"{reference}: there is no module file {file}")
        recipe = ChangedKernelRecipe(kind="kernel", base=base.text, replace=tuple(map(str, files)))
        whole = "+".join([base.text, *map(str, files)])
        return Chosen(whole, f"{base.name}+{files[0].stem}", recipe, here, whole)
    if text.startswith(_PATH):
        return _path(reference, _absolute(text.removeprefix(_PATH), here))
    if "/" in text or text.startswith(("~", ".")):
        return _path(reference, _absolute(text, here))
    try:
        path = find_recipe(recipes, text)
    except InputError as error:
        raise _unknown(reference, text, here, recipes, error) from None
    return Chosen(text, text, load_recipe(path), recipes, f"recipe {text}")


def of_kind(chosen: Chosen, wanted: Wanted) -> Chosen:
    """``chosen``, read as what is wanted of it: InputError when it is something else.

    A directory is a QEMU's where a toolchain is wanted and a kernel's where a kernel is.
    """
    if chosen.text.startswith(_PATH):  # a directory, and no recipe file
        return replace(chosen, recipe=_own(chosen.beside, wanted))
    if chosen.recipe.kind != wanted:
        raise InputError(
            f"image recipe {chosen.text!r} is of kind {chosen.recipe.kind} (found), "
            f"kind {wanted} is wanted here"
        )
    return chosen


def _own(place: Path, wanted: Wanted | None) -> Recipe:
    """The recipe of a directory: what is wanted, or what it looks like."""
    if wanted == "kernel" or (wanted is None and (place / "arch/x86").is_dir()):
        return OwnKernelRecipe(kind="kernel", path=str(place))
    return OwnToolchainRecipe(kind="toolchain", path=str(place))


def _path(reference: str, place: Path) -> Chosen:
    if place.suffix in (".yaml", ".yml") and place.is_file():
        recipe = load_recipe(place)
        name = _fit(place.stem, place)
        return Chosen(str(place), name, recipe, place.parent, str(place))
    if place.is_dir():
        whole = f"{_PATH}{place}"
        name = _fit(f"{place.parent.name}-{place.name}", place)
        return Chosen(whole, name, _own(place, None), place, whole)
    if not place.exists():
        raise InputError(
            f"{reference}: there is no {place}",
            hint="wanted a recipe's name, a recipe file (.yaml), a build tree or a prefix",
        )
    raise InputError(
        f"{reference}: {place} is neither a recipe (.yaml) nor a directory",
        hint=f"did you mean the build tree or prefix that it is in? {place.parent}",
    )


def _unknown(reference: str, text: str, here: Path, recipes: Path, error: InputError) -> InputError:
    if (here / text).exists():
        return InputError(
            f"there is no image recipe {reference!r}",
            hint=f"did you mean what is here? path:{text}",
        )
    known = ", ".join(recipe_names(recipes)) or "none"
    return InputError(error.message, hint=f"recipes there: {known}; or give a path with a /")


def _absolute(text: str, here: Path) -> Path:
    return (here / Path(text).expanduser()).absolute()


def _fit(text: str, place: Path) -> str:
    """A name that is short and plain; where that loses something, the path's digest tells."""
    plain = _UNFIT.sub("-", text).strip("-.")
    if plain == text and len(plain) <= _LONGEST_NAME:
        return plain
    return f"{plain[:_PLAIN]}-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"
