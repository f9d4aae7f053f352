"""What QEMU says of a migration (``query-migrate``), typed.

Source of the fields and units: qapi/migration.json, MigrationInfo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Capability = Mapping[str, bool]
"""Migration capability -> wanted, e.g. ``{"multifd": True}``."""

ParameterValue = int | str | bool

ALWAYS: Capability = {"events": True}
"""Set for every migration: without it QEMU sends no MIGRATION event, and the timeline is
empty."""

ENDED = ("completed", "failed", "cancelled")

GOES_ON = {
    "continue": ("migrate-continue", {"state": "pre-switchover"}),
    "start-postcopy": ("migrate-start-postcopy", None),
    "pause": ("migrate-pause", None),
    "cancel": ("migrate_cancel", None),
}
"""What a source can be told while it migrates -> the command and its arguments."""


@dataclass(frozen=True, slots=True)
class MigrationInfo:
    """A migration as QEMU sees it. What QEMU does not say is None.

    ``status`` is QEMU's word (``none`` before there was a migration); times in ms;
    ``ram_transferred`` in octets; ``passes`` over the guest's memory; ``error`` is QEMU's
    description of a failure.
    """

    status: str
    downtime_ms: int | None = None
    total_time_ms: int | None = None
    setup_time_ms: int | None = None
    ram_transferred: int | None = None
    error: str = ""
    passes: int | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


def migration_info(answer: Mapping[str, Any]) -> MigrationInfo:
    """From the answer to ``query-migrate``."""
    ram = answer.get("ram") or {}
    return MigrationInfo(
        status=str(answer.get("status", "none")),
        downtime_ms=answer.get("downtime"),
        total_time_ms=answer.get("total-time"),
        setup_time_ms=answer.get("setup-time"),
        ram_transferred=ram.get("transferred"),
        passes=ram.get("dirty-sync-count"),
        error=str(answer.get("error-desc", "")),
    )
