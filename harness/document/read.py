"""A file on the disk to a ``Document``: size, kind and encoding are judged before YAML is.

Every way a file can be unfit (missing, a directory, unreadable, too large, binary, not
UTF-8, not YAML, empty, a list) is one ``Problem``.
"""

from __future__ import annotations

import os
import pathlib
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from harness.document.compose import Mark, Path, Place, compose, dotted
from harness.document.nearest import nearest
from harness.errors import Problem, ProblemsError

MAX_BYTES = 1 << 20

# What YAML forbids in a stream (YAML 1.1, production c-printable).
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and the place of each part.

    ``problems`` are those that did not stop the reading (a key given twice); ``validate``
    raises them with its own.
    """

    path: pathlib.Path
    data: dict[str, Any]
    places: Mapping[Path, Place]
    problems: tuple[Problem, ...] = ()

    def place(self, path: Path) -> Place:
        """The place of ``path``, or of the nearest part around it that is written down."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """Where the value at ``path`` begins, or its key. For a missing part: the part around it.

        A part that holds others is always marked at its key, which is where one looks for it.
        """
        place = self.place(path)
        if place.key is not None and (key or place.text is None or path not in self.places):
            return place.key
        return place.value

    def problem(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """A problem at the value (or the key) of ``path``.

        The index in ``path`` is left out where the file gives one value in place of a list.
        """
        if path not in self.places and isinstance(path[-1], int):
            path = path[:-1]
        mark = self.mark(path, key=key)
        return Problem(str(self.path), mark.line, mark.column, dotted(path), message, hint)


def read(path: pathlib.Path) -> Document:
    """The document in the file ``path``; ``ProblemsError`` when there is none to be had."""

    def refuse(message: str, hint: str = "") -> NoReturn:
        raise ProblemsError([Problem(str(path), 0, 0, "", message, hint)])

    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to would hang.
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                refuse("this is not a regular file; wanted a YAML file")
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        refuse("there is no such file", _siblings(path))
    except IsADirectoryError:
        refuse("this is a directory; wanted a YAML file")
    except NotADirectoryError:
        refuse("there is no such file: a part of its path is not a directory")
    except PermissionError:
        refuse("this file may not be read", "check its permissions")
    except (OSError, ValueError) as error:
        refuse(f"this file cannot be read: {getattr(error, 'strerror', None) or error}")
    if len(content) > MAX_BYTES:
        refuse(
            f"this file has {_megabytes(status.st_size)}; wanted at most 1 MiB",
            "is it the right file? a YAML file of this kind has a few kilobytes",
        )
    return parse(content, path)


def parse(content: bytes, path: pathlib.Path) -> Document:
    """The document in ``content``; ``path`` is the name that its problems carry."""

    def refuse(line: int, column: int, message: str, hint: str = "") -> NoReturn:
        raise ProblemsError([Problem(str(path), line, column, "", message, hint)])

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if b"\0" in content:
            refuse(0, 0, "this is a binary file; wanted YAML text in UTF-8")
        before = content[: error.start]
        refuse(
            before.count(b"\n") + 1,
            len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1,
            f"byte 0x{content[error.start]:02x} is not UTF-8; wanted YAML text in UTF-8",
        )
    if "\0" in text:
        refuse(0, 0, "this is a binary file; wanted YAML text in UTF-8")
    if bad := _NOT_TEXT.search(text):
        before_bad = text[: bad.start()]
        refuse(
            before_bad.count("\n") + 1,
            len(before_bad.rpartition("\n")[2]) + 1,
            f"the control character U+{ord(bad[0]):04X} is not allowed in YAML",
            'write it as an escape in double quotes, as in "\\x1b"',
        )
    data, places, problems = compose(text, str(path))
    return Document(path, data, places, problems)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _siblings(path: pathlib.Path) -> str:
    """The YAML file beside ``path`` that was probably meant."""
    try:
        names = sorted(p.name for p in path.parent.iterdir() if p.suffix in (".yaml", ".yml"))
    except OSError:
        return ""
    close = nearest(path.name, names)
    return f"did you mean '{path.parent / close}'?" if close else ""
