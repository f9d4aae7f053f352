"""Whether the recipes that are chosen exist, told before anything runs.

Of names only the ``kind`` of the recipe is looked up; whether that is right is for the store to
say. A reference that is no name (``path:DIR``, ``~/qemu``) is followed to what it leads to.

Neighbours: ``cells`` asks for a matrix, the command line and the plugins for their options.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.document import read, suggestion
from harness.errors import InputError, ProblemsError
from harness.images.reference import Wanted, of_kind, resolve
from harness.images.store import default_recipes
from harness.topology import Choices

Recipes = Mapping[str, str]
"""Name of each recipe -> its kind; empty where the file does not say."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_KINDS: Mapping[str, Wanted] = {
    "qemu": "toolchain",
    "guest-kernel": "kernel",
    "host-kernel": "kernel",
}


def known_recipes(directory: Path | None = None) -> Recipes:
    """The recipes of this checkout (or in ``directory``)."""
    found: dict[str, str] = {}
    for path in sorted((directory or default_recipes()).glob("*.yaml")):
        try:
            kind = read(path).data.get("kind")
        except ProblemsError:
            kind = None  # the store tells what is wrong with it, should it be used
        found[path.stem] = kind if isinstance(kind, str) else ""
    return found


def trouble(axis: str, reference: str, recipes: Recipes) -> tuple[str, str] | None:
    """What is wrong with ``reference`` as a value of ``axis``: message and hint; or None."""
    wanted = _KINDS.get(axis)
    if wanted is None:
        return None
    if not _NAME.fullmatch(reference):
        return _followed(reference, wanted)
    fitting = [name for name, kind in recipes.items() if kind in (wanted, "")]
    if reference in fitting:
        return None
    if reference in recipes:
        return (
            f"recipe '{reference}' is of kind {recipes[reference]}; wanted one of kind {wanted}",
            suggestion("", fitting, none="there is none"),
        )
    return (
        f"there is no image recipe '{reference}'",
        suggestion(reference, fitting, none=f"there is none of kind {wanted}"),
    )


def _followed(reference: str, wanted: Wanted) -> tuple[str, str] | None:
    try:
        of_kind(resolve(reference, default_recipes()), wanted)
    except InputError as error:
        return error.message, error.hint
    return None


def references(choices: Choices) -> Iterator[tuple[str, str, str]]:
    """Every reference in ``choices``: the option's text, its axis, the reference."""
    for axis, value in (
        ("qemu", choices.qemu),
        ("guest-kernel", choices.guest_kernel),
        ("host-kernel", choices.host_kernel),
    ):
        if value is not None:
            yield f"--{axis} {value}", axis, value
    for host, ref in choices.qemu_on.items():
        yield f"--qemu {host}={ref}", "qemu", ref


def must_be_recipes(choices: Choices, recipes: Recipes) -> None:
    """Raises InputError for the first choice that names no recipe of the right kind."""
    for option, axis, reference in references(choices):
        wrong = trouble(axis, reference, recipes)
        if wrong is not None:
            message, hint = wrong
            raise InputError(f"{option}: {message}", hint=hint)
