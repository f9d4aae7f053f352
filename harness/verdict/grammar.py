"""Judge a sequence of migration states by the grammar of the QEMU that went through it.

Neighbours: ``harness.versions`` has the grammars and their evidence; ``migrations`` feeds this
the states of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness.verdict.model import Judged, Outcome
from harness.versions import (
    NEWEST,
    OLDEST,
    TERMINAL,
    QemuWords,
    Version,
    grammar_of,
    parse_version,
)

_NOTHING = QemuWords()


def named(version: str, words: QemuWords = _NOTHING) -> str:
    """A QEMU in the words of a report, with what it is judged by where that is not its own
    version's table."""
    parsed = parse_version(version)
    if parsed is None:
        return "of unknown version"
    if parsed <= NEWEST:
        return _text(parsed)
    own = "its own schema and " if words.statuses else ""
    return f"{_text(parsed)} (newer than known here: by {own}the grammar of {_text(NEWEST)})"


def judge_states(
    role: Literal["source", "destination"],
    states: Sequence[str],
    version: str,
    words: QemuWords = _NOTHING,
    *,
    open_end: str = "",
) -> Judged:
    """Whether a sequence of status words follows the grammar of that QEMU.

    ``words`` is what that QEMU says it knows; empty where its record does not have it.
    ``open_end`` says why it may end with any status, where it may.
    """
    told = f"states {', '.join(states) or 'none'}"
    parsed = parse_version(version)
    if parsed is None:
        return _untold(f"{told}; the version of its QEMU was not recorded")
    if parsed < OLDEST:
        return _untold(
            f"{told}; QEMU {_text(parsed)} is older than {_text(OLDEST)}, the oldest whose "
            "grammar is known"
        )
    if not states:
        return _untold("no MIGRATION event was recorded")
    grammar = grammar_of(parsed, words.statuses)
    automaton = grammar.source if role == "source" else grammar.destination
    before = ""
    for state in states:
        if state not in automaton.get(before, frozenset()):
            wanted = " or ".join(sorted(automaton.get(before, ()))) or "nothing"
            return _stray(told, before, state, wanted, parsed, words)
        before = state
    if before not in TERMINAL and open_end:
        return Judged(Outcome.PASSED, f"{told}; {open_end}")
    if before not in TERMINAL:
        return _untold(f"{told}: the record ends in {before}")
    return Judged(Outcome.PASSED, told)


def _stray(
    told: str, before: str, state: str, wanted: str, version: Version, words: QemuWords
) -> Judged:
    """What to say of a status that the grammar does not allow there."""
    came = f"{told}: {f'after {before}' if before else 'first'} came {state}"
    name = f"QEMU {_text(version)}"
    if words.statuses and state not in words.statuses:
        return Judged(
            Outcome.FAILED,
            f"{came}, which is not among the statuses that this {name} itself says it knows "
            f"(query-qmp-schema: {', '.join(words.statuses)})",
        )
    if words.statuses and state not in grammar_of(version, words.statuses).vocabulary:
        return _untold(
            f"{came}; this {name} says it knows {state} (query-qmp-schema), of which no grammar "
            "known here tells when it may come"
        )
    if version > NEWEST:
        return _untold(
            f"{came}; {name} is newer than {_text(NEWEST)}, the newest whose grammar is known"
        )
    return Judged(Outcome.FAILED, f"{came}, {name} allows {wanted}")


def _text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def _untold(reason: str) -> Judged:
    return Judged(Outcome.CANNOT_TELL, reason)
