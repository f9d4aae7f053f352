"""What is known of the order of two facts is exactly what every possible history agrees on."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.observe import Fact, HostEvent, LinkEvent, QmpEvent
from harness.verdict.moments import Known, compare, moments_of, when
from tests.verdict.story import PRIMARY, link


def fact(process: int, number: int, t: int, err: int) -> Fact:
    """An event of a guest's kernel (0), a QEMU (1), or of nobody in particular (2)."""
    if process == 0:
        return LinkEvent(
            t_ns=t, err_ns=err, guest="g1", event="changed", link=PRIMARY, guest_ns=number
        )
    if process == 1:
        return QmpEvent(
            t_ns=t, err_ns=err, guest="g1", host="alpha", name=f"E{number}", qemu_time_us=0
        )
    return HostEvent(t_ns=t, err_ns=err, host="alpha", event=f"e{number}")


SPECS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(0, 2)), min_size=2, max_size=5
)


def histories(specs: list[tuple[int, int, int]]) -> list[tuple[int, ...]]:
    """Every assignment of true times that the errors and the processes' orders allow."""
    found = []
    for times in product(*(range(t - err, t + err + 1) for _, t, err in specs)):
        in_order = all(
            times[i] <= times[j]
            for i in range(len(specs))
            for j in range(i + 1, len(specs))
            if specs[i][0] == specs[j][0] != 2
        )
        if in_order:
            found.append(times)
    return found


@settings(max_examples=400, deadline=None)
@given(SPECS)
def test_the_known_order_is_what_all_possible_histories_agree_on(
    specs: list[tuple[int, int, int]],
) -> None:
    facts = [fact(process, number, t, err) for number, (process, t, err) in enumerate(specs)]
    moments = {id(moment.fact): moment for moment in moments_of(facts)}
    for process in (0, 1):
        own = [spec for spec in specs if spec[0] == process]
        broken = any(
            moments[id(one)].broken
            for one, spec in zip(facts, specs, strict=True)
            if spec[0] == process
        )
        assert broken == (bool(own) and not histories(own))
    possible = histories(specs)
    for i, j in product(range(len(specs)), repeat=2):
        if i == j or not possible:
            continue
        if specs[i][0] == specs[j][0] != 2:
            wanted = Known.BEFORE if i < j else Known.AFTER
        elif all(times[i] < times[j] for times in possible):
            wanted = Known.BEFORE
        elif all(times[i] > times[j] for times in possible):
            wanted = Known.AFTER
        else:
            wanted = Known.UNKNOWN
        assert compare(moments[id(facts[i])], moments[id(facts[j])]) is wanted


def test_a_guests_clock_that_runs_backwards_orders_nothing() -> None:
    late = link(10, "added", PRIMARY)
    early = link(20, "removed", PRIMARY).model_copy(update={"guest_ns": 5})

    one, other = moments_of([late, early])

    assert one.broken
    assert compare(one, other) is Known.UNKNOWN


def test_a_time_is_shown_with_its_error() -> None:
    (moment,) = moments_of([link(1500, "added", PRIMARY, err=0.4)])

    assert when(moment, 0) == "+1.500s±0.4ms"
