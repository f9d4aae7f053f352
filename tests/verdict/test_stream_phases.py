"""Bounds by phase, on interruption and on delay: where each fails, and where none can tell."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from harness.measure import StreamMetrics, Trace, measure_stream
from harness.observe import Fact
from harness.verdict import Finding, MeasuredStream, Outcome, judge
from tests.verdict.story import MS, Story, qmp
from tests.verdict.test_streams import FACT, echo, inbound, metrics

PASSED, FAILED, CANNOT = Outcome.PASSED, Outcome.FAILED, Outcome.CANNOT_TELL


def stream(
    *,
    lost: range | tuple[int, ...] = (),
    again: tuple[int, ...] = (),
    late: dict[int, float] | None = None,
    sent: int = 4000,
    err: float = 0,
    arrival_err: float = 0,
    period: float = 1.0,
) -> StreamMetrics:
    """A packet every ``period`` ms from 0 on, each 1 ms on its way.

    Number n is sent at n periods. ``late`` adds ms to the way of some. In the good story
    unplug is 1002 to 1250, precopy to 2000, stop-and-copy to 2020, return to 2600.
    """
    seq = np.arange(sent)
    t_ns = (seq * period * MS).astype(np.int64)
    came = [
        (int((number * period + 1 + (late or {}).get(number, 0)) * MS), number)
        for number in [*(n for n in range(sent) if n not in lost), *again]
    ]
    came.sort()
    arrivals = Trace(
        np.array([number for _, number in came], dtype=np.int64),
        np.array([at for at, _ in came], dtype=np.int64),
        np.full(len(came), int(arrival_err * MS), dtype=np.int64),
    )
    sends = Trace(seq, t_ns, np.full(sent, int(err * MS), dtype=np.int64))
    return measure_stream(
        sends,
        arrivals,
        rate=1000.0 / period,
        tmax_ns=2000 * MS,
        clock_err_ns=int((err + arrival_err) * MS),
        own_sends=Trace(seq, t_ns),
    )


def judged(
    folder: pathlib.Path,
    bounds: str,
    told: StreamMetrics,
    facts: dict[str, Fact | None] | None = None,
    **others: MeasuredStream,
) -> Finding:
    story = Story(
        folder,
        f"  streams: {{inbound: {{{bounds}}}}}\n",
        streams={"inbound": inbound(told), **others},
    )
    changed: dict[str, Fact | None] = {**story.facts, **(facts or {})}
    story.facts = {name: fact for name, fact in changed.items() if fact is not None}
    found = judge(story.evidence()).findings
    return next(one for one in found if one.path.startswith("expect.streams."))


STOPPED = tuple(range(2000, 2010))


@pytest.mark.parametrize(
    ("bounds", "told", "outcome"),
    [
        ("lost: {stop-and-copy: '<= 10'}", stream(lost=STOPPED), PASSED),
        ("lost: {stop-and-copy: '<= 9'}", stream(lost=STOPPED), FAILED),
        ("lost: {stop-and-copy: '<= 50%'}", stream(lost=STOPPED), PASSED),
        ("lost: {stop-and-copy: '<= 49%'}", stream(lost=STOPPED), FAILED),
        ("lost: {precopy: 0}", stream(lost=STOPPED), PASSED),
        ("lost: {return: 1}", stream(lost=STOPPED), FAILED),
        ("lost: {total: 10, after: 0}", stream(lost=STOPPED), PASSED),
        # Sent within 5 ms of a border: 1995 to 2005 may be on either side of STOP.
        ("lost: {stop-and-copy: '<= 10'}", stream(lost=STOPPED, err=5), PASSED),
        ("lost: {stop-and-copy: '<= 9'}", stream(lost=STOPPED, err=5), CANNOT),
        ("lost: {stop-and-copy: 10}", stream(lost=STOPPED, err=5), CANNOT),
        ("lost: {stop-and-copy: '<= 3'}", stream(lost=STOPPED, err=5), FAILED),
        ("lost: {stop-and-copy: '<= 20%'}", stream(lost=STOPPED, err=5), CANNOT),
        ("lost: {unplug: 0}", stream(lost=STOPPED, err=5), PASSED),
        ("reordered: {return: 0}", stream(late={2100: 5}), FAILED),
        ("reordered: {unplug: 0}", stream(late={2100: 5}), PASSED),
        ("reordered: {stop-and-copy: 0}", stream(late={2001: 5}, err=2), CANNOT),
        ("duplicates: {after: 0}", stream(again=(3000,)), FAILED),
        ("duplicates: {before: 0}", stream(again=(3000,)), PASSED),
        ("duplicates: {stop-and-copy: 0}", stream(again=(2001,), err=2), CANNOT),
        ("interruption: '<= 10ms'", stream(lost=STOPPED), PASSED),
        ("interruption: '<= 9ms'", stream(lost=STOPPED), FAILED),
        ("interruption: '<= 9.9ms'", stream(lost=STOPPED, arrival_err=0.4), CANNOT),
        ("interruption: '< 1s'", stream(lost=range(3990, 4000)), CANNOT),
        ("interruption: '< 1ms'", stream(lost=range(3990, 4000)), FAILED),
        ("interruption: {stop-and-copy: '<= 10ms'}", stream(lost=STOPPED), PASSED),
        ("interruption: {stop-and-copy: '<= 9ms'}", stream(lost=STOPPED), FAILED),
        ("interruption: {stop-and-copy: '<= 9ms'}", stream(lost=STOPPED, arrival_err=1), CANNOT),
        ("interruption: {unplug: '<= 1ms'}", stream(lost=STOPPED), PASSED),
        ("delay_variation: '<= 1ms'", stream(late={2100: 5}), PASSED),
        ("delay_variation: {max: '<= 5ms'}", stream(late={2100: 5}), PASSED),
        ("delay_variation: {max: '<= 4ms'}", stream(late={2100: 5}), FAILED),
        ("delay_variation: '<= 4ms'", stream(late=dict.fromkeys(range(9), 5.0)), FAILED),
        ("delay_variation: {max: '<= 5ms'}", stream(late={2100: 5}, arrival_err=0.1), CANNOT),
        ("delay_variation: {return: '<= 4ms'}", stream(late={2100: 5}), FAILED),
        ("delay_variation: {precopy: '<= 4ms'}", stream(late={2100: 5}), PASSED),
    ],
)
def test_a_bound_by_phase_is_judged_by_what_is_certain(
    bounds: str, told: StreamMetrics, outcome: Outcome, tmp_path: pathlib.Path
) -> None:
    assert judged(tmp_path, bounds, told).outcome is outcome


def test_the_reason_names_the_phase_its_borders_and_the_doubt(tmp_path: pathlib.Path) -> None:
    found = judged(tmp_path, "lost: {stop-and-copy: '<= 9'}", stream(lost=STOPPED, err=5))

    assert found.expectation == "stream inbound: lost in stop-and-copy <= 9"
    assert found.path == "expect.streams.inbound.lost.stop-and-copy"
    assert found.reason == (
        "5 to 10 of 10 to 30 sent in stop-and-copy (+2.000s to +2.020s); 20 were sent within the "
        "clocks' errors of a border"
    )


NO_PASS = [
    "lost: {stop-and-copy: '<= 9'}",
    "reordered: {stop-and-copy: 0}",
    "duplicates: {stop-and-copy: 0}",
    "interruption: {stop-and-copy: '<= 8ms'}",
    "delay_variation: {stop-and-copy: '<= 1ms'}",
]


@pytest.mark.parametrize("bounds", NO_PASS)
@pytest.mark.parametrize("missing", ["stop", "resume"])
def test_without_its_border_a_phase_cannot_be_told(
    bounds: str, missing: str, tmp_path: pathlib.Path
) -> None:
    told = stream(lost=STOPPED, late={2015: 3}, again=(2012,))

    found = judged(tmp_path, bounds, told, {missing: None})

    assert found.outcome is CANNOT
    assert "has no known time" in found.reason


@pytest.mark.parametrize("bounds", NO_PASS)
@pytest.mark.parametrize(
    ("told", "facts"),
    [
        (stream(lost=range(4000)), {}),  # an empty capture
        (stream(sent=0), {}),
        (stream(), {"negotiated": None, "resume": qmp(1900, "destination", "RESUME")}),
        (stream(), {"migrate begins": None}),
    ],
    ids=["nothing arrived", "nothing sent", "borders contradict", "no migration"],
)
def test_a_record_that_proves_nothing_by_phase_cannot_be_told(
    bounds: str, told: StreamMetrics, facts: dict[str, Fact | None], tmp_path: pathlib.Path
) -> None:
    assert judged(tmp_path, bounds, told, facts).outcome is CANNOT


@pytest.mark.parametrize("bounds", [one for one in NO_PASS if "interruption" not in one])
def test_a_phase_in_which_nothing_was_sent_cannot_be_told(
    bounds: str, tmp_path: pathlib.Path
) -> None:
    assert judged(tmp_path, bounds, stream(sent=1500)).outcome is CANNOT


def test_a_phase_in_which_all_was_lost_has_no_order_and_no_copies(tmp_path: pathlib.Path) -> None:
    gone = stream(lost=range(2000, 2020))

    for metric in ("reordered", "duplicates"):
        found = judged(tmp_path, f"{metric}: {{stop-and-copy: 0}}", gone)
        assert (found.outcome, "none certainly arrived" in found.reason) == (CANNOT, True)


def test_an_interruption_is_not_told_of_a_phase_that_the_stream_did_not_last(
    tmp_path: pathlib.Path,
) -> None:
    found = judged(tmp_path, "interruption: {return: '<= 1s'}", stream(sent=2300))

    assert (found.outcome, found.reason) == (CANNOT, "the stream had ended before return did")


def test_a_phase_that_did_not_occur_cannot_be_told(tmp_path: pathlib.Path) -> None:
    never: dict[str, Fact | None] = dict.fromkeys(("added", "enslaved", "up"))

    found = judged(tmp_path, "lost: {after: 0}", stream(), never)

    assert (found.outcome, found.reason) == (CANNOT, "there was no phase `after` in this run")


def test_one_packet_has_no_order_in_the_whole_run_either(tmp_path: pathlib.Path) -> None:
    found = judged(tmp_path, "reordered: 0", metrics(lost=tuple(range(999))))

    assert found.outcome is CANNOT


@pytest.mark.parametrize(
    ("bounds", "witness", "outcome"),
    [
        ("lost: {stop-and-copy: 0}", stream(lost=STOPPED), FAILED),
        ("lost: {stop-and-copy: 0}", stream(lost=(3000,)), CANNOT),
        ("interruption: '<= 1ms'", stream(lost=(3000,)), FAILED),
        ("interruption: '<= 1ms'", stream(), CANNOT),
    ],
)
def test_what_only_icmp_saw_in_a_phase_needs_a_second_witness_there(
    bounds: str, witness: StreamMetrics, outcome: Outcome, tmp_path: pathlib.Path
) -> None:
    told = stream(sent=400, period=10, lost=(200, 201))
    story = Story(
        tmp_path,
        f"  streams: {{echo: {{{bounds}}}}}\n",
        streams={"echo": echo(told), "inbound": inbound(witness)},
    )

    found = [one for one in judge(story.evidence()).findings if "streams" in one.path]

    assert found[0].outcome is outcome


def test_the_fact_of_the_tests_is_the_stream_of_the_case() -> None:
    assert (FACT.rate, FACT.tmax_ns) == (1000, 2000 * MS)
