"""The grammar of each QEMU follows from its version and from what it says it knows."""

from __future__ import annotations

import pytest

from harness.versions import CHANGES, NEWEST, OLDEST, TERMINAL, Version, grammar_of, parse_version

BASE = [
    "none",
    "setup",
    "cancelling",
    "cancelled",
    "active",
    "postcopy-active",
    "postcopy-paused",
    "postcopy-recover",
    "completed",
    "failed",
    "colo",
    "pre-switchover",
    "device",
    "wait-unplug",
]


def brought(version: Version, statuses: list[str] | None = None) -> list[Version]:
    return [change.since for change in grammar_of(version, statuses or ()).changes]


def test_without_a_schema_the_version_decides() -> None:
    assert brought((7, 2)) == [(7, 2)]
    assert brought((10, 0)) == [(7, 2), (9, 1), (10, 0)]
    assert brought((11, 1)) == brought((12, 0)) == [(7, 2), (9, 1), (10, 0), (10, 2), (11, 0)]


def test_what_a_schema_tells_goes_before_the_version() -> None:
    # a distribution's 10.0 with a status of 11.0, and a developer's 11.1 without it
    assert brought((10, 0), [*BASE, "failing"]) == [(7, 2), (10, 0), (11, 0)]
    assert brought((11, 1), BASE) == [(7, 2), (10, 0)]


def test_what_no_schema_tells_goes_by_the_version() -> None:
    assert grammar_of((9, 2), BASE).source["active"] >= {"completed"}
    assert "completed" not in grammar_of((10, 0), BASE).source["active"]


def test_a_table_that_knows_a_version_says_whence() -> None:
    assert [change.since for change in CHANGES] == sorted(change.since for change in CHANGES)
    assert CHANGES[0].since == OLDEST
    assert CHANGES[-1].since <= NEWEST
    assert all(len(change.evidence) > 40 for change in CHANGES)


@pytest.mark.parametrize("version", [change.since for change in CHANGES])
def test_every_state_of_every_grammar_leads_to_an_end(version: Version) -> None:
    grammar = grammar_of(version)
    for automaton in (grammar.source, grammar.destination):
        ending = set(TERMINAL)
        while more := {state for state, after in automaton.items() if after & ending} - ending:
            ending |= more
        assert set(automaton) <= ending
        assert frozenset().union(*automaton.values()) - TERMINAL <= set(automaton)


def test_a_version_is_read_from_what_qemu_says() -> None:
    assert parse_version("10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)") == (10, 0)
    assert parse_version("") is None
