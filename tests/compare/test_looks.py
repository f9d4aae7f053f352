"""When a gate looks, and that the looks together spend no more than the error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compare import ERROR, fewest, plan_looks
from harness.compare.ranks import least_chance
from harness.errors import InputError


def test_ten_runs_are_looked_at_after_six_and_after_ten() -> None:
    looks = plan_looks(10, 3)

    # 0.025 * 0.6^2 = 0.009; what is left of 0.025 is for the end.
    assert [(look.runs, round(look.level, 6)) for look in looks] == [(6, 0.009), (10, 0.016)]


def test_a_look_that_no_outcome_could_pass_is_left_out() -> None:
    # 4 + 4 reach 1/70 = 0.0143 at best, and 0.025 * 0.4^2 = 0.004 might be spent there.
    assert 4 not in [look.runs for look in plan_looks(10, 1)]


def test_three_against_three_are_refused_with_what_to_ask_for() -> None:
    with pytest.raises(InputError, match="3 runs of each build cannot show") as caught:
        plan_looks(3, 1)
    assert caught.value.hint == "ask for at least 4 runs of each build"


def test_more_endpoints_need_more_runs() -> None:
    # 1/70 = 0.0143 <= 0.025, but not <= 0.0125; 1/252 = 0.004 is.
    assert [fewest(endpoints) for endpoints in (1, 2, 6, 7)] == [4, 5, 5, 6]
    with pytest.raises(InputError, match="2 endpoints"):
        plan_looks(4, 2)


def test_a_budget_that_no_machine_has_is_refused() -> None:
    with pytest.raises(InputError, match="at most 1000"):
        plan_looks(100000, 1)


@given(st.integers(4, 60), st.integers(1, 12))
def test_all_looks_together_spend_the_error_and_each_can_claim_something(
    runs: int, endpoints: int
) -> None:
    if runs < fewest(endpoints):
        with pytest.raises(InputError):
            plan_looks(runs, endpoints)
        return
    looks = plan_looks(runs, endpoints)

    assert sum(look.level for look in looks) == pytest.approx(ERROR)
    assert looks[-1].runs == runs
    assert [look.runs for look in looks] == sorted({look.runs for look in looks})
    assert looks[0].runs >= 4
    assert all(least_chance(look.runs) <= look.level / endpoints for look in looks)
