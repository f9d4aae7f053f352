"""How migrations end, the grammar of their states, and steps that did not work."""

from __future__ import annotations

import pathlib
from typing import Literal

import pytest

from harness.verdict import Finding, Outcome, Verdict, judge
from harness.verdict.grammar import judge_states
from harness.verdict.model import conclude
from harness.versions import QemuWords
from tests.verdict.story import MS, Story, qmp, status, step

COMPLETED = "  migration: completed\n"


def of(verdict: Verdict, path: str) -> Finding:
    return next(one for one in verdict.findings if one.path == path)


def test_a_completed_migration_passes_with_the_time_and_the_witness(
    tmp_path: pathlib.Path,
) -> None:
    found = of(judge(Story(tmp_path, COMPLETED).evidence()), "expect.migration")

    assert found.outcome is Outcome.PASSED
    assert found.reason == "step 1 migrate: completed at +2.022s, says the source's QEMU"


def test_another_end_than_the_wanted_one_fails(tmp_path: pathlib.Path) -> None:
    found = of(judge(Story(tmp_path, "  migration: failed\n").evidence()), "expect.migration")

    assert found.outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "missing",
    [
        ("s completed",),
        ("s setup", "s wait-unplug", "s active", "s device", "s completed", "unplug", "stop"),
        ("migrate begins",),
    ],
)
def test_an_end_that_nobody_recorded_cannot_be_told(
    missing: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    story = Story(tmp_path, COMPLETED)
    for name in missing:
        del story.facts[name]

    assert of(judge(story.evidence()), "expect.migration").outcome is Outcome.CANNOT_TELL


def test_a_migration_that_the_destination_could_not_load_has_not_completed(
    tmp_path: pathlib.Path,
) -> None:
    story = Story(tmp_path, COMPLETED)
    story.facts["d completed"] = status(2021, "destination", "failed")

    found = of(judge(story.evidence()), "expect.migration")

    assert found.outcome is Outcome.FAILED
    assert found.reason == (
        "step 1 migrate: completed at +2.022s, says the source's QEMU; but failed at +2.021s, "
        "says the destination's"
    )


SOURCE = "invariants.migration-states.source"


def test_the_states_are_checked_in_every_run(tmp_path: pathlib.Path) -> None:
    verdict = judge(Story(tmp_path, COMPLETED).evidence())

    found = of(verdict, SOURCE)
    assert found.outcome is Outcome.PASSED
    assert found.expectation == "the source's migration states follow the grammar of QEMU 10.0"
    assert of(verdict, "invariants.migration-states.destination").outcome is Outcome.PASSED


def test_a_state_that_the_version_does_not_have_fails_the_case(tmp_path: pathlib.Path) -> None:
    story = Story(tmp_path, COMPLETED)
    del story.facts["s device"]

    verdict = judge(story.evidence())

    assert verdict.outcome is Outcome.FAILED
    assert of(verdict, SOURCE).reason == (
        "states setup, wait-unplug, active, completed: after active came completed, "
        "QEMU 10.0 allows cancelling or device or failed or pre-switchover"
    )


def test_without_a_version_the_grammar_cannot_be_told(tmp_path: pathlib.Path) -> None:
    verdict = judge(Story(tmp_path, COMPLETED, versions={}).evidence())

    assert of(verdict, SOURCE).outcome is Outcome.CANNOT_TELL
    assert verdict.outcome is Outcome.CANNOT_TELL


PASS, FAIL, UNTOLD = Outcome.PASSED, Outcome.FAILED, Outcome.CANNOT_TELL


@pytest.mark.parametrize(
    ("version", "role", "states", "outcome"),
    [
        ("7.2.22", "source", "setup wait-unplug active completed", PASS),
        ("9.2.4", "source", "setup active completed", PASS),
        ("9.2.4", "source", "setup active device completed", FAIL),
        ("9.2.4", "source", "setup active pre-switchover device completed", PASS),
        ("10.0.13 (Debian 1:10.0.13)", "source", "setup wait-unplug active device completed", PASS),
        ("10.0.13", "source", "setup active pre-switchover device completed", PASS),
        ("10.0.13", "source", "setup active completed", FAIL),
        ("10.0.13", "source", "setup wait-unplug active failed", PASS),
        ("10.0.13", "source", "setup wait-unplug cancelling cancelled", PASS),
        ("10.0.13", "source", "setup wait-unplug cancelled", FAIL),
        ("10.0.13", "source", "setup active failing failed", FAIL),
        ("11.1.0", "source", "setup active failing failed", PASS),
        ("11.1.0", "source", "setup active failing completed", FAIL),
        (
            "10.0.13",
            "source",
            "setup active device postcopy-device postcopy-active completed",
            FAIL,
        ),
        ("10.2.0", "source", "setup active device postcopy-device postcopy-active completed", PASS),
        ("10.0.13", "source", "active device completed", FAIL),
        ("10.0.13", "source", "setup active device completed completed", FAIL),
        ("10.0.13", "source", "setup wait-unplug", UNTOLD),
        ("10.0.13", "source", "", UNTOLD),
        ("6.2.0", "source", "setup active completed", UNTOLD),
        ("nonsense", "source", "setup active completed", UNTOLD),
        ("12.0.0", "source", "setup active device completed", PASS),
        ("12.0.0", "source", "setup active landing completed", UNTOLD),
        ("10.0.13", "destination", "setup active completed", PASS),
        ("10.0.13", "destination", "setup completed", FAIL),
        ("10.0.13", "destination", "setup active failed", PASS),
    ],
)
def test_the_grammar_of_each_version(
    version: str, role: Literal["source", "destination"], states: str, outcome: Outcome
) -> None:
    assert judge_states(role, states.split(), version).outcome is outcome


BASE = (
    "none setup cancelling cancelled active postcopy-active postcopy-paused postcopy-recover "
    "completed failed colo pre-switchover device wait-unplug"
)


@pytest.mark.parametrize(
    ("version", "knows", "states", "outcome", "reason"),
    [
        # 10.0 with the `failing` of 11.0, as its schema says
        ("10.0.13", BASE + " failing", "setup active failing failed", PASS, ""),
        ("11.1.0", BASE, "setup active failing failed", FAIL, "failing, which is not among the "),
        ("7.2.22", BASE, "setup wait-unplug active completed", PASS, ""),
        ("7.2.22", BASE, "setup active device completed", FAIL, "QEMU 7.2 allows"),
        ("11.1.0", BASE + " failing", "setup active completed", FAIL, "QEMU 11.1 allows"),
        ("10.0.13", BASE, "setup active landing completed", FAIL, "after active came landing, "),
        (
            "10.0.13",
            BASE + " landing",
            "setup active landing completed",
            UNTOLD,
            "this QEMU 10.0 says it knows landing (query-qmp-schema), of which no grammar known",
        ),
        ("12.0.0", BASE + " failing", "setup active device completed", PASS, ""),
        ("12.0.0", BASE + " landing", "setup active landing completed", UNTOLD, "landing"),
        ("12.0.0", BASE, "setup active landing completed", FAIL, "not among the statuses"),
        ("12.0.0", BASE, "setup active completed", UNTOLD, "newer than 11.1, the newest whose"),
    ],
)
def test_a_qemu_is_judged_by_what_it_says_it_knows(
    version: str, knows: str, states: str, outcome: Outcome, reason: str
) -> None:
    judged = judge_states("source", states.split(), version, QemuWords(statuses=knows.split()))  # type: ignore[arg-type]

    assert judged.outcome is outcome
    assert reason in judged.reason


def test_a_newer_qemu_than_the_table_is_judged_by_its_own_schema_and_that_is_said(
    tmp_path: pathlib.Path,
) -> None:
    story = Story(tmp_path, COMPLETED, versions={("g1", "alpha"): "12.0.0", ("g1", "beta"): "12.1"})
    story.words = {("g1", "alpha"): QemuWords(statuses=tuple(BASE.split()))}

    verdict = judge(story.evidence())

    assert verdict.outcome is Outcome.PASSED
    assert of(verdict, SOURCE).expectation == (
        "the source's migration states follow the grammar of QEMU 12.0 (newer than known here: "
        "by its own schema and the grammar of 11.1)"
    )
    assert of(verdict, "invariants.migration-states.destination").expectation == (
        "the destination's migration states follow the grammar of QEMU 12.1 (newer than known "
        "here: by the grammar of 11.1)"
    )


def test_a_step_that_failed_fails_the_case_with_its_reason(tmp_path: pathlib.Path) -> None:
    story = Story(tmp_path, COMPLETED)
    story.facts["wait ends"] = step(2610, "2 wait", "end", "failed").model_copy(
        update={"data": {"reason": "the primary of net1 was not up within 60s"}}
    )

    found = of(judge(story.evidence()), "steps[1]")

    assert found.outcome is Outcome.FAILED
    assert found.reason == "step 2 wait failed: the primary of net1 was not up within 60s"


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (("wait ends",), "step 2 wait began but has no recorded end"),
        (("wait begins", "wait ends"), "step 2 wait never began"),
    ],
)
def test_a_run_that_broke_off_cannot_be_told(
    missing: tuple[str, ...], reason: str, tmp_path: pathlib.Path
) -> None:
    story = Story(tmp_path, COMPLETED)
    for name in missing:
        del story.facts[name]

    verdict = judge(story.evidence())

    assert verdict.outcome is Outcome.CANNOT_TELL
    assert of(verdict, "steps[1]").reason == reason


def test_a_second_setup_starts_no_second_migration(tmp_path: pathlib.Path) -> None:
    story = Story(tmp_path, COMPLETED)
    story.facts["odd"] = status(2100, "source", "setup")

    assert of(judge(story.evidence()), SOURCE).outcome is Outcome.FAILED


def test_a_case_that_expects_nothing_never_passes(tmp_path: pathlib.Path) -> None:
    verdict = judge(Story(tmp_path, "  order: []\n").evidence())

    assert verdict.outcome is Outcome.CANNOT_TELL
    assert verdict.exit_code == 4
    assert verdict.findings[-1].reason == ("it states no expectation, so the run shows nothing")


@pytest.mark.parametrize(
    ("outcomes", "outcome", "code"),
    [
        ([PASS], PASS, 0),
        ([PASS, FAIL], FAIL, 1),
        ([PASS, UNTOLD], UNTOLD, 4),
        ([UNTOLD, FAIL, PASS], FAIL, 1),
        ([], UNTOLD, 4),
    ],
)
def test_failed_comes_before_cannot_tell_before_passed(
    outcomes: list[Outcome], outcome: Outcome, code: int
) -> None:
    findings = [Finding("x", "expect.x", "", one, "") for one in outcomes]

    verdict = conclude(findings)

    assert (verdict.outcome, verdict.exit_code) == (outcome, code)


def test_what_a_qemu_says_belongs_to_its_step_however_large_its_error(
    tmp_path: pathlib.Path,
) -> None:
    story = Story(tmp_path, COMPLETED)
    early = story.facts["s setup"].model_copy(update={"err_ns": 5_000_000})
    story.facts["s setup"] = early

    assert of(judge(story.evidence()), SOURCE).outcome is Outcome.PASSED


def test_a_migration_that_never_began_cannot_be_told_to_have_completed(
    tmp_path: pathlib.Path,
) -> None:
    story = Story(
        tmp_path,
        COMPLETED,
        steps="steps: [{migrate: {guest: g1, to: beta}}, {migrate: {guest: g1, to: alpha}}]\n",
    )

    found = of(judge(story.evidence()), "expect.migration")

    assert found.outcome is Outcome.CANNOT_TELL
    assert found.reason == "1 of 2 migrations never began"


TWICE = """\
steps:
  - migrate: {guest: g1, to: beta, cancel: {at: active}}
  - wait: {for: {guest: g1, primary: net1, state: up}, within: 60s}
  - migrate: {guest: g1, to: beta}
"""


def cancelled_then_completed(folder: pathlib.Path, expect: str) -> Story:
    """A migration that is cancelled, and one that is not."""
    story = Story(folder, expect, steps=TWICE)
    for name in ("stop", "s device", "resume", "negotiated", "d completed", "s completed"):
        del story.facts[name]
    story.facts |= {
        "s cancelling": status(2000, "source", "cancelling"),
        "s cancelled": status(2001, "source", "cancelled"),
        "migrate begins again": step(3000, "3 migrate", "begin"),
        **{
            f"{role} {word} again": status(3001 + number, role, word)
            for role in ("source", "destination")
            for number, word in enumerate(
                ("setup", "wait-unplug", "active", "device", "completed")
                if role == "source"
                else ("setup", "active", "completed")
            )
        },
        "migrate ends again": step(3900, "3 migrate", "end", "done"),
    }  # type: ignore[dict-item]  # the roles are literals
    return story


def test_each_migration_ends_as_the_case_lists(tmp_path: pathlib.Path) -> None:
    story = cancelled_then_completed(tmp_path, "  migration: [cancelled, completed]\n")
    found = of(judge(story.evidence()), "expect.migration")

    assert found.outcome is Outcome.PASSED
    assert found.expectation == "the migrations are cancelled, completed"


def test_ends_in_another_order_fail(tmp_path: pathlib.Path) -> None:
    story = cancelled_then_completed(tmp_path, "  migration: [completed, cancelled]\n")

    assert of(judge(story.evidence()), "expect.migration").outcome is Outcome.FAILED


def test_a_destination_that_was_given_up_may_end_anywhere(tmp_path: pathlib.Path) -> None:
    story = cancelled_then_completed(tmp_path, "  migration: [cancelled, completed]\n")
    found = of(judge(story.evidence()), "invariants.migration-states.destination")

    assert found.outcome is Outcome.PASSED
    assert "the source's migration cancelled" in found.reason


def test_the_destination_of_a_completed_migration_may_not(tmp_path: pathlib.Path) -> None:
    story = Story(tmp_path, COMPLETED)
    del story.facts["d completed"]
    found = of(judge(story.evidence()), "invariants.migration-states.destination")

    assert found.outcome is Outcome.CANNOT_TELL


STATES = '  states: [{source: "setup, wait-unplug, active, [device], completed"}]\n'


def test_the_statuses_of_a_migration_are_exactly_the_wanted_ones(tmp_path: pathlib.Path) -> None:
    found = of(judge(Story(tmp_path, STATES).evidence()), "expect.states[0].source")

    assert found.outcome is Outcome.PASSED
    assert found.expectation == (
        "migration 1 by its source: setup, wait-unplug, active, [device], completed"
    )


def test_a_status_too_many_or_too_few_fails(tmp_path: pathlib.Path) -> None:
    story = Story(tmp_path, STATES)
    del story.facts["s wait-unplug"]
    few = of(judge(story.evidence()), "expect.states[0].source")
    many = of(
        judge(Story(tmp_path, STATES.replace("wait-unplug, ", "")).evidence()),
        "expect.states[0].source",
    )

    assert few.outcome is many.outcome is Outcome.FAILED
    assert few.reason.startswith("step 1 migrate: setup +1.001s, active +1.250s, device")


@pytest.mark.parametrize("missing", ["migrate begins", "every event of the source"])
def test_statuses_that_nobody_recorded_cannot_be_told(missing: str, tmp_path: pathlib.Path) -> None:
    story = Story(tmp_path, STATES)
    for name in [missing] if missing in story.facts else [n for n in story.facts if n[:2] == "s "]:
        del story.facts[name]

    assert of(judge(story.evidence()), "expect.states[0].source").outcome is Outcome.CANNOT_TELL


REFUSED = """\
steps:
  - migrate: {guest: g1, to: beta, outcome: refused}
  - migrate: {guest: g1, to: beta}
"""


def test_a_migration_that_qemu_was_to_refuse_is_none(tmp_path: pathlib.Path) -> None:
    story = Story(tmp_path, COMPLETED, steps=REFUSED)
    story.facts["refused begins"] = step(900, "1 migrate", "begin")
    story.facts["migrate begins"] = step(1000, "2 migrate", "begin")
    evidence = story.evidence()

    assert [one.step for one in evidence.migrations] == ["2 migrate"]
    assert of(judge(evidence), "expect.migration").outcome is Outcome.PASSED


ABSENT = "  netdevs: {precopy: {g1: {net1: {primary: absent}}}}\n"
ABSENT_PATH = "expect.netdevs.precopy.g1.net1.primary"


def test_a_migration_given_up_in_wait_unplug_has_no_precopy_to_judge(
    tmp_path: pathlib.Path,
) -> None:
    story = cancelled_then_completed(tmp_path, ABSENT)
    for name in ("s active", "added", "enslaved", "up"):  # it is not plugged back meanwhile
        del story.facts[name]
    # In the order in which its QEMU has said it: before `device`.
    later = {name: story.facts.pop(name) for name in list(story.facts) if "again" in name}
    early = {n: f for n, f in later.items() if f.t_ns < 3004 * MS}
    story.facts |= {**early, "stop again": qmp(3003.5, "source", "STOP"), **later}

    found = of(judge(story.evidence()), ABSENT_PATH)

    assert found.outcome is Outcome.PASSED
    assert "precopy from +3.003s (source active)" in found.reason


def test_where_every_migration_was_given_up_so_precopy_cannot_be_told(
    tmp_path: pathlib.Path,
) -> None:
    story = cancelled_then_completed(tmp_path, ABSENT)
    for name in [name for name in story.facts if name == "s active" or "again" in name]:
        del story.facts[name]

    assert of(judge(story.evidence()), ABSENT_PATH).outcome is Outcome.CANNOT_TELL
