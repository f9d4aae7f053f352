"""Parameters: ``${name}`` in traffic, steps, expect and gate becomes a value, the places stay.

A value that is nothing but ``${name}`` takes the parameter's type; inside a longer text
the parameter is written out. ``$${`` stands for ``${``, for shell commands. A parameter
has one value, or one per topology of the case; ``--set`` overrides both.

Neighbours: ``load`` puts parameters in before a case is validated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from harness.case.model import Scalar
from harness.document import Document, Path, one_of, suggestion
from harness.errors import InputError, Problem

PARTS = ("traffic", "steps", "expect", "gate")
"""The parts of a case in which parameters stand."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_USE = re.compile(r"\$(\$\{)|\$\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Filled:
    """A document with its parameters put in, their values, and what was wrong with them."""

    document: Document
    values: Mapping[str, Scalar]
    problems: tuple[Problem, ...]
    unfilled: frozenset[Path]
    """Paths whose value still holds an unknown parameter."""


def parse_settings(settings: Iterable[str]) -> dict[str, Scalar]:
    """Values from ``--set name=value`` texts, typed as YAML would type them.

    Raises InputError for a text without ``=`` and for a value that is a list or mapping.
    """
    values: dict[str, Scalar] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--set {setting}: wanted NAME=VALUE")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        if isinstance(value, list | dict) or value is None:
            raise InputError(
                f"--set {setting}: a parameter is one text or number", hint="put it in quotes"
            )
        values[name.strip()] = value if isinstance(value, bool | int | float) else text.strip()
    return values


def fill(
    document: Document, variant: str, variants: tuple[str, ...], given: Mapping[str, Scalar]
) -> Filled:
    """Put the parameters of one variant into a copy of the document.

    ``given`` are the values from the command line; a name the case does not know is a
    problem of the case file's ``parameters``.
    """
    declared = document.data.get("parameters") or {}
    if not isinstance(declared, dict):
        declared = {}
    problems: list[Problem] = []
    values: dict[str, Scalar] = {}
    for name, value in declared.items():
        path: Path = ("parameters", name)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            problems.append(
                document.problem(
                    path,
                    f"'{name}' is no name of a parameter",
                    "a lower-case letter, then lower-case letters, digits or '_'",
                    key=True,
                )
            )
            continue
        if isinstance(value, dict):
            problems += _per_topology(document, path, value, variants)
            value = value.get(variant)
        if isinstance(value, str | int | float | bool):
            values[name] = value
    for name, value in given.items():
        if name not in declared:
            problems.append(
                document.problem(
                    ("parameters",),
                    f"--set {name}: the case has no such parameter",
                    suggestion(name, [str(key) for key in declared], none="it has no parameters"),
                )
            )
        values[name] = value
    filler = _Filler(document, values, frozenset(map(str, declared)))
    data = dict(document.data)
    for part in PARTS:
        if part in data:
            data[part] = filler.put(data[part], (part,))
    problems += filler.problems
    for name in declared:
        if name not in filler.used:
            problems.append(
                document.problem(
                    ("parameters", name),
                    f"parameter '{name}' is used nowhere",
                    "remove it, or write ${" + str(name) + "} where it belongs",
                    key=True,
                )
            )
    return Filled(replace(document, data=data), values, tuple(problems), frozenset(filler.unfilled))


def _per_topology(
    document: Document, path: Path, value: Mapping[Any, Any], variants: tuple[str, ...]
) -> list[Problem]:
    """A value per topology names each topology of the case once, and nothing else."""
    if "topologies" not in document.data:
        return [
            document.problem(
                path, "a value per topology needs `topologies`", "or give one plain value", key=True
            )
        ]
    found = [
        document.problem(
            (*path, name),
            f"'{name}' is not a topology of this case",
            suggestion(str(name), variants),
            key=True,
        )
        for name in value
        if name not in variants
    ]
    if missing := [name for name in variants if name not in value]:
        found.append(document.problem(path, f"has no value for {one_of(missing)}", key=True))
    return found


class _Filler:
    """Walks plain data and puts parameters in; collects what was used and what was wrong."""

    def __init__(
        self, document: Document, values: Mapping[str, Scalar], declared: frozenset[str]
    ) -> None:
        self._document = document
        self._values = values
        self._declared = declared
        self.used: set[str] = set()
        self.unfilled: set[Path] = set()
        self.problems: list[Problem] = []

    def put(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            for key in value:
                if isinstance(key, str) and "${" in key:
                    self.problems.append(
                        self._document.problem(
                            (*path, key),
                            f"'{key}': parameters stand in values, not in keys",
                            key=True,
                        )
                    )
            return {key: self.put(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.put(item, (*path, number)) for number, item in enumerate(value)]
        return self._text(value, path) if isinstance(value, str) else value

    def _text(self, text: str, path: Path) -> Scalar:
        whole = _USE.fullmatch(text)
        if whole and whole[2] is not None and self._value(whole[2], path) is not None:
            return self._values[whole[2]]

        def put(match: re.Match[str]) -> str:
            if match[1]:
                return "${"
            value = self._value(match[2], path)
            return match[0] if value is None else str(value)

        return _USE.sub(put, text)

    def _value(self, name: str, path: Path) -> Scalar | None:
        self.used.add(name)
        if name in self._values:
            return self._values[name]
        self.unfilled.add(path)
        if name not in self._declared:  # a declared one without a value is reported there
            problem = self._document.problem(
                path,
                f"there is no parameter '{name}'",
                suggestion(
                    name,
                    sorted(self._declared),
                    none="this case has no parameters; `$${` stands for `${`",
                ),
            )
            if problem not in self.problems:
                self.problems.append(problem)
        return None
