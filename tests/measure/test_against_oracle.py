"""Every metric equals the RFC's text on generated traces: wraps, copies, lost ends, lateness."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.measure import StreamMetrics, Trace, measure_stream
from tests.measure.oracle import Oracle

RATE = 1000.0
PERIOD = 1_000_000
TMAX = 20 * PERIOD

Case = tuple[list[tuple[int, int]], list[tuple[int, int]], int | None]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Sends, arrivals in the order of their times, and a PDV bound."""
    count = draw(st.integers(0, 24))
    first = draw(st.sampled_from([0, 5, 2**32 - 7, 2**32 - 1]))
    gaps = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    numbers, sends = first, []
    for k in range(count):
        sends.append((numbers % 2**32, k * PERIOD))
        numbers += 1 + (gaps[k] == 3)  # sometimes a number that was not sent
    copies = st.lists(st.integers(0, 30 * PERIOD), max_size=3)
    arrivals = [
        (seq, t_ns + delay)
        for seq, t_ns in sends
        for delay in draw(copies if draw(st.booleans()) else st.just([PERIOD]))
    ]
    if count and draw(st.booleans()):
        arrivals.append(((sends[-1][0] + 9) % 2**32, count * PERIOD))
    arrivals.sort(key=lambda arrival: arrival[1])
    return sends, arrivals, draw(st.one_of(st.none(), st.integers(0, 10 * PERIOD)))


def measured(case: Case) -> StreamMetrics:
    sends, arrivals, bound = case
    return measure_stream(
        Trace.of([s for s, _ in sends], [t for _, t in sends]),
        Trace.of([s for s, _ in arrivals], [t for _, t in arrivals]),
        rate=RATE, tmax_ns=TMAX, pdv_bound_ns=bound,
    )  # fmt: skip


@given(cases())
@example(([], [], None))
@example(([(0, 0)], [], 0))
@example(([(2**32 - 1, 0), (0, PERIOD)], [(0, PERIOD), (2**32 - 1, PERIOD)], None))
@settings(max_examples=400, deadline=None)
def test_every_metric_is_what_the_rfc_says(case: Case) -> None:
    found, wanted = measured(case), Oracle(case[0], case[1], TMAX)
    lost, order, copies = wanted.lost, wanted.order, wanted.copies

    assert found.sent == len(case[0])
    assert (found.late, found.strangers) == (wanted.late, wanted.strangers)
    assert (found.lost, found.distinct) == (len(lost), len(order))
    assert [(p.first, p.length) for p in found.loss.periods] == wanted.loss_periods
    assert [p.seq for p in found.loss.periods] == [case[0][p][0] for p, _ in wanted.loss_periods]
    assert found.loss.distances.tolist() == wanted.loss_distances
    assert found.loss.between.tolist() == wanted.between_periods

    assert found.reordered == len(wanted.reordered)
    assert found.order.seq.tolist() == [case[0][order[i]][0] for i in wanted.reordered]
    assert found.order.extents.tolist() == wanted.extents
    assert found.order.degrees.tolist() == wanted.degrees
    assert found.order.free_runs.tolist() == wanted.free_runs
    for n in (1, 2, 3):
        assert found.order.n_reordered(n) == sum(degree >= n for degree in wanted.degrees)

    assert found.arrivals == sum(copies)
    assert found.extra_copies == sum(copies) - len(order)
    assert found.copies.duplicated == sum(count > 1 for count in copies)
    assert found.copies.most_copies == max(copies, default=0)


@given(cases())
@settings(max_examples=200, deadline=None)
def test_delay_variation_is_what_the_rfc_says(case: Case) -> None:
    found, wanted = measured(case).delay, Oracle(case[0], case[1], TMAX)
    pdv, ipdv = wanted.pdv, wanted.ipdv
    shares = [(found.pdv_p50_ns, 0.5), (found.pdv_p95_ns, 0.95), (found.pdv_p99_ns, 0.99)]
    for value, share in shares:
        # the smallest value with at least that share of the packets at or below it
        assert value == (pdv[max(0, math.ceil(share * len(pdv)) - 1)] if pdv else None)
    assert found.pdv_max_ns == (pdv[-1] if pdv else None)
    assert (found.packets, found.ipdv_pairs) == (len(pdv), len(ipdv))
    assert found.ipdv_min_ns == (min(ipdv) if ipdv else None)
    assert found.ipdv_max_ns == (max(ipdv) if ipdv else None)


@given(cases())
@settings(max_examples=200, deadline=None)
def test_the_three_interruptions_are_what_their_definitions_say(case: Case) -> None:
    found, wanted = measured(case).interruption, Oracle(case[0], case[1], TMAX)
    impaired, sends = wanted.impaired(case[2]), case[0]
    assert found.impaired == len(impaired)
    if not sends:
        assert (found.by_loss_ns, found.by_time_ns, found.impaired_ns) == (None, None, None)
        return
    assert found.by_loss_ns == len(wanted.lost) * PERIOD
    assert found.impaired_ns == (sends[impaired[-1]][1] - sends[impaired[0]][1] if impaired else 0)
    delays = wanted.delays
    times = sorted(sends[place][1] + delay for place, delay in delays.items())
    widest = max((b - a for a, b in pairwise(times)), default=None)
    assert found.by_time_ns == (None if widest is None else max(0, widest - PERIOD))
    got = sorted(delays)
    ends = got[0] + len(sends) - 1 - got[-1] if got else len(sends)
    assert found.unbracketed == ends
