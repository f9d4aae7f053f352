"""Which sequences of migration states each QEMU version may go through.

One table per change of the grammar, not one fixed list for all versions: what was right
for 9.2 is a defect in 10.0. A grammar is an automaton over the status words of MIGRATION
events: for every status those that may come next. Evidence (A1 ... are entries of the
project's list of known behaviours):

* before 10.0: precopy goes active -> completed; `pre-switchover` and `device` only with
  the capability pause-before-switchover;
* from 10.0 (QEMU commit 48814111366b, A1): precopy always goes through `device`; seen in a
  run of 10.0.13: wait-unplug, active, device, completed, without `pre-switchover`;
* from 10.2 (A3): `postcopy-device`;
* from 11.0 (A4): `failing` may precede `failed`;
* `wait-unplug` is skipped if the guest has already ejected; a set-up error is handled only
  after the unplug wait, so wait-unplug, active, failed is legal (A5);
* a cancel goes through `cancelling`, in wait-unplug too (A6).

Neighbours: ``migrations`` feeds it the states of a run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.verdict.model import Judged, Outcome

Version = tuple[int, int]
Automaton = Mapping[str, frozenset[str]]

TERMINAL = frozenset({"completed", "failed", "cancelled"})
OLDEST: Version = (7, 2)
NEWEST: Version = (11, 1)
"""The versions that the table was checked against; outside of them nothing is failed."""


def _automaton(**following: str) -> Automaton:
    """``wait_unplug="active cancelling"``: after wait-unplug comes active or cancelling.

    ``_`` stands for the beginning.
    """
    return {
        status.strip("_").replace("_", "-"): frozenset(words.split())
        for status, words in following.items()
    }


_SOURCE_7_2 = _automaton(
    _="setup",
    setup="wait-unplug active cancelling failed",
    wait_unplug="active cancelling failed",
    active="pre-switchover completed postcopy-active cancelling failed",
    pre_switchover="device cancelling failed",
    device="completed postcopy-active cancelling failed",
    postcopy_active="completed postcopy-paused failed",
    postcopy_paused="postcopy-recover postcopy-recover-setup failed",
    postcopy_recover_setup="postcopy-recover postcopy-paused failed",
    postcopy_recover="postcopy-active postcopy-paused failed",
    cancelling="cancelled",
)
_DESTINATION_7_2 = _automaton(
    _="setup",
    setup="active failed",
    active="completed postcopy-active failed",
    postcopy_active="completed postcopy-paused failed",
    postcopy_paused="postcopy-recover postcopy-recover-setup failed",
    postcopy_recover_setup="postcopy-recover postcopy-paused failed",
    postcopy_recover="postcopy-active postcopy-paused failed",
)


def _with(base: Automaton, **changed: str) -> Automaton:
    return {**base, **_automaton(**changed)}


def _with_failing(base: Automaton) -> Automaton:
    """`failing` allowed wherever `failed` is, and then `failed`."""
    wider = {
        status: words | {"failing"} if "failed" in words else words
        for status, words in base.items()
    }
    return {**wider, "failing": frozenset({"failed"})}


_SOURCE_10_0 = _with(_SOURCE_7_2, active="pre-switchover device cancelling failed")
_SOURCE_10_2 = _with(
    _SOURCE_10_0,
    device="completed postcopy-active postcopy-device cancelling failed",
    postcopy_device="postcopy-active failed",
)
_DESTINATION_10_2 = _with(
    _DESTINATION_7_2,
    active="completed postcopy-active postcopy-device failed",
    postcopy_device="postcopy-active failed",
)


@dataclass(frozen=True, slots=True)
class Grammar:
    """The migration states from QEMU version ``since`` on."""

    since: Version
    source: Automaton
    destination: Automaton


GRAMMARS = (
    Grammar((7, 2), _SOURCE_7_2, _DESTINATION_7_2),
    Grammar((10, 0), _SOURCE_10_0, _DESTINATION_7_2),
    Grammar((10, 2), _SOURCE_10_2, _DESTINATION_10_2),
    Grammar((11, 0), _with_failing(_SOURCE_10_2), _with_failing(_DESTINATION_10_2)),
)


def parse_version(text: str) -> Version | None:
    """(major, minor) of a QEMU version (``10.0.13 (Debian 1:10.0.13...)``), or None."""
    match = re.match(r"\s*(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def judge_states(
    role: Literal["source", "destination"], states: Sequence[str], version: str
) -> Judged:
    """Whether a sequence of status words follows the grammar of that QEMU version."""
    told = ", ".join(states) or "none"
    parsed = parse_version(version)
    if parsed is None:
        return Judged(
            Outcome.CANNOT_TELL, f"states {told}; the version of its QEMU was not recorded"
        )
    name = f"{parsed[0]}.{parsed[1]}"
    if parsed < OLDEST:
        return Judged(
            Outcome.CANNOT_TELL,
            f"states {told}; QEMU {name} is older than {OLDEST[0]}.{OLDEST[1]}, "
            "the oldest whose grammar is known",
        )
    if not states:
        return Judged(Outcome.CANNOT_TELL, "no MIGRATION event was recorded")
    grammar = [one for one in GRAMMARS if one.since <= parsed][-1]
    automaton = grammar.source if role == "source" else grammar.destination
    before = ""
    for state in states:
        allowed = automaton.get(before, frozenset())
        if state not in allowed:
            after = f"after {before}" if before else "first"
            wanted = " or ".join(sorted(allowed)) or "nothing"
            if parsed > NEWEST:
                return Judged(
                    Outcome.CANNOT_TELL,
                    f"states {told}: {after} came {state}; QEMU {name} is newer than "
                    f"{NEWEST[0]}.{NEWEST[1]}, the newest whose grammar is known",
                )
            return Judged(
                Outcome.FAILED,
                f"states {told}: {after} came {state}, QEMU {name} allows {wanted}",
            )
        before = state
    if before not in TERMINAL:
        return Judged(Outcome.CANNOT_TELL, f"states {told}: the record ends in {before}")
    return Judged(Outcome.PASSED, f"states {told}")
