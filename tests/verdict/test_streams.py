"""Bounds on streams: within, beyond, and the many ways in which nothing can be told."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest

from harness.measure import StreamMetrics, Trace, measure_stream
from harness.observe import StreamFact
from harness.verdict import Finding, MeasuredStream, Outcome, judge
from tests.verdict.story import MS, Story

FACT = StreamFact(
    t_ns=0,
    stream="inbound",
    protocol="udp",
    sender="client",
    receiver="g1",
    rate=1000,
    size=128,
    tmax_ns=2000 * MS,
    sends="streams/inbound.sends",
    arrivals="streams/inbound.arrivals",
    sends_clock="run",
    arrivals_clock="run",
    complete=True,
)


def metrics(
    *,
    sent: int = 1000,
    lost: tuple[int, ...] = (),
    swap: tuple[int, ...] = (),
    again: tuple[int, ...] = (),
    rate: float = 1000.0,
) -> StreamMetrics:
    """A stream of which some numbers are lost, come after their successor, or come twice."""
    seq = np.arange(sent)
    t_ns = (seq * 1e9 / rate).astype(np.int64)
    order = [number for number in range(sent) if number not in lost]
    for number in swap:
        at = order.index(number)
        order[at], order[at + 1] = order[at + 1], order[at]
    order += list(again)
    arrivals = Trace.of(order, [int(t_ns[number]) + MS for number in order])
    return measure_stream(Trace.of(seq, t_ns), arrivals, rate=rate, tmax_ns=2000 * MS)


def bound(folder: pathlib.Path, expect: str, **streams: MeasuredStream) -> Finding:
    story = Story(folder, f"  streams: {{{expect}}}\n", streams=streams)
    found = judge(story.evidence()).findings
    return next(one for one in found if one.path.startswith("expect.streams."))


def inbound(told: StreamMetrics | None, **fact: object) -> MeasuredStream:
    return MeasuredStream("inbound", FACT.model_copy(update=fact), told)


def echo(told: StreamMetrics) -> MeasuredStream:
    fact = FACT.model_copy(update={"stream": "echo", "protocol": "icmp-echo", "rate": 100})
    return MeasuredStream("echo", fact, told)


LOST = metrics(lost=(3, 4, 5))


@pytest.mark.parametrize(
    ("expect", "told", "outcome"),
    [
        ("inbound: {lost: 0}", metrics(), Outcome.PASSED),
        ("inbound: {lost: 0}", LOST, Outcome.FAILED),
        ("inbound: {lost: 3}", LOST, Outcome.PASSED),
        ("inbound: {lost: '<= 3'}", LOST, Outcome.PASSED),
        ("inbound: {lost: '<= 2'}", LOST, Outcome.FAILED),
        ("inbound: {lost: '< 3'}", LOST, Outcome.FAILED),
        ("inbound: {lost: '>= 1'}", metrics(), Outcome.FAILED),
        ("inbound: {lost: '> 3'}", LOST, Outcome.FAILED),
        ("inbound: {lost: '<= 0.3%'}", LOST, Outcome.PASSED),
        ("inbound: {lost: '<= 0.2%'}", LOST, Outcome.FAILED),
        ("inbound: {reordered: 0}", metrics(), Outcome.PASSED),
        ("inbound: {reordered: 0}", metrics(swap=(7,)), Outcome.FAILED),
        ("inbound: {reordered: 1}", metrics(swap=(7,)), Outcome.PASSED),
        ("inbound: {duplicates: 0}", metrics(), Outcome.PASSED),
        ("inbound: {duplicates: 0}", metrics(again=(998, 999)), Outcome.FAILED),
        ("inbound: {duplicates: '<= 2'}", metrics(again=(998, 999)), Outcome.PASSED),
    ],
)
def test_a_count_is_compared_with_its_bound(
    expect: str, told: StreamMetrics, outcome: Outcome, tmp_path: pathlib.Path
) -> None:
    assert bound(tmp_path, expect, inbound=inbound(told)).outcome is outcome


def test_duplicates_never_offset_losses(tmp_path: pathlib.Path) -> None:
    told = metrics(lost=(3, 4), again=(998, 999))

    assert told.arrivals == told.sent
    assert bound(tmp_path, "inbound: {lost: 0}", inbound=inbound(told)).outcome is Outcome.FAILED


def test_the_reason_gives_the_count_and_the_share(tmp_path: pathlib.Path) -> None:
    found = bound(tmp_path, "inbound: {lost: 0}", inbound=inbound(LOST))

    assert found.reason == "3 of 1000 sent (0.3%)"
    assert found.expectation == "stream inbound: lost == 0"


UNTOLD = {
    "no record": ({}, "the stream left no record"),
    "cut off": (
        {"inbound": inbound(metrics(), complete=False, problem="the sink was killed")},
        "its record is incomplete: the sink was killed",
    ),
    "capture drops": (
        {"inbound": inbound(metrics(), problem="the capture dropped 12 packets")},
        "the capture dropped 12 packets",
    ),
    "damaged": (
        {"inbound": MeasuredStream("inbound", FACT, None, "inbound.sends: cut off")},
        "inbound.sends: cut off",
    ),
    "not measured": (
        {"inbound": inbound(None)},
        "its records were not reduced to metrics",
    ),
    "nothing sent": ({"inbound": inbound(metrics(sent=0))}, "nothing was sent"),
    "nothing arrived": (
        {"inbound": inbound(metrics(lost=tuple(range(1000))))},
        "of 1000 sent nothing arrived: it never flowed, or its capture saw nothing",
    ),
    "strangers": (
        {"inbound": inbound(dataclasses.replace(metrics(), strangers=3))},
        "3 packets arrived whose numbers were never sent",
    ),
    "one sent": (
        {"inbound": inbound(metrics(sent=1))},
        "1 sent, too few to tell whether the sender kept its rate",
    ),
    "rate missed": (
        {"inbound": inbound(metrics(rate=900.0))},
        "the sender missed its rate: 900.0/s instead of 1000/s, more than 5% off "
        "(largest gap between two sends 1.1ms)",
    ),
    "identity": (
        {"inbound": inbound(dataclasses.replace(metrics(), lost=5))},
        "the counts contradict each other: sent 1000, but distinct received 1000 + lost 5 = 1005",
    ),
    "other identity": (
        {"inbound": inbound(dataclasses.replace(metrics(), arrivals=5))},
        "the counts contradict each other: 5 arrivals, but distinct 1000 + extra copies 0",
    ),
}


@pytest.mark.parametrize("metric", ["lost", "reordered", "duplicates"])
@pytest.mark.parametrize("name", UNTOLD)
def test_a_record_that_proves_nothing_cannot_be_told(
    name: str, metric: str, tmp_path: pathlib.Path
) -> None:
    streams, reason = UNTOLD[name]

    found = bound(tmp_path, f"inbound: {{{metric}: 0}}", **streams)

    assert (found.outcome, found.reason) == (Outcome.CANNOT_TELL, reason)


def test_a_loss_that_only_icmp_saw_is_not_charged_to_the_network(tmp_path: pathlib.Path) -> None:
    told = echo(metrics(sent=200, lost=(7,), rate=100.0))

    alone = bound(tmp_path, "echo: {lost: 0}", echo=told, inbound=inbound(metrics()))
    witnessed = bound(tmp_path, "echo: {lost: 0}", echo=told, inbound=inbound(LOST))

    assert alone.outcome is Outcome.CANNOT_TELL
    assert "kernels limit the rate of their ICMP replies" in alone.reason
    assert witnessed.outcome is Outcome.FAILED
    assert witnessed.reason == "1 of 200 sent (0.5%); UDP stream inbound lost 3 too"


def test_a_bound_for_every_stream_is_judged_for_each(tmp_path: pathlib.Path) -> None:
    story = Story(
        tmp_path,
        '  streams: {"*": {duplicates: 0}}\n',
        streams={
            "inbound": inbound(metrics()),
            "echo": echo(metrics(sent=200, again=(199,), rate=100.0)),
        },
    )

    found = [one for one in judge(story.evidence()).findings if "streams" in one.path]

    assert [(one.expectation, one.outcome) for one in found] == [
        ("stream inbound: duplicates == 0", Outcome.PASSED),
        ("stream echo: duplicates == 0", Outcome.FAILED),
    ]
