"""Which sequences of migration states a QEMU may go through.

An automaton over the status words of MIGRATION events: for every status those that may come
next. It starts from that of the oldest version and is changed, step by step, by what later
versions brought; what was right for 9.2 is a defect in 10.0. A change that brought a new
status word is recognised by that word in the QEMU's own schema, whatever its version says (a
distribution may have taken it over, a developer may have removed it); the others by the
version. Each has its evidence, of which the project's list of known behaviours (A1, ...) is
the long form.

Neighbours: ``words`` has the words of a schema; ``harness.verdict.grammar`` judges.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

Version = tuple[int, int]
Automaton = Mapping[str, frozenset[str]]

TERMINAL = frozenset({"completed", "failed", "cancelled"})
OLDEST: Version = (7, 2)
NEWEST: Version = (11, 1)
"""The versions that the table was checked against."""


def _rows(**following: str) -> Automaton:
    """``wait_unplug="active cancelling"``: after wait-unplug comes active or cancelling.

    ``_`` stands for the beginning.
    """
    return {
        status.strip("_").replace("_", "-"): frozenset(words.split())
        for status, words in following.items()
    }


@dataclass(frozen=True, slots=True)
class Change:
    """What a version brought. ``source`` and ``destination`` are rows in the place of those
    before it; ``word`` the status by which a schema tells it, empty where none does."""

    since: Version
    evidence: str
    word: str = ""
    source: Automaton = field(default_factory=dict)
    destination: Automaton = field(default_factory=dict)
    before_failed: str = ""
    """A status that may come wherever `failed` may, and then leads to it."""

    def applies(self, version: Version, statuses: Collection[str]) -> bool:
        """Whether a QEMU has it, by what it says of itself (``statuses``), else by its version."""
        if self.word and statuses:
            return self.word in statuses
        return self.since <= version


CHANGES = (
    Change(
        OLDEST,
        "migration/migration.c of 7.2: precopy goes from active to completed, and through "
        "pre-switchover and device only with the capability pause-before-switchover. wait-unplug "
        "is skipped where the guest has ejected already; a set-up error is handled after the "
        "unplug wait only, so wait-unplug, active, failed is legal (A5); a cancel goes through "
        "cancelling, in wait-unplug too (A6)",
        source=_rows(
            _="setup",
            setup="wait-unplug active cancelling failed",
            wait_unplug="active cancelling failed",
            active="pre-switchover completed postcopy-active cancelling failed",
            pre_switchover="device cancelling failed",
            device="completed postcopy-active cancelling failed",
            postcopy_active="completed postcopy-paused failed",
            postcopy_paused="postcopy-recover failed",
            postcopy_recover="postcopy-active postcopy-paused failed",
            cancelling="cancelled",
        ),
        destination=_rows(
            _="setup",
            setup="active failed",
            active="completed postcopy-active failed",
            postcopy_active="completed postcopy-paused failed",
            postcopy_paused="postcopy-recover failed",
            postcopy_recover="postcopy-active postcopy-paused failed",
        ),
    ),
    Change(
        (9, 1),
        "qapi/migration.json: `postcopy-recover-setup: setup phase for a postcopy recovery "
        "process (since 9.1)`. Seen in a run of 10.0.13: the source goes through it, the "
        "destination from postcopy-paused to postcopy-recover",
        word="postcopy-recover-setup",
        source=_rows(
            postcopy_paused="postcopy-recover postcopy-recover-setup failed",
            postcopy_recover_setup="postcopy-recover postcopy-paused failed",
        ),
        destination=_rows(
            postcopy_paused="postcopy-recover postcopy-recover-setup failed",
            postcopy_recover_setup="postcopy-recover postcopy-paused failed",
        ),
    ),
    Change(
        (10, 0),
        "QEMU commit 48814111366b (A1): precopy always goes through device. No schema tells: "
        "device has been a status since 2.11. Seen in runs of 10.0.13: wait-unplug, active, "
        "device, completed, without pre-switchover; by postcopy active, device, postcopy-active; "
        "cancelled in wait-unplug, in active and at pre-switchover",
        source=_rows(active="pre-switchover device cancelling failed"),
    ),
    Change(
        (10, 2),
        "qapi/migration.json (A3): `postcopy-device: like postcopy-active, but the destination "
        "is still loading device state and is not running yet (since 10.2)`",
        word="postcopy-device",
        source=_rows(
            device="completed postcopy-active postcopy-device cancelling failed",
            postcopy_device="postcopy-active failed",
        ),
        destination=_rows(
            active="completed postcopy-active postcopy-device failed",
            postcopy_device="postcopy-active failed",
        ),
    ),
    Change(
        (11, 0),
        "the patch `migration: introduce MIGRATION_STATUS_FAILING` (A4): `failing: error occurred "
        "during migration, clean-up underway`, before failed. In the schema of 11.1, not of 10.0",
        word="failing",
        before_failed="failing",
    ),
)


@dataclass(frozen=True, slots=True)
class Grammar:
    """The automata of one QEMU, and the changes that they come from."""

    source: Automaton
    destination: Automaton
    changes: tuple[Change, ...]

    @property
    def vocabulary(self) -> frozenset[str]:
        """Every status that it tells something of."""
        rows = (*self.source.values(), *self.destination.values())
        return frozenset().union(*rows)


def grammar_of(version: Version, statuses: Collection[str] = ()) -> Grammar:
    """The grammar of a QEMU of that version, which says that it knows these statuses.

    Without ``statuses`` (an older record) the version alone decides. A version before
    ``OLDEST`` gets the grammar of that, one after ``NEWEST`` the newest.
    """
    changes = tuple(
        change for change in CHANGES if change.since == OLDEST or change.applies(version, statuses)
    )
    source: dict[str, frozenset[str]] = {}
    destination: dict[str, frozenset[str]] = {}
    for change in changes:
        source |= change.source
        destination |= change.destination
    for change in changes:
        if change.before_failed:
            source, destination = (
                _with_step(rows, change.before_failed) for rows in (source, destination)
            )
    return Grammar(source, destination, changes)


def _with_step(rows: Automaton, word: str) -> dict[str, frozenset[str]]:
    wider = {
        status: words | {word} if "failed" in words else words for status, words in rows.items()
    }
    return {**wider, word: frozenset({"failed"})}


def parse_version(text: str) -> Version | None:
    """(major, minor) of a QEMU version (``10.0.13 (Debian 1:10.0.13...)``), or None."""
    match = re.match(r"\s*(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None
