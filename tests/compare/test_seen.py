"""What a gate takes from a run: figures, findings, or that the run does not count.

The run is the recorded one of ``tests/cli/data/run``, and what its judging could have given.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.case import Endpoint, bind, load_case
from harness.compare import Seen, Side, broken_run, figures, measured_bounds, seen_run
from harness.record import RunDir
from harness.report import Result, judge_run, result_of
from harness.report.attributed import CountRange, SecondsRange
from harness.report.tcp_result import TcpResult
from harness.verdict import Outcome
from tests.case.files import HEAD, STEPS, TRAFFIC, write

RUN = Path(__file__).parents[1] / "cli" / "data" / "run"
LOST = Endpoint("inbound", "lost", "packets", 5)
DUPLICATES = "expect.streams.*.duplicates"


@pytest.fixture(scope="module")
def result() -> Result:
    return result_of(judge_run(RunDir.open(RUN)))


def seen(result: Result, *endpoints: Endpoint, measured: frozenset[str] = frozenset()) -> Seen:
    return seen_run(1, Side.CANDIDATE, result, endpoints, measured)


def doubted(result: Result) -> Result:
    streams = tuple(
        one.model_copy(update={"doubt": "the sender missed its rate"}) for one in result.streams
    )
    return result.model_copy(update={"streams": streams})


def turned(result: Result, path: str, outcome: Outcome) -> Result:
    findings = tuple(
        one.model_copy(update={"outcome": outcome}) if one.path == path else one
        for one in result.findings
    )
    assert findings != result.findings
    return result.model_copy(update={"findings": findings})


def test_a_recorded_run_gives_every_figure(result: Result) -> None:
    found = {name: one.value for name, one in figures(result).items()}

    assert found["inbound.lost"] == 257
    assert found["inbound.reordered"] == 4
    assert found["inbound.duplicates"] == 0
    assert found["inbound.interruption"] == 478.82601
    # 257 packets of 200/s.
    assert found["inbound.interruption_by_loss"] == 1285
    assert found["migration.downtime"] == 19
    assert found["migration.total_time"] == 796
    # From RESUME to the primary's being up, each within its error.
    begin, end = next((one.begin, one.end) for one in result.phases if one.phase == "return")
    assert begin is not None
    assert end is not None
    errors = [(one.to_s or 0) - (one.from_s or 0) for one in (begin, end)]
    back = figures(result)["migration.primary_back"]
    assert back.error == pytest.approx(500 * sum(errors))
    assert back.value == pytest.approx(
        500 * ((end.to_s or 0) + (end.from_s or 0) - (begin.to_s or 0) - (begin.from_s or 0))
    )


def test_a_run_that_gives_what_is_declared_counts(result: Result) -> None:
    assert seen(result, LOST, Endpoint("migration", "downtime", "ms", 20)).trouble == ""


def test_a_stream_in_doubt_makes_the_run_one_that_does_not_count(result: Result) -> None:
    assert seen(doubted(result), LOST).trouble == "inbound.lost: the sender missed its rate"


def test_a_doubt_about_what_is_not_declared_is_no_trouble(result: Result) -> None:
    assert seen(doubted(result), Endpoint("migration", "downtime", "ms", 20)).trouble == ""


def test_what_was_found_in_a_run_counts_whatever_its_figures_are_worth(result: Result) -> None:
    failed = turned(doubted(result), "expect.netdevs.end.g1.net1.primary", Outcome.FAILED)

    found = seen(failed, LOST)

    assert found.trouble
    assert found.judged
    assert found.failed("expect.netdevs.end.g1.net1.primary")


def test_a_broken_lab_was_not_judged() -> None:
    assert not broken_run(1, Side.CANDIDATE, "no space left").judged


def test_a_figure_known_worse_than_its_margin_tells_nothing(result: Result) -> None:
    # The 99.9th percentile of the delay variation is known to 0.87 ms here.
    fine = Endpoint("inbound", "delay_variation", "ms", 1)
    narrow = Endpoint("inbound", "delay_variation", "ms", 0.5)
    # A margin of 0 asks for any difference, and no time is known without an error.
    none = Endpoint("inbound", "delay_variation", "ms", 0)

    assert seen(result, fine).trouble == ""
    assert seen(result, none).trouble == ""
    assert seen(result, narrow).trouble == (
        "inbound.delay_variation: known to 0.869 ms only, and the margin is 0.5 ms"
    )


def test_of_several_migrations_the_largest_figure_counts(result: Result) -> None:
    first = result.migrations[0]
    second = first.model_copy(update={"downtime_ms": 40, "total_time_ms": 5})

    back = next(one for one in result.phases if one.phase == "return")
    assert back.end is not None
    later = back.end.model_copy(
        update={"from_s": (back.end.from_s or 0) + 1, "to_s": (back.end.to_s or 0) + 1}
    )
    longer = back.model_copy(update={"migration": 2, "end": later})

    found = figures(
        result.model_copy(
            update={"migrations": (first, second), "phases": (*result.phases, longer)}
        )
    )

    assert (found["migration.downtime"].value, found["migration.total_time"].value) == (40, 796)
    once = figures(result)["migration.primary_back"].value
    assert found["migration.primary_back"].value == pytest.approx((once or 0) + 1000)


def test_a_migration_that_did_not_complete_has_no_times(result: Result) -> None:
    without = result.migrations[0].model_copy(update={"downtime_ms": None})
    broken = result.model_copy(update={"migrations": (without,), "phases": ()})

    found = figures(broken)

    assert found["migration.downtime"].why == "QEMU told none of a migration"
    assert found["migration.primary_back"].why == (
        "migration 1 has no return of a primary on record"
    )


def test_the_figures_of_tcp_are_the_middle_of_what_is_known(result: Result) -> None:
    tcp = TcpResult(
        stream="down",
        sender="client",
        receiver="g1",
        rate_bit_s=8_000_000,
        total_octets=None,
        rate_tolerance=0.05,
        dscp=0,
        doubt="",
        retransmitted=41,
        stall_count=CountRange(at_least=1, at_most=3),
        longest_stall_s=SecondsRange(at_least=0.7, at_most=0.8),
    )
    endless = SecondsRange(at_least=0.7, at_most=None)

    found = figures(result.model_copy(update={"tcp": (tcp,)}))
    never = figures(
        result.model_copy(update={"tcp": (tcp.model_copy(update={"longest_stall_s": endless}),)})
    )

    assert (found["down.stall"].value, found["down.stall"].error) == (750, 50)
    assert (found["down.stalls"].value, found["down.stalls"].error) == (2, 1)
    assert found["down.retransmitted"].value == 41
    assert never["down.stall"].why == "at least 0.7s: it had no end on record"


def test_a_bound_of_every_stream_is_a_finding_of_each(result: Result) -> None:
    names = [name for name in seen(result).findings if name.startswith(DUPLICATES)]

    assert names == [
        f"{DUPLICATES} (stream inbound: duplicates == 0)",
        f"{DUPLICATES} (stream echo: duplicates == 0)",
    ]


def test_the_version_in_an_invariants_words_is_not_in_its_name(result: Result) -> None:
    assert "invariants.migration-states.source" in seen(result).findings


def test_a_measured_bound_is_kept_apart_from_what_must_never_be(tmp_path: Path) -> None:
    expect = (
        "expect:\n  streams:\n    inbound: {lost: '<= 200', reordered: {total: 0, after: '<= 3'},\n"
        "      interruption: '<= 1s',\n      path: {before: 'primary >= 80%', after: primary}}\n"
        "    '*': {duplicates: '<= 0'}\n"
    )
    bound = bind(load_case(write(tmp_path, HEAD + TRAFFIC + STEPS + expect)))

    assert measured_bounds(bound) == {
        "expect.streams.inbound.lost",
        "expect.streams.inbound.reordered.after",
        "expect.streams.inbound.interruption",
        "expect.streams.inbound.path.before",
    }


def test_a_measured_bound_of_a_run_is_no_invariant_of_it(result: Result) -> None:
    path = "expect.streams.inbound.lost"
    crossed = turned(result, path, Outcome.FAILED)

    found = seen(crossed, measured=frozenset({path}))

    assert list(found.bounds.values()) == [Outcome.FAILED]
    assert Outcome.FAILED not in found.findings.values()
