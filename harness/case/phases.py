"""The phases of a migration: one glossary for YAML, JSON and text.

A migration has up to six phases, one after the other. Where each begins and ends is told by
events of the run (``harness.verdict.phases``); the words here say which.

Neighbours: ``expect`` bounds streams by phase; ``harness.verdict`` and ``harness.report``
use the same names.
"""

from __future__ import annotations

from typing import Literal, get_args

PhaseName = Literal["before", "unplug", "precopy", "stop-and-copy", "return", "after"]

PHASES: tuple[PhaseName, ...] = get_args(PhaseName)
"""In the order in which they come."""

GLOSSARY: dict[PhaseName, str] = {
    "before": "until the source's UNPLUG_PRIMARY",
    "unplug": "from UNPLUG_PRIMARY until the source's `active`",
    "precopy": "from the source's `active` until its STOP",
    "stop-and-copy": "from STOP until the destination's RESUME",
    "return": "from RESUME until the primary is operationally up in the guest",
    "after": "from the primary's return on",
}
