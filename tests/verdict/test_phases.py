"""Phases follow from the events of a run; what the record lacks is never guessed."""

from __future__ import annotations

import pathlib

import pytest

from harness.observe import Fact
from harness.verdict.phases import FOREVER, Phases, phases_of
from tests.verdict.story import MS, PRIMARY, Story, host, link, qmp, status, step

EXPECT = "  migration: completed\n"
TWO = """\
steps:
  - migrate: {guest: g1, to: beta}
  - wait: {for: {guest: g1, primary: net1, state: up}, within: 60s}
  - migrate: {guest: g1, to: alpha}
"""


def phases(folder: pathlib.Path, *, steps: str = "", **changes: Fact | None) -> Phases:
    """The good story's phases with some facts changed or, by None, left out."""
    story = Story(folder, EXPECT, **({"steps": steps} if steps else {}))  # type: ignore[arg-type]
    facts: dict[str, Fact | None] = {**story.facts, **changes}
    story.facts = {name: fact for name, fact in facts.items() if fact is not None}
    return phases_of(story.evidence())


def told(found: Phases) -> list[tuple[str, float, float]]:
    """(phase, earliest and latest begin in ms) of those that begin with an event."""
    return [
        (one.name, one.begin.lo_ns / MS, one.begin.hi_ns / MS) for one in found.found if one.begin
    ]


def test_each_phase_begins_with_its_event(tmp_path: pathlib.Path) -> None:
    found = phases(tmp_path)

    assert [one.name for one in found.found] == [
        "before",
        "unplug",
        "precopy",
        "stop-and-copy",
        "return",
        "after",
    ]
    assert told(found) == [
        ("unplug", 1002, 1002),
        ("precopy", 1250, 1250),
        ("stop-and-copy", 2000, 2000),
        ("return", 2020, 2020),
        ("after", 2600, 2600),
    ]
    assert not found.problem


def test_the_error_of_an_event_is_the_width_of_its_border(tmp_path: pathlib.Path) -> None:
    found = phases(tmp_path, stop=qmp(2000, "source", "STOP", err=0.5))

    assert ("stop-and-copy", 1999.5, 2000.5) in told(found)


@pytest.mark.parametrize(
    ("missing", "name", "low", "high"),
    [
        ("stop", "stop-and-copy", 1250, 2020),
        ("resume", "return", 2000, 2600),
        ("s active", "precopy", 1002, 2000),
        ("unplug", "unplug", 1000, 1250),
    ],
)
def test_a_border_whose_event_is_missing_lies_between_its_neighbours(
    missing: str, name: str, low: float, high: float, tmp_path: pathlib.Path
) -> None:
    found = phases(tmp_path, **{missing: None})

    border = next(one.begin for one in found.found if one.name == name)
    assert border is not None
    assert not border.seen
    assert (name, low, high) in told(found)


def test_a_primary_that_never_comes_back_leaves_no_after(tmp_path: pathlib.Path) -> None:
    found = phases(tmp_path, added=None, enslaved=None, up=None)

    assert found.found[-1].name == "return"
    assert found.found[-1].end is None


def test_without_a_monitor_nobody_knows_when_the_primary_came_back(
    tmp_path: pathlib.Path,
) -> None:
    silent = dict.fromkeys(("released", "removed", "added", "enslaved", "up"))

    found = phases(tmp_path, **silent)

    assert found.found[-1].name == "after"
    assert told(found)[-1] == ("after", 2020, FOREVER / MS)


def test_a_guest_clock_that_ran_backwards_dates_no_return(tmp_path: pathlib.Path) -> None:
    early = link(2600, "up", PRIMARY).model_copy(update={"guest_ns": 7})

    found = phases(tmp_path, up=early)

    assert told(found)[-1] == ("after", 2020, FOREVER / MS)
    assert found.found[-1].begin is not None
    assert not found.found[-1].begin.seen


def test_a_guest_that_had_ejected_already_has_no_unplug(tmp_path: pathlib.Path) -> None:
    gone = dict.fromkeys(("unplug", "s wait-unplug", "released", "removed"))

    found = phases(tmp_path, **gone)

    assert [one.name for one in found.found] == ["before", "precopy", "stop-and-copy", "after"]


def test_a_cancelled_migration_goes_from_precopy_to_return(tmp_path: pathlib.Path) -> None:
    never = dict.fromkeys(("stop", "s device", "negotiated", "resume", "d completed"))

    found = phases(tmp_path, **never, **{"s completed": status(1900, "source", "cancelled")})

    assert told(found) == [
        ("unplug", 1002, 1002),
        ("precopy", 1250, 1250),
        ("return", 1900, 1900),
        ("after", 2600, 2600),
    ]


def test_a_failure_behind_stop_returns_when_the_source_resumes(tmp_path: pathlib.Path) -> None:
    found = phases(
        tmp_path,
        resume=None,
        back=qmp(2025, "source", "RESUME"),
        negotiated=None,
        **{"d completed": None, "s completed": status(2022, "source", "failed")},
    )

    assert ("return", 2025, 2025) in told(found)


def test_borders_that_contradict_each_other_are_a_problem(tmp_path: pathlib.Path) -> None:
    found = phases(tmp_path, negotiated=None, resume=qmp(1900, "destination", "RESUME"))

    assert found.problem == (
        "the record contradicts itself: the destination's RESUME before the source's STOP"
    )


def test_a_second_migration_begins_with_its_step(tmp_path: pathlib.Path) -> None:
    found = phases(
        tmp_path,
        steps=TWO,
        again=step(2700, "3 migrate", "begin"),
        end=None,
    )

    before = [one for one in found.found if one.name == "before"]
    assert [one.migration for one in before] == [1, 2]
    assert before[1].begin is not None
    assert before[1].begin.lo_ns == 2700 * MS
    assert found.named("before") == (0, 6)


def test_without_a_migration_there_are_no_phases(tmp_path: pathlib.Path) -> None:
    found = phases(tmp_path, **{"migrate begins": None})

    assert found == Phases(())


def test_a_request_to_detach_begins_the_unplug_where_qemu_sends_no_word_of_one(
    tmp_path: pathlib.Path,
) -> None:
    found = phases(
        tmp_path,
        unplug=None,
        **{"s wait-unplug": None, "detach": host(1100, "alpha", "detach-requested")},
    )

    assert told(found)[0] == ("unplug", 1100, 1100)
    assert found.found[1].begin is not None
    assert found.found[1].begin.event == "the source's request to detach"


def test_a_request_to_detach_outside_of_the_migration_begins_no_unplug(
    tmp_path: pathlib.Path,
) -> None:
    early = host(900, "alpha", "detach-requested")
    gone = dict.fromkeys(("s wait-unplug", "released", "removed", "unplug"))

    found = phases(tmp_path, detach=early, **gone)

    assert [one.name for one in found.found][:2] == ["before", "precopy"]
