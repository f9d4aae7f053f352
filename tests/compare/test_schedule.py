"""Which run a gate makes next, when it stops, and what it decides then."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.case import Endpoint
from harness.compare import (
    Decision,
    GateOutcome,
    NextRun,
    Seen,
    Side,
    Standing,
    Terms,
    advance,
    broken_run,
)
from harness.errors import InputError
from harness.verdict import Outcome
from tests.compare.runs import LOST, B, C, drive, run, runs_of

TERMS = Terms((LOST,), runs=10)


def losing(
    baseline: float,
    candidate: float,
    *,
    baseline_fails: tuple[str, ...] = (),
    candidate_fails: tuple[str, ...] = (),
) -> Callable[[NextRun], Seen]:
    def made(step: NextRun) -> Seen:
        ours = step.side is C
        return run(
            step.number,
            step.side,
            inbound_lost=candidate if ours else baseline,
            failed=candidate_fails if ours else baseline_fails,
        )

    return made


def test_the_builds_take_turns_as_a_b_b_a() -> None:
    _, runs = drive(TERMS, losing(3, 3))

    assert "".join("B" if one.side is B else "C" for one in runs) == "BCCBBCCBBCCB"


def test_the_same_build_twice_is_no_worse_at_the_first_look() -> None:
    decision, runs = drive(TERMS, losing(3, 3))

    assert (decision.outcome, decision.exit_code) == (GateOutcome.NO_WORSE, 0)
    assert len(runs) == 12
    assert decision.stopped == "decided"
    assert decision.level == pytest.approx(0.009)


def test_more_than_the_margin_is_worse() -> None:
    decision, _ = drive(TERMS, losing(3, 30))

    assert (decision.outcome, decision.exit_code) == (GateOutcome.WORSE, 1)
    assert decision.reasons == (
        "inbound.lost: +27 packets, shown to be more than the margin of 5 packets",
    )


def test_what_is_open_at_a_look_goes_on_to_the_next_and_ends_with_the_budget() -> None:
    def made(step: NextRun) -> Seen:
        return run(step.number, step.side, inbound_lost=(step.number * 37) % 60)

    decision, runs = drive(TERMS, made)

    assert (decision.outcome, decision.exit_code) == (GateOutcome.INCONCLUSIVE, 4)
    assert (len(runs), decision.stopped) == (20, "the budget of runs is spent")
    assert decision.reasons == ("inbound.lost: more runs are needed",)


def test_a_gate_whose_minutes_are_spent_claims_nothing_between_looks() -> None:
    terms = Terms((LOST,), runs=10, minutes=5)

    decision, runs = drive(terms, losing(3, 300), minutes_each=1)

    assert (decision.outcome, len(runs)) == (GateOutcome.INCONCLUSIVE, 5)
    assert decision.stopped == "the minutes are spent"
    assert decision.level is None


def test_a_run_in_trouble_is_made_up_for_and_counted_apart() -> None:
    def made(step: NextRun) -> Seen:
        if step.number in (2, 5):
            return broken_run(step.number, step.side, "no space left")
        return run(step.number, step.side, inbound_lost=3)

    decision, runs = drive(TERMS, made)

    assert "".join("B" if one.side is B else "C" for one in runs) == "BCCBBCCBBCCBBC"
    assert decision.outcome is GateOutcome.NO_WORSE
    assert (decision.baseline_runs, decision.candidate_runs) == (6, 6)
    assert decision.trouble == {"baseline": 1, "candidate": 1}


def test_too_much_trouble_is_a_broken_lab_and_no_verdict() -> None:
    def made(step: NextRun) -> Seen:
        return broken_run(step.number, step.side, "the disk is full")

    decision, runs = drive(TERMS, made)

    assert (decision.outcome, decision.exit_code) == (GateOutcome.LAB_BROKE, 3)
    assert len(runs) == TERMS.trouble_allowed + 1 == 6


def test_as_much_trouble_as_is_allowed_is_borne() -> None:
    def made(step: NextRun) -> Seen:
        trouble = "missed its rate" if step.number <= TERMS.trouble_allowed else ""
        return run(step.number, step.side, inbound_lost=3, trouble=trouble)

    decision, runs = drive(TERMS, made)

    assert decision.outcome is GateOutcome.NO_WORSE
    assert len(runs) == 12 + TERMS.trouble_allowed


def test_a_broken_lab_is_no_verdict_even_where_the_runs_that_count_would_give_one() -> None:
    def made(step: NextRun) -> Seen:
        # Each has five runs that count; the look is after six.
        trouble = "missed its rate" if step.number > 10 else ""
        return run(step.number, step.side, inbound_lost=3, trouble=trouble)

    decision, _ = drive(TERMS, made)

    assert (decision.outcome, decision.stopped) == (
        GateOutcome.LAB_BROKE,
        "too many runs did not count",
    )


def test_a_finding_counts_although_the_figures_of_its_run_do_not() -> None:
    def made(step: NextRun) -> Seen:
        ours = step.side is C
        return run(
            step.number,
            step.side,
            inbound_lost=3,
            trouble="nothing arrived" if ours else "",
            failed=[GRAMMAR] if ours else [],
        )

    decision, runs = drive(TERMS, made)

    assert decision.outcome is GateOutcome.WORSE
    assert [one.side for one in runs] == [B, C, C, B]


def test_trouble_of_the_candidate_alone_is_named() -> None:
    def made(step: NextRun) -> Seen:
        if step.side is C:
            return broken_run(step.number, step.side, "QEMU ended")
        return run(step.number, step.side, inbound_lost=3)

    decision, _ = drive(TERMS, made)

    assert decision.outcome is GateOutcome.LAB_BROKE
    assert "only runs of the candidate: it may be the candidate that breaks them" in (
        decision.reasons
    )


GRAMMAR = "invariants.migration-states.source"


def test_a_finding_of_the_candidate_alone_fails_when_it_is_seen_again() -> None:
    decision, runs = drive(TERMS, losing(3, 3, candidate_fails=(GRAMMAR,)))

    assert (decision.outcome, decision.exit_code) == (GateOutcome.WORSE, 1)
    # B C C B: the baseline has had as many runs as the candidate.
    assert len(runs) == 4
    assert decision.reasons == (
        f"{GRAMMAR}: candidate only, confirmed: failed in 2 of 2 runs of the candidate, 0 of 2 "
        "of the baseline",
    )


def test_a_finding_that_is_never_seen_again_is_told_and_does_not_fail() -> None:
    def made(step: NextRun) -> Seen:
        failed = [GRAMMAR] if step.number == 2 else []
        return run(step.number, step.side, inbound_lost=3, failed=failed)

    decision, _ = drive(TERMS, made)

    assert decision.outcome is GateOutcome.NO_WORSE
    assert [one.standing for one in decision.violations] == [Standing.ONCE]
    assert decision.violations[0].in_runs == (2,)


@pytest.mark.parametrize(
    ("again", "outcome"), [(False, GateOutcome.NO_WORSE), (True, GateOutcome.WORSE)]
)
def test_a_finding_in_the_last_run_of_the_candidate_is_looked_for_again(
    again: bool, outcome: GateOutcome
) -> None:
    def made(step: NextRun) -> Seen:
        shows = step.number == 11 or (again and step.confirming)
        return run(step.number, step.side, inbound_lost=3, failed=[GRAMMAR] if shows else [])

    decision, runs = drive(TERMS, made)

    assert [one.side for one in runs[:11] if one.confirming] == []
    assert decision.outcome is outcome
    assert [one.side for one in runs[12:]] == [C] * (1 if again else 2)
    # They are for the finding only: the endpoints have what was declared.
    assert (len(decision.endpoints[0].baseline), len(decision.endpoints[0].candidate)) == (6, 6)


def test_a_finding_that_there_was_no_time_to_see_again_keeps_it_from_passing() -> None:
    def made(step: NextRun) -> Seen:
        failed = [GRAMMAR] if step.number == 11 else []
        return run(step.number, step.side, inbound_lost=3, failed=failed)

    decision, runs = drive(Terms((LOST,), runs=6, minutes=12), made, minutes_each=1)

    assert (decision.outcome, len(runs)) == (GateOutcome.INCONCLUSIVE, 12)
    assert [one.standing for one in decision.violations] == [Standing.PENDING]


def test_a_finding_of_both_builds_is_told_as_such() -> None:
    decision, _ = drive(
        TERMS,
        losing(3, 3, baseline_fails=(GRAMMAR,), candidate_fails=(GRAMMAR,)),
    )

    assert decision.outcome is GateOutcome.NO_WORSE
    assert [(one.standing, one.baseline_failed) for one in decision.violations] == [
        (Standing.BOTH, 6)
    ]


def test_a_finding_of_the_baseline_alone_is_told_as_such() -> None:
    decision, _ = drive(TERMS, losing(3, 3, baseline_fails=(GRAMMAR,)))

    assert decision.outcome is GateOutcome.NO_WORSE
    assert [one.standing for one in decision.violations] == [Standing.BASELINE_ONLY]


def bounded(step: NextRun, *, crossed: bool) -> Seen:
    outcome = Outcome.FAILED if crossed else Outcome.PASSED
    made = run(step.number, step.side, inbound_lost=3)
    return made.model_copy(update={"bounds": {"expect.streams.inbound.stall": outcome}})


def test_a_measured_bound_that_is_crossed_twice_by_chance_does_not_fail() -> None:
    decision, _ = drive(TERMS, lambda step: bounded(step, crossed=step.number in (2, 3)))

    # 2 of 6 and 0 of 6: 15 of 66 ways.
    assert decision.outcome is GateOutcome.NO_WORSE
    assert [one.standing for one in decision.violations] == [Standing.ONCE]


def test_a_measured_bound_that_only_the_candidate_crosses_keeps_it_from_passing() -> None:
    decision, _ = drive(TERMS, lambda step: bounded(step, crossed=step.side is C))

    assert decision.outcome is GateOutcome.INCONCLUSIVE
    assert [one.standing for one in decision.violations] == [Standing.MORE_OFTEN]


def test_what_only_the_baseline_tells_keeps_the_candidate_from_passing() -> None:
    def made(step: NextRun) -> Seen:
        outcome = Outcome.PASSED if step.side is B else Outcome.CANNOT_TELL
        plain = run(step.number, step.side, inbound_lost=3)
        return plain.model_copy(update={"findings": {"expect.netdevs.end": outcome}})

    decision, _ = drive(TERMS, made)

    assert decision.outcome is GateOutcome.INCONCLUSIVE
    assert [one.standing for one in decision.violations] == [Standing.UNTOLD]


def test_fewer_lost_for_more_reordered_is_named_a_trade() -> None:
    reordered = Endpoint("inbound", "reordered", "packets", 50)
    terms = Terms((LOST, reordered), runs=10)

    def made(step: NextRun) -> Seen:
        lost, order = (1, 20) if step.side is C else (40, 2)
        return run(step.number, step.side, inbound_lost=lost, inbound_reordered=order)

    decision, _ = drive(terms, made)

    assert decision.outcome is GateOutcome.NO_WORSE
    assert decision.trades == (
        "less: inbound.lost -39 packets; more: inbound.reordered +18 packets",
    )


def test_a_gate_goes_on_from_its_record() -> None:
    _, runs = drive(TERMS, losing(3, 3))
    read_back = [Seen.model_validate_json(one.model_dump_json()) for one in runs]

    for count in range(len(runs) + 1):
        assert advance(TERMS, read_back[:count]) == advance(TERMS, runs[:count])


def test_a_decision_is_read_back_as_it_was_written() -> None:
    decision, _ = drive(TERMS, losing(3, 30))

    assert Decision.model_validate_json(decision.to_json()) == decision


def test_a_case_without_endpoints_is_refused() -> None:
    with pytest.raises(InputError, match="declares none") as caught:
        Terms(())
    assert "gate: {streams:" in caught.value.hint


def test_runs_of_both_sides_are_equal_at_every_look() -> None:
    for look in TERMS.looks:
        decision = advance(TERMS, runs_of([0.0] * look.runs, [0.0] * look.runs))
        assert isinstance(decision, Decision)
        assert {len(decision.endpoints[0].baseline), len(decision.endpoints[0].candidate)} == {
            look.runs
        }
        assert Side.BASELINE in decision.trouble
