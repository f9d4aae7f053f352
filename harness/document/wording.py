"""pydantic's findings in plain words, each at its place in the file.

What a reader of the file needs is: where, what was found, what is wanted, and the nearest
name. Branches of a union that the value was not meant for are left out.

Not here: the decision what to do with a fault (``validate``).
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.document.compose import Path
from harness.document.nearest import nearest, one_of, suggestion
from harness.document.read import Document
from harness.errors import Problem

_WANTED = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "on or off",
    "dict": "a mapping: `key: value` lines",
    "mapping": "a mapping: `key: value` lines",
    "model": "a mapping: `key: value` lines",
    "dataclass": "a mapping: `key: value` lines",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen": "a list",
    "none": "nothing",
}
_LIMITS = {
    "greater_than_equal": ("ge", "at least {}"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "at most {}"),
    "less_than": ("lt", "less than {}"),
    "multiple_of": ("multiple_of", "a multiple of {}"),
}
_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a document.

    ``missing``: the last part of ``path`` is not there. ``meant``: the path of the key that
    an unknown key was probably meant to be.
    """

    path: Path
    problem: Problem
    missing: bool = False
    meant: Path | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A finding of pydantic with its path in the data, without the names of union branches."""

    path: Path
    labels: tuple[tuple[Path, str], ...]  # where the way took a branch of a union, and which
    details: ErrorDetails

    @property
    def type(self) -> str:
        return self.details["type"]


def faults(error: ValidationError, model: type[BaseModel], document: Document) -> list[Fault]:
    """Every finding of ``error`` as a fault, in the order of the model."""
    entries = [_entry(details, document) for details in error.errors(include_url=False)]
    return [_fault(entries, model, document) for entries in _without_noise(entries)]


def _entry(details: ErrorDetails, document: Document) -> _Entry:
    """Walk the finding's location along the data; what is not in the data names a branch."""
    loc = details["loc"]
    data: Any = document.data
    path: list[str | int] = []
    labels: list[tuple[Path, str]] = []
    for number, part in enumerate(loc):
        known_key = isinstance(data, dict) and isinstance(part, str) and part in data
        known_item = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if known_key or known_item:
            data = data[part]
            path.append(part)
        elif details["type"] == "missing" and number == len(loc) - 1:
            path.append(part)
        elif part != "[key]":
            labels.append((tuple(path), str(part)))
    return _Entry(tuple(path), tuple(labels), details)


def _without_noise(entries: list[_Entry]) -> Iterator[list[_Entry]]:
    """Groups of findings that make one fault: of a union's branches, only the likeliest."""
    unions: dict[Path, dict[str, list[_Entry]]] = {}
    for entry in entries:
        if entry.labels:
            at, label = entry.labels[0]
            unions.setdefault(at, {}).setdefault(label, []).append(entry)
    done: set[Path] = set()
    for entry in entries:
        if not entry.labels:
            yield [entry]
            continue
        at = entry.labels[0][0]
        if at in done:
            continue
        done.add(at)
        branches = list(unions[at].values())
        shallow = [e for branch in branches for e in branch if e.path == at]
        deep = [branch for branch in branches if all(e.path != at for e in branch)]
        if deep:
            # The value had the right kind for these branches: the one it fits best is meant.
            for e in min(deep, key=len):
                yield [e]
        else:
            yield shallow


def _fault(entries: list[_Entry], model: type[BaseModel], document: Document) -> Fault:
    if len(entries) > 1:
        return _fault_of_union(entries, document)
    entry = entries[0]
    path, kind, ctx = entry.path, entry.type, entry.details.get("ctx", {})
    loc = entry.details["loc"]
    if kind == "missing":
        fields = _model_at(model, loc[:-1])
        name = str(path[-1])
        hint = next((f.description or "" for n, f in _fields(fields) if n == name), "")
        problem = document.problem(path[:-1], f"the key '{name}' is missing", hint, key=True)
        return Fault(path, problem, missing=True)
    if kind == "extra_forbidden":
        names = [name for name, _ in _fields(_model_at(model, loc[:-1]))]
        hint = suggestion(str(path[-1]), names, none="no key is known here")
        close = nearest(str(path[-1]), names)
        meant = (
            (*path[:-1], close) if close and (*path[:-1], close) not in document.places else None
        )
        return Fault(path, document.problem(path, "unknown key", hint, key=True), meant=meant)
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return _fault_of_tag(path, ctx, document, _kind_at(model, loc))
    at_key = loc[-1:] == ("[key]",)
    found = f"'{path[-1]}'" if at_key else _found(document, path)
    message, hint = _words(entry, found)
    hint = hint or _quote_hint(document, path, kind)
    return Fault(path, document.problem(path, message, hint, key=at_key))


def _fault_of_union(entries: list[_Entry], document: Document) -> Fault:
    path = entries[0].path
    names = [n for e in entries for n in _expected(e)]
    wanted = [w for e in entries if not _expected(e) for w in [_wanted(e)] if w]
    if names:
        wanted.append(one_of(names))
    said = [e for e in entries if e.type in ("value_error", "assertion_error")]
    if said:
        message, hint = _words(said[0], _found(document, path))
    else:
        message = f"found {_found(document, path)}, wanted {' or '.join(dict.fromkeys(wanted))}"
        value = document.place(path).text or ""
        close = nearest(value, names)
        hint = f"did you mean '{close}'?" if close else ""
    return Fault(path, document.problem(path, message, hint))


def _fault_of_tag(path: Path, ctx: dict[str, Any], document: Document, kind: Any) -> Fault:
    key = str(ctx.get("discriminator", "")).strip("'")
    names = [tag for member in _members(kind) if _is_model(member) for tag in _tags(member, key)]
    if "tag" in ctx:
        tag = str(ctx["tag"])
        at = (*path, key) if (*path, key) in document.places else path
        close = nearest(tag, names)
        hint = f"did you mean '{close}'?" if close else ""
        return Fault(path, document.problem(at, f"found '{tag}', wanted {one_of(names)}", hint))
    hint = f"{key}: {one_of(names)}" if names else ""
    return Fault(path, document.problem(path, f"the key '{key}' is missing", hint, key=True))


def _words(entry: _Entry, found: str) -> tuple[str, str]:
    """Message and hint of a finding about one value."""
    if entry.type in ("value_error", "assertion_error"):
        text = str(entry.details.get("ctx", {}).get("error", entry.details["msg"]))
        return (text if found == "a mapping" else f"found {found}; {text}"), ""
    if names := _expected(entry):
        close = nearest(found.strip("'"), names)
        return f"found {found}, wanted {one_of(names)}", f"did you mean '{close}'?" if close else ""
    if wanted := _wanted(entry):
        return f"found {found}, wanted {wanted}", ""
    said = entry.details["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"found {found}; {said[:1].lower()}{said[1:]}", ""


def _expected(entry: _Entry) -> list[str]:
    if entry.type not in ("enum", "literal_error"):
        return []
    return re.findall(r"'([^']*)'", str(entry.details.get("ctx", {}).get("expected", "")))


def _wanted(entry: _Entry) -> str:
    ctx = entry.details.get("ctx", {})
    if entry.type in _LIMITS:
        key, words = _LIMITS[entry.type]
        return words.format(ctx[key])
    if entry.type in ("too_short", "string_too_short"):
        what = "character" if entry.type.startswith("string") else "entry"
        return _count("at least", ctx["min_length"], what)
    if entry.type in ("too_long", "string_too_long"):
        what = "character" if entry.type.startswith("string") else "entry"
        return _count("at most", ctx["max_length"], what)
    if entry.type == "string_pattern_mismatch":
        return f"text of the form {ctx['pattern']}"
    if entry.type.endswith(("_type", "_parsing", "_from_float", "_parsing_size", "_number")):
        return _WANTED.get(entry.type.partition("_")[0], "")
    return "nothing" if entry.type == "none_required" else ""


def _count(limit: str, number: int, what: str) -> str:
    plural = what.removesuffix("y") + "ies" if what.endswith("y") else what + "s"
    return f"{limit} {number} {what if number == 1 else plural}"


def _found(document: Document, path: Path) -> str:
    """The value as it was written; with what YAML makes of it where that differs."""
    value: Any = document.data
    for part in path:
        value = value[part]
    if isinstance(value, dict | list):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    if value is None:
        return "nothing"
    text = document.place(path).text or ""
    shown = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."
    shown = shown.encode("unicode_escape").decode("ascii") if not shown.isprintable() else shown
    if isinstance(value, bool):
        return shown if text in ("true", "false") else f"{shown} (in YAML: {str(value).lower()})"
    if isinstance(value, int | float):
        return shown if text == str(value) else f"{shown} (in YAML: the number {str(value)[:40]})"
    return f"'{shown}'"


def _quote_hint(document: Document, path: Path, kind: str) -> str:
    """Text that YAML took for something else needs quotes."""
    place = document.place(path)
    value: Any = document.data
    for part in path:
        value = value[part]
    if not place.plain or place.text is None or isinstance(value, str) or value is None:
        return ""
    sexagesimal = ":" in place.text
    return f'put it in quotes: "{place.text}"' if sexagesimal or kind == "string_type" else ""


def _fields(model: type[BaseModel] | None) -> Iterator[tuple[str, Any]]:
    if model is not None:
        for name, info in model.model_fields.items():
            yield info.alias or name, info


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that validates what stands at ``loc``, a location in pydantic's terms."""
    return next((m for m in _members(_kind_at(model, loc)) if _is_model(m)), None)


def _kind_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> Any:
    kind: Any = model
    for part in loc:
        kind = _step(kind, part)
    return kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _members(kind: Any) -> Iterator[Any]:
    """The alternatives of an annotation: itself, or the branches of a union."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        for branch in get_args(kind):
            yield from _members(branch)
    else:
        yield kind


def _step(kind: Any, part: int | str) -> Any:
    """The annotation one part of a location further on."""
    for member in _members(kind):
        if _is_model(member):
            for name, info in _fields(member):
                if part == name:
                    return info.annotation
        elif get_origin(member) is dict:
            return get_args(member)[1]
        elif get_origin(member) in (list, tuple) and isinstance(part, int):
            return get_args(member)[0]
    # The name of a union's branch: a class, or a tag that one of its models carries.
    named = [m for m in _members(kind) if _is_model(m) and part in (m.__name__, *_tags(m))]
    return named[0] if named else kind


def _tags(model: type[BaseModel], key: str | None = None) -> Iterator[str]:
    """The texts that a literal key of ``model`` may have; of ``key`` only, if given."""
    for name, info in _fields(model):
        if key in (None, name):
            yield from (a for a in get_args(info.annotation) if isinstance(a, str))
