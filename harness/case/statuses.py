"""The words of QEMU for what a migration is doing, as a case names them.

Neighbours: ``events`` and ``migrating`` use them; which of them a QEMU has, and in which
order they may come, is ``harness.versions``.
"""

from __future__ import annotations

from typing import Literal, get_args

Status = Literal[
    "setup",
    "wait-unplug",
    "active",
    "pre-switchover",
    "device",
    "postcopy-active",
    "postcopy-device",
    "postcopy-paused",
    "postcopy-recover",
    "postcopy-recover-setup",
    "completed",
    "failing",
    "failed",
    "cancelling",
    "cancelled",
]
"""QAPI MigrationStatus without `none` and `colo` (postcopy-device: 10.2, failing: 11.0)."""

MIGRATION_STATUSES: tuple[Status, ...] = get_args(Status)

End = Literal["completed", "failed", "cancelled"]
ENDS: tuple[End, ...] = get_args(End)
"""With which a migration ends."""
