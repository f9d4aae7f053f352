"""labprobe's numbered lines, put in order whichever socket they came from.

The guest numbers its lines from 0 and keeps the last 2,048. When a number is missing (a
migration swallowed it, or cut it in two), everything from it on is asked for once more with
``again N``; what is not kept any more is given up, and said.

Neighbours: ``guestlink`` feeds it and acts on the lines.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_ASK_EVERY_S = 1.0
_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its number, its kind, the tag of the command it answers, when it was read."""

    number: int
    kind: str
    tag: int | None
    data: Mapping[str, Any]
    received_ns: int


def parse_line(raw: bytes, received_ns: int) -> Line | None:
    """A line as sent by labprobe; None for what a migration cut in two (it is missed later)."""
    try:
        data = json.loads(raw)
        number, kind = int(data["n"]), str(data["kind"])
        tag = int(data["re"]) if "re" in data else None
    except (ValueError, KeyError, TypeError):
        return None
    return Line(number, kind, tag, data, received_ns)


class LineOrder:
    """Holds lines back until those before them have come."""

    def __init__(self) -> None:
        self._next = 0
        self._held: dict[int, Line] = {}
        self._instance: int | None = None
        self._asked_at = 0.0
        self._asked_tag: int | None = None

    @property
    def last(self) -> int:
        """The number of the last line that was taken; -1 before the first."""
        return self._next - 1

    @property
    def gap(self) -> bool:
        """Whether a line is missing before one that has come."""
        return bool(self._held)

    def ask_again(self) -> None:
        """Let the next ``request`` not wait: the socket is another one."""
        self._asked_at = 0.0

    def request(self, tag: int) -> str:
        """The command that asks for what is missing; empty when it was asked for just now."""
        if time.monotonic() - self._asked_at < _ASK_EVERY_S:
            return ""
        self._asked_at = time.monotonic()
        self._asked_tag = tag
        return f"@{tag} again {self._next}\n"

    def add(self, line: Line) -> list[str]:
        """Take in a line; what there is to note about it, in words."""
        notes: list[str] = []
        if line.kind == "hello":
            instance = int(line.data.get("instance", 0))
            if self._instance not in (None, instance):
                notes.append("labprobe started anew; the records of its streams are gone")
                self._held.clear()
                self._next = 0
            self._instance = instance
        if line.number >= self._next:
            self._held[line.number] = line
        refused = line.kind == "error" and line.tag is not None and line.tag == self._asked_tag
        if refused or len(self._held) > _KEPT:
            first = min(self._held, default=self._next)
            if first > self._next:
                notes.append(f"lines {self._next} to {first - 1} of labprobe are lost")
                self._next = first
            self._asked_tag = None
        return notes

    def ready(self) -> Iterator[Line]:
        """The lines whose turn it is, each once."""
        while (line := self._held.pop(self._next, None)) is not None:
            self._next += 1
            yield line
