"""The path of every packet, against a classifier that looks at one packet at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RecordError
from harness.measure import Counts, Trace, delays, measure_stream, split
from harness.measure.paths import PATHS, LegSeen, PathCounts, check, paths_taken, seen_among

RATE = 1000.0
MS = 1_000_000
WRAP = 1 << 32


def slow_path(number: int, received: bool, legs: list[tuple[list[int], list[int] | None]]) -> str:
    """What the table in ``harness.measure.paths`` says, read aloud for one packet."""
    ways: list[set[str]] = []
    for place, (standby, primary) in enumerate(legs):
        way = set()
        if number in standby:
            way.add("standby")
        if primary is not None and number in primary:
            way.add("primary")
        if primary is None and number not in standby:
            # Without a tap: it has gone this leg if anything shows that it came further.
            later = any(number in leg[0] for leg in legs[place + 1 :])
            if received or later:
                way.add("primary")
        ways.append(way)
    seen = set().union(*ways)
    if received and not all(ways):
        return "unknown"
    if seen == {"standby", "primary"}:
        return "both"
    if seen:
        return seen.pop()
    return "not-standby" if legs[0][1] is None else "neither"


@st.composite
def situations(
    draw: st.DrawFn,
) -> tuple[Trace, Trace, list[tuple[list[int], list[int] | None]]]:
    """A short stream, perhaps over the wrap of its numbers and with holes in them; arrivals in
    any order, doubled and lost; one or two legs, with strange numbers among those seen."""
    count = draw(st.integers(1, 12))
    steps = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    seq = (np.cumsum(steps) + draw(st.sampled_from([0, WRAP - 8]))) % WRAP
    places = draw(st.lists(st.integers(0, count - 1), max_size=18))
    times = [place * MS + draw(st.integers(0, 12)) * MS for place in places]
    numbers = st.lists(st.one_of(st.sampled_from(seq.tolist()), st.integers(0, 30)), max_size=16)
    tapped = draw(st.booleans())
    legs = [
        (draw(numbers), draw(numbers) if tapped else None) for _ in range(draw(st.integers(1, 2)))
    ]
    return Trace.of(seq, np.arange(count) * MS), Trace.of(seq[places], times), legs


def fast(legs: list[tuple[list[int], list[int] | None]]) -> list[LegSeen]:
    def array(numbers: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array(numbers, dtype=np.int64)

    return [
        LegSeen(array(standby), None if primary is None else array(primary))
        for standby, primary in legs
    ]


@given(situation=situations())
def test_each_packet_has_the_path_that_the_slow_classifier_gives_it(
    situation: tuple[Trace, Trace, list[tuple[list[int], list[int] | None]]],
) -> None:
    sends, arrivals, legs = situation
    matched = measure_stream(sends, arrivals, rate=RATE, tmax_ns=9 * MS).matched
    got = matched.received.tolist()

    taken = paths_taken(matched, fast(legs))

    assert [PATHS[code] for code in taken.code] == [
        slow_path(number, received, legs)
        for number, received in zip(sends.seq.tolist(), got, strict=True)
    ]


@given(situation=situations())
def test_the_paths_counts_sum_to_the_totals_and_are_those_of_their_packets(
    situation: tuple[Trace, Trace, list[tuple[list[int], list[int] | None]]],
) -> None:
    sends, arrivals, legs = situation
    metrics = measure_stream(sends, arrivals, rate=RATE, tmax_ns=9 * MS)
    matched = metrics.matched
    taken = paths_taken(matched, fast(legs))

    counts = taken.counts(split(matched, []).weights, delays(matched))

    check(counts, Counts(metrics.sent, metrics.lost, metrics.reordered, metrics.extra_copies))
    smallest = min(
        (int(at - matched.sent_ns[place]) for at, place in zip(
            matched.arrived_ns[matched.first], matched.index[matched.first], strict=True)),
        default=0,
    )  # fmt: skip
    for path, one in counts.items():
        mine = [place for place, code in enumerate(taken.code) if PATHS[code] == path]
        assert one.sent == len(mine)
        assert one.lost == sum(not matched.received[place] for place in mine)
        assert one.received == one.sent - one.lost
        delay = [
            int(at - matched.sent_ns[place]) - smallest
            for at, place, first in zip(
                matched.arrived_ns, matched.index, matched.first, strict=True
            )
            if first and place in mine
        ]
        assert (one.delay_variation is None) == (not delay)
        if one.delay_variation is not None:
            assert one.delay_variation.low_ns == one.delay_variation.high_ns == max(delay)


def test_counts_that_do_not_sum_to_the_total_are_an_error() -> None:
    counts = PathCounts(sent=3, received=3, lost=0, reordered=0, duplicates=0, delay_variation=None)

    with pytest.raises(RecordError, match="paths' counts of sent contradict the total: 3 instead"):
        check({"standby": counts}, Counts(4, 0, 0, 0))


def test_numbers_are_found_across_their_wrap_and_strangers_are_not() -> None:
    seq = np.array([WRAP - 2, WRAP - 1, 0, 3])

    assert seen_among(seq, np.array([3, WRAP - 1, 1, 77])).tolist() == [False, True, False, True]
    assert seen_among(seq[:0], np.array([1])).tolist() == []
