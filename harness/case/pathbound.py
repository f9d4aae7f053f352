"""Which path a stream's packets are to take, as a case file says it: ``standby``, or a share.

Neighbours: ``expect`` takes it into the vocabulary; ``harness.verdict.paths`` judges it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, WithJsonSchema

from harness.case.values import Bound

_PATH = re.compile(r"(primary|standby)(?:\s*(>=|>)\s*(\d+(?:\.\d+)?)\s*%)?")


@dataclass(frozen=True, slots=True)
class PathShare:
    """All packets received, or a share of them, took ``path``. ``share`` is a bound on a ratio."""

    path: Literal["primary", "standby"]
    share: Bound

    def __str__(self) -> str:
        if self.share == _ALL:
            return self.path
        return f"{self.path} {self.share}"


_ALL = Bound(">=", 1.0, True)


def parse_path(value: object) -> PathShare:
    """A ``PathShare`` from ``standby`` or ``standby >= 99%``."""
    if isinstance(value, PathShare):
        return value
    if isinstance(value, str) and (match := _PATH.fullmatch(value.strip())):
        name, op, number = match.groups()
        share = _ALL
        if op is not None:
            share = Bound(">" if op == ">" else ">=", float(number) / 100, True)
        if share.value > 1 or (share.op == ">" and share.value == 1):
            raise ValueError("the share of packets that took a path is at most 100%")
        return PathShare(name, share)  # type: ignore[arg-type]  # one of the two
    raise ValueError(
        'a path is `primary` or `standby`, or a share of what was received: "standby >= 99%"'
    )


PathText = Annotated[
    PathShare,
    BeforeValidator(parse_path),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\s*(primary|standby)(\s*(>=|>)\s*\d+(\.\d+)?\s*%)?\s*$",
            "examples": ["standby", "standby >= 99%"],
        }
    ),
]
