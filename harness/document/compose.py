"""YAML text to plain data, with the place of every key and value.

Works on the parser's events, so that a file is measured before it is expanded: aliases
count with all they stand for, and a file that would grow past the limits (a "YAML bomb")
is refused while it is still small.

Differences from ``yaml.safe_load``, all on purpose: keys are always text, as written
(``on:`` is the key "on", not true); a key given twice is a problem; dates stay text; tags
other than YAML's own plain types are problems.

Not here: files and encodings (``read``), meaning (``validate``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from harness.document.nearest import suggestion
from harness.errors import Problem, ProblemsError

MAX_NODES = 50_000
MAX_DEPTH = 40

Path: TypeAlias = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_SURROGATE = re.compile("[\ud800-\udfff]")
_TAB = re.compile(" *\t")
_RESOLVER: Any = Resolver()
_CONSTRUCTOR = SafeConstructor()
# libyaml reads the same language ten times faster; PyYAML may have been built without it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SYNTAX_HINTS = (
    ("mapping values are not allowed", "check the indentation, or put a value with ': ' in quotes"),
    ("did not find expected key", "check the indentation and the commas"),
    ("expected <block end>", "check the indentation and the commas"),
    ("did not find expected ',' or", "a bracket or a comma is missing"),
    ("expected ',' or", "a bracket or a comma is missing"),
    ("cannot start any token", "put the value in quotes"),
    ("unexpected end of stream", "a closing quote is missing"),
    ("did not find expected alphabetic or numeric", "put the value in quotes"),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value and its key stand, and how a scalar was written."""

    key: Mark | None
    value: Mark
    text: str | None = None
    plain: bool = False


def dotted(path: Path) -> str:
    """``guests.g1.nics.net1.address[0]``."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


@dataclass(slots=True)
class _Node:
    """A composed node. ``size`` and ``depth`` are those after the expansion of aliases."""

    mark: Mark
    size: int = 1
    depth: int = 1
    value: Any = None
    text: str | None = None
    plain: bool = False
    items: list[_Node] | None = None
    entries: dict[str, tuple[Mark, _Node]] | None = None
    merges: list[_Node] = field(default_factory=list)

    def adopt(self, child: _Node) -> None:
        self.size += child.size
        self.depth = max(self.depth, child.depth + 1)

    def merged(self) -> dict[str, tuple[Mark, _Node]]:
        """The entries, with those of ``<<`` first; the earlier of two merges wins."""
        result: dict[str, tuple[Mark, _Node]] = {}
        for other in reversed(self.merges):
            result.update(other.merged())
        result.update(self.entries or {})
        return result


def compose(
    text: str, file: str, *, loader: Any = None
) -> tuple[dict[str, Any], dict[Path, Place], tuple[Problem, ...]]:
    """Data, places and the problems that do not stop the reading; raises ``ProblemsError``."""
    reader = (loader or _LOADER)(text)
    composer = _Composer(reader, file)
    try:
        root = composer.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if error.context_mark and "end of stream" in str(error.problem):
            mark = error.context_mark  # where the open quote is, and not where the file ends
        what = " ".join(part for part in (error.context, error.problem) if part)
        hint = next((hint for sign, hint in _SYNTAX_HINTS if sign in what), "")
        if mark and any(_TAB.match(line) for line in text.split("\n")[mark.line : mark.line + 1]):
            hint = "YAML indents with spaces, never with tabs"
        composer.refuse(_mark(mark) if mark else Mark(1, 1), f"this is not YAML: {what}", hint)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # Both parsers have corners of their own, e.g. an escape past the end of Unicode.
        composer.refuse(Mark(1, 1), f"this is not YAML: {str(error).splitlines()[0]}")
    finally:
        reader.dispose()
    places: dict[Path, Place] = {}
    data = _expand(root, (), None, places)
    return data, places, tuple(composer.problems)


def _expand(node: _Node, path: Path, key: Mark | None, places: dict[Path, Place]) -> Any:
    places[path] = Place(key, node.mark, node.text, node.plain)
    if node.entries is not None:
        return {
            name: _expand(child, (*path, name), mark, places)
            for name, (mark, child) in node.merged().items()
        }
    if node.items is not None:
        return [_expand(c, (*path, i), None, places) for i, c in enumerate(node.items)]
    return node.value


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


class _Composer:
    """One pass over the events of one file."""

    def __init__(self, reader: Any, file: str) -> None:
        self._reader = reader
        self._file = file
        self._anchors: dict[str, _Node | None] = {}
        self._here = Mark(1, 1)  # of the last node; of an alias, and not of what it stands for
        self.problems: list[Problem] = []

    def refuse(self, mark: Mark, message: str, hint: str = "") -> NoReturn:
        """End the reading: what follows has no sure meaning."""
        problem = Problem(self._file, mark.line, mark.column, "", message, hint)
        raise ProblemsError([problem])

    def _note(self, mark: Mark, path: Path, message: str, hint: str = "") -> None:
        self.problems.append(
            Problem(self._file, mark.line, mark.column, dotted(path), message, hint)
        )

    def document(self) -> _Node:
        wanted = "wanted a mapping: `key: value` lines"
        self._reader.get_event()
        if self._reader.check_event(yaml.StreamEndEvent):
            self.refuse(Mark(1, 1), f"the file says nothing; {wanted}")
        self._reader.get_event()
        root = self._node((), 1)
        self._reader.get_event()
        if not self._reader.check_event(yaml.StreamEndEvent):
            mark = _mark(self._reader.peek_event().start_mark)
            self.refuse(mark, "a second document begins here ('---'); wanted one document a file")
        if root.entries is None:
            if root.items is None and root.value is None:
                self.refuse(Mark(1, 1), f"the file says nothing; {wanted}")
            found = "a list" if root.items is not None else "a single value"
            self.refuse(root.mark, f"found {found}, {wanted}")
        return root

    def _node(self, path: Path, level: int) -> _Node:
        event = self._reader.get_event()
        mark = _mark(event.start_mark)
        self._here = mark
        if level > MAX_DEPTH:
            self.refuse(mark, f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), mark)
        anchor: str | None = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None  # not yet complete: an alias to it would be a ring
        node = _Node(mark)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(node, event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event.tag, "seq", mark, path)
            node.items = []
            while not self._reader.check_event(yaml.SequenceEndEvent):
                child = self._node((*path, len(node.items)), level + 1)
                node.items.append(child)
                self._adopt(node, child, level)
            self._reader.get_event()
        else:
            self._check_tag(event.tag, "map", mark, path)
            self._mapping(node, path, level)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _adopt(self, node: _Node, child: _Node, level: int) -> None:
        node.adopt(child)
        if node.size > MAX_NODES:
            self.refuse(
                self._here,
                f"with its aliases written out this file has more than {MAX_NODES:,} values",
                "an alias that holds aliases multiplies; a file of this kind has a few hundred",
            )
        if level + node.depth > MAX_DEPTH:
            self.refuse(self._here, f"nested more than {MAX_DEPTH} levels deep")

    def _alias(self, name: str, mark: Mark) -> _Node:
        if name not in self._anchors:
            self.refuse(
                mark,
                f"the alias '*{name}' has no anchor '&{name}' before it",
                suggestion(name, self._anchors, none="no anchor is above it"),
            )
        node = self._anchors[name]
        if node is None:
            self.refuse(mark, f"the alias '*{name}' stands inside its own anchor '&{name}'")
        return node

    def _mapping(self, node: _Node, path: Path, level: int) -> None:
        entries: dict[str, tuple[Mark, _Node]] = {}
        merge_mark: Mark | None = None
        while not self._reader.check_event(yaml.MappingEndEvent):
            event = self._reader.peek_event()
            mark = _mark(event.start_mark)
            if not isinstance(event, yaml.ScalarEvent):
                self.refuse(mark, "a key is plain text", "put a text with special signs in quotes")
            is_merge = event.value == "<<" and event.implicit[0]
            key = self._node(path, level + 1).text or ""
            child = self._node((*path, key), level + 1)
            self._adopt(node, child, level)
            node.size += 1
            first = merge_mark if is_merge else entries[key][0] if key in entries else None
            if first is not None:
                hint = "write `<<: [*a, *b]` to merge two" if is_merge else "keep one of them"
                self._note(
                    mark, (*path, key), f"this key was already given in line {first.line}", hint
                )
            elif is_merge:
                merge_mark = mark
                self._merge(node, child, (*path, key))
            else:
                entries[key] = (mark, child)
        self._reader.get_event()
        node.entries = entries

    def _merge(self, node: _Node, child: _Node, path: Path) -> None:
        for other in child.items if child.items is not None else [child]:
            if other.entries is None:
                self._note(
                    other.mark, path, "'<<' merges mappings only", "write `<<: *name-of-a-mapping`"
                )
            else:
                node.merges.append(other)

    def _check_tag(self, tag: str | None, kind: str, mark: Mark, path: Path) -> None:
        if tag not in (None, "!", _TAG + kind):
            shown = tag.replace(_TAG, "!!")
            self._note(mark, path, f"the tag '{shown}' has no meaning here", "remove it")

    def _scalar(self, node: _Node, event: Any, path: Path) -> None:
        text: str = event.value
        node.text, node.plain = text, bool(event.implicit[0]) and event.tag is None
        if _SURROGATE.search(text):
            self.refuse(node.mark, "half of a surrogate pair is not a character")
        tag = event.tag
        if tag is None or tag == "!":
            implicit = (bool(event.implicit[0]), bool(event.implicit[1]))
            tag = _RESOLVER.resolve(yaml.ScalarNode, text, implicit)
        node.value = text
        make = _MAKERS.get(tag.removeprefix(_TAG))
        if make is not None:
            try:
                node.value = make(yaml.ScalarNode(tag, text))
            except (ValueError, KeyError, IndexError, OverflowError):
                shown = text if len(text) <= 40 else text[:40] + "..."
                kind = "number" if tag != _TAG + "bool" else "switch"
                self._note(node.mark, path, f"'{shown}' is not a {kind}", "put text in quotes")
        elif event.tag is not None:
            self._check_tag(event.tag, "str", node.mark, path)


_MAKERS: Mapping[str, Any] = {
    "null": lambda node: None,
    "bool": _CONSTRUCTOR.construct_yaml_bool,
    "int": _CONSTRUCTOR.construct_yaml_int,
    "float": _CONSTRUCTOR.construct_yaml_float,
}
