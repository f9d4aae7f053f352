"""``like: OTHER``: a host or guest takes every key that it does not give from another one.

Works on the document, before it is validated: a key is taken over whole (a ``nics`` of its
own replaces all NICs), from the other part as that part is after its own ``like``. What was
taken over keeps the place where it is written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from harness.document import MAX_NODES, Document, Path, Place, suggestion
from harness.errors import Problem, ProblemsError

_SECTIONS = ("hosts", "guests")
_LONGEST_CHAIN = 20


@dataclass(frozen=True, slots=True)
class Resolved:
    """The document with every ``like`` carried out.

    ``inherited`` maps each key that was taken over (section, part, key) to its origin;
    ``parts`` are the hosts and guests that have a ``like``; ``broken`` those whose ``like``
    leads nowhere.
    """

    document: Document
    inherited: dict[Path, Path]
    parts: frozenset[Path]
    broken: frozenset[Path]
    problems: tuple[Problem, ...]


def resolve(document: Document) -> Resolved:
    """Carry out every ``like`` of ``document``."""
    return _Resolver(document).run()


class _Resolver:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._data: dict[str, Any] = dict(document.data)
        self._places: dict[Path, Place] = dict(document.places)
        self._inherited: dict[Path, Path] = {}
        self._parts: set[Path] = set()
        self._broken: set[Path] = set()
        self._problems: list[Problem] = []
        self._done: dict[Path, dict[str, Any] | None] = {}

    def run(self) -> Resolved:
        for section in _SECTIONS:
            parts = self._document.data.get(section)
            if isinstance(parts, dict):
                self._data[section] = {
                    name: self._part(section, name, ()) if isinstance(part, dict) else part
                    for name, part in parts.items()
                }
        return Resolved(
            replace(self._document, data=self._data, places=self._places),
            self._inherited,
            frozenset(self._parts),
            frozenset(self._broken),
            tuple(self._problems),
        )

    def _part(self, section: str, name: str, way: tuple[str, ...]) -> dict[str, Any]:
        """The part as it is after its ``like``; ``way`` holds the parts that led here."""
        path: Path = (section, name)
        own: dict[str, Any] = self._document.data[section][name]
        if (ready := self._done.get(path)) is not None:
            return ready
        result = dict(own)
        other = own.get("like")
        if "like" in own and isinstance(other, str):
            self._parts.add(path)
            if self._leads_on(path, other, (*way, name)):
                base = self._part(section, other, (*way, name))
                if (section, other) in self._broken:
                    self._broken.add(path)
                for key, value in base.items():
                    if key not in own and key != "like":
                        result[key] = value
                        origin: Path = (section, other, key)
                        self._inherited[*path, key] = self._inherited.get(origin, origin)
                        self._inherit(value, origin, (*path, key))
            else:
                self._broken.add(path)
        elif own.get("like") is not None:
            self._broken.add(path)  # not even a name: the shape check says so
        self._done[path] = result
        return result

    def _leads_on(self, path: Path, other: str, way: tuple[str, ...]) -> bool:
        section = str(path[0])
        parts = self._document.data[section]
        noun = section.removesuffix("s")
        if other in way:
            # A ring is met from each part on it, and reported where it is closed first.
            ring = way[way.index(other) :]
            if path not in self._broken and not any((section, n) in self._broken for n in ring):
                self._note(path, f"goes round in a ring: {' -> '.join((*ring, other))}")
            self._broken.update((section, n) for n in ring)
            return False
        if len(way) > _LONGEST_CHAIN:
            self._note(path, f"more than {_LONGEST_CHAIN} of 'like' in a row", "name the last one")
            return False
        if other not in parts:
            others = [n for n in parts if n != path[1]]
            self._note(path, f"there is no {noun} '{other}'", suggestion(other, others))
            return False
        return isinstance(parts[other], dict)

    def _note(self, path: Path, message: str, hint: str = "") -> None:
        self._problems.append(self._document.problem((*path, "like"), message, hint))

    def _inherit(self, value: Any, source: Path, target: Path) -> None:
        self._places[target] = self._places[source]
        if len(self._places) > MAX_NODES:
            refused = self._document.problem(
                target[:2], f"with every 'like' carried out there are over {MAX_NODES:,} values"
            )
            raise ProblemsError([refused])
        parts: Iterable[tuple[str | int, Any]] = ()
        if isinstance(value, dict):
            parts = value.items()
        elif isinstance(value, list):
            parts = enumerate(value)
        for key, part in parts:
            self._inherit(part, (*source, key), (*target, key))
