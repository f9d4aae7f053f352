"""Bounds on TCP streams: within, beyond, and the many ways in which nothing can be told."""

from __future__ import annotations

import errno
import pathlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.observe import GuestClock
from harness.traffic.tcprecord import TcpRow
from harness.verdict import Outcome
from tests.verdict.story import MS
from tests.verdict.tcp_story import FACT, OCTETS, TcpStory, account, judged

PASSED, FAILED, CANNOT = Outcome.PASSED, Outcome.FAILED, Outcome.CANNOT_TELL

# 150 ms of unplug, 350 ms of precopy; up to 100 ms of it may be a pause of the sender
STALLED = {"sink": account("sink", stalls=[(1100, 1600)])}
SHORT = {"sink": account("sink", stalls=[(1100, 1250)])}
SILENT = {"sink": account("sink", silent=1500, octets=1_000_000)}
AGAIN = {"sender": account("sender", segments=3)}
EARLY = {"fact": FACT.model_copy(update={"stopped_ns": 2500 * MS})}
LATE = {"fact": FACT.model_copy(update={"flowing_ns": 1100 * MS})}
WRONG = {"sink": account("sink", corrupt=2, first_corrupt=77_777)}
BROKEN = {
    "sender": account("sender", broken=errno.ETIMEDOUT, unacknowledged=30_000),
    "sink": account("sink", silent=1500, octets=1_000_000),
}


@pytest.mark.parametrize(
    ("bounds", "told", "outcome", "reason"),
    [
        ("intact: true", {}, PASSED, f"{OCTETS} of {OCTETS} octets came, each in its place"),
        ("intact: true", WRONG, FAILED, "2 wrong, the first at octet 77777"),
        ("intact: true", SILENT, FAILED, "1000000 of 2990000 octets came, the receiver did not"),
        ("intact: true", BROKEN, FAILED, "the sender's connection broke: ETIMEDOUT, 30000 octets"),
        ("stall: '<= 100ms'", {}, PASSED, "none of more than 100ms"),
        ("stall: '<= 99ms'", {}, CANNOT, "none of more than 100ms"),
        ("stall: '<= 501ms'", STALLED, PASSED, "400.0ms to 500.0ms"),
        ("stall: '<= 499ms'", STALLED, CANNOT, "400.0ms to 500.0ms"),
        ("stall: '< 400ms'", STALLED, FAILED, "400.0ms to 500.0ms"),
        ("stall: '>= 501ms'", STALLED, FAILED, "400.0ms to 500.0ms"),
        ("stall: '<= 1s'", SILENT, FAILED, "at least 1400.0ms"),
        ("stall: '<= 1min'", SILENT, CANNOT, "at least 1400.0ms"),
        ("stall: {before: '<= 100ms'}", STALLED, PASSED, "none of more than 100ms in before"),
        ("stall: {unplug: '<= 151ms'}", STALLED, PASSED, "50.0ms to 150.0ms in unplug"),
        ("stall: {unplug: '<= 49ms'}", STALLED, FAILED, "50.0ms to 150.0ms in unplug"),
        ("stall: {precopy: '<= 350ms'}", STALLED, PASSED, "250.0ms to 350.0ms in precopy"),
        ("stall: {precopy: '<= 249ms'}", STALLED, FAILED, "250.0ms to 350.0ms in precopy"),
        ("stall: {stop-and-copy: '<= 20ms'}", STALLED, PASSED, "0.0ms to 20.0ms"),
        ("stall: {stop-and-copy: '<= 19ms'}", STALLED, CANNOT, "0.0ms to 20.0ms"),
        ("stall: {after: '<= 100ms'}", STALLED, PASSED, "none of more than 100ms in after"),
        ("stall: {after: '<= 9s'}", EARLY, CANNOT, "the stream had ended before after began"),
        ("stall: {return: '<= 9s'}", EARLY, CANNOT, "the stream had ended before return did"),
        ("stall: {before: '<= 9s'}", LATE, CANNOT, "the stream had not begun when before ended"),
        ("stall: {unplug: '<= 9s'}", LATE, CANNOT, "the stream had not begun when unplug began"),
        ("stalls: 0", {}, PASSED, "0 of more than 100ms"),
        ("stalls: '<= 1'", STALLED, PASSED, "1 of more than 100ms (400.0ms to 500.0ms at +1.1"),
        ("stalls: 0", STALLED, FAILED, "1 of more than 100ms"),
        ("stalls: '>= 2'", STALLED, FAILED, "1 of more than 100ms"),
        ("stalls: '<= 1'", SHORT, PASSED, "0 to 1 of more than 100ms"),
        ("stalls: 0", SHORT, CANNOT, "0 to 1 of more than 100ms"),
        ("retransmitted: 0", {}, PASSED, "0 segments"),
        ("retransmitted: '<= 3'", AGAIN, PASSED, "3 segments"),
        ("retransmitted: '<= 2'", AGAIN, FAILED, "3 segments"),
    ],
)
def test_a_figure_is_compared_with_its_bound(
    bounds: str, told: dict[str, Any], outcome: Outcome, reason: str, tmp_path: pathlib.Path
) -> None:
    found = judged(tmp_path, bounds, **told)

    assert (found.outcome, reason in found.reason) == (outcome, True), found.reason


def rows_of(sink: bool = True, **changed: Any) -> dict[str, Any]:
    """The record of one end with fields replaced."""
    name = "sink" if sink else "sender"
    return {name: replace(account("sink" if sink else "sender"), **changed)}


UNTOLD: dict[str, tuple[dict[str, Any], str]] = {
    "no fact": ({"fact": None}, "the stream left no record"),
    "incomplete": (
        {"fact": FACT.model_copy(update={"complete": False, "problem": "its sink was killed"})},
        "its record is incomplete: its sink was killed",
    ),
    "another rate": (
        {"fact": FACT.model_copy(update={"rate": 80})},
        "it was recorded on other terms than the case's: rate 80 instead of 8000000",
    ),
    "another receiver": (
        {"fact": FACT.model_copy(update={"receiver": "g2"})},
        "it was recorded on other terms than the case's: receiver g2 instead of g1",
    ),
    "rows missing": (rows_of(missing=4), "sink.json: 4 rows found no room"),
    "another clock": (rows_of(clock="guest"), "is a sink's on the guest's clock, not a sink's on"),
    "the wrong end": ({"sink": account("sender")}, "is a sender's on the run's clock, not a sink"),
    "another stream": (rows_of(stream_id=9), "records of two streams"),
    "never connected": (
        {
            "sender": account("sender", connected=False, octets=0, broken=errno.ECONNREFUSED),
            "sink": account("sink", connected=False, octets=0),
        },
        "its sender never connected (ECONNREFUSED)",
    ),
    "nothing sent": (
        {"sender": account("sender", octets=0), "sink": account("sink", octets=0)},
        "nothing was sent",
    ),
    "nothing arrived": ({"sink": account("sink", octets=0)}, "nothing arrived: it never flowed"),
    "more than was sent": (
        {"sink": account("sink", octets=OCTETS + 1)},
        "contradict each other: 2990001 octets received, 2990000 sent",
    ),
    "octets that no row has": (
        rows_of(rows=(TcpRow(3000 * MS, "progress", 5),)),
        "contradicts itself: 5 octets in rows, 2990000 in all",
    ),
    "a stall that no row has": (
        {"sink": account("sink", longest_stall_ns=9**9)},
        "the longest stall is 0 us in rows",
    ),
    "a stall that is not counted": (
        rows_of(rows=(TcpRow(3000 * MS, "progress", OCTETS), TcpRow(3000 * MS, "stall", 0))),
        "contradicts itself: 1 stalls in rows, 0 in all",
    ),
    "retransmissions that no row has": (
        rows_of(False, totals=replace(account("sender").totals, retransmitted=3)),
        "no retransmissions in rows, 3 in all",
    ),
    "a wrong octet nowhere": ({"sink": account("sink", corrupt=1)}, "1 wrong octets, the first at"),
    "a clock that ran backwards": (
        {"sink": account("sink", stalls=[(2900, 3100)])},
        "contradicts itself: its clock ran backwards",
    ),
    "a row of no kind": (
        rows_of(rows=(TcpRow(1, "x", 0), TcpRow(3000 * MS, "progress", OCTETS))),  # type: ignore[arg-type]
        "contradicts itself: rows of kind x",
    ),
    "a sender that missed its rate": (
        {"sender": account("sender", moved_ns=400 * MS)},
        "its sender missed its rate without stalls: it stayed 0.4s of 3.4s behind, more than 5%",
    ),
}
METRICS = ["intact: true", "stall: '<= 1min'", "stalls: '<= 99'", "retransmitted: '<= 99'"]


@pytest.mark.parametrize("bounds", METRICS)
@pytest.mark.parametrize("name", UNTOLD)
def test_a_record_that_proves_nothing_cannot_be_told(
    name: str, bounds: str, tmp_path: pathlib.Path
) -> None:
    changes, reason = UNTOLD[name]

    found = judged(tmp_path, bounds, **changes)

    assert (found.outcome, reason in found.reason) == (CANNOT, True), found.reason


def lose(path: pathlib.Path) -> None:
    path.unlink()


def cut_off(path: pathlib.Path) -> None:
    path.write_text(path.read_text()[:-40])


def empty(path: pathlib.Path) -> None:
    path.write_text("")


def another_shape(path: pathlib.Path) -> None:
    path.write_text("[]")


@pytest.mark.parametrize("bounds", METRICS)
@pytest.mark.parametrize("harm", [lose, cut_off, empty, another_shape])
@pytest.mark.parametrize("file", [FACT.sender_record, FACT.sink_record])
def test_a_damaged_file_cannot_be_told(
    file: str, harm: Callable[[pathlib.Path], None], bounds: str, tmp_path: pathlib.Path
) -> None:
    story = TcpStory(tmp_path, f"{{down: {{{bounds}}}}}")
    story.record()
    harm(story.run.file(file))

    (found,) = story.findings()

    assert found.outcome is CANNOT
    assert file in found.reason
    assert str(tmp_path) not in found.reason


@pytest.mark.parametrize("bounds", METRICS)
def test_a_stream_that_had_sent_all_before_the_migration_was_over_says_nothing_of_it(
    bounds: str, tmp_path: pathlib.Path
) -> None:
    early = {
        "flow": "rate: 8Mbit/s, octets: 2990000",
        "fact": FACT.model_copy(update={"octets": OCTETS}),
        "sender": account("sender", end=2500),
    }

    found = judged(tmp_path, bounds, **early)

    assert found.outcome is CANNOT
    assert found.reason == (
        "it had sent all its 2990000 octets at +2.500s, before g1's primary is up (+2.600s): let "
        "it go on for longer"
    )


def test_a_stream_that_was_stopped_before_it_had_sent_all_cannot_be_told(
    tmp_path: pathlib.Path,
) -> None:
    fact = FACT.model_copy(update={"octets": OCTETS + 1})

    found = judged(tmp_path, "intact: true", flow="rate: 8Mbit/s, octets: 2990001", fact=fact)

    assert found.outcome is CANNOT
    assert "stopped when it had sent 2990000 of 2990001 octets" in found.reason


def test_a_stall_may_be_a_pause_of_a_sender_that_stayed_behind(tmp_path: pathlib.Path) -> None:
    sender = account("sender", moved_ns=120 * MS)

    found = judged(tmp_path, "stall: '<= 500ms'", sender=sender, **STALLED)

    assert found.reason == "280.0ms to 500.0ms"


def test_how_far_a_sender_may_stay_behind_is_said_in_the_case(tmp_path: pathlib.Path) -> None:
    sender = account("sender", moved_ns=400 * MS)

    found = judged(tmp_path, "intact: true", sender=sender, rest=", rate_tolerance: 20%")

    assert found.outcome is PASSED


def test_a_sender_that_stood_still_because_its_socket_took_nothing_kept_its_rate(
    tmp_path: pathlib.Path,
) -> None:
    sender = account("sender", stalls=[(1000, 2000)], moved_ns=900 * MS)

    found = judged(tmp_path, "stall: '<= 501ms'", sender=sender, **STALLED)

    assert (found.outcome, found.reason) == (PASSED, "400.0ms to 500.0ms")


def test_a_star_holds_for_each_stream_that_it_fits(tmp_path: pathlib.Path) -> None:
    others = "  echo: {from: client, to: g1, icmp-echo: {rate: 100/s, size: 64}}\n"

    found = TcpStory(
        tmp_path, '{"*": {lost: 0, intact: true, stalls: 0}}', others=others
    ).findings()

    assert {(one.expectation, one.outcome) for one in found} == {
        ("stream down: intact", PASSED),
        ("stream down: stalls == 0", PASSED),
        ("stream echo: lost == 0", CANNOT),
    }


# -- a receiver whose clock stands still while its guest is stopped ----------------------------


def on_the_guests_clock(
    folder: pathlib.Path, bounds: str, *, stalls: list[tuple[float, float]]
) -> TcpStory:
    """The guest was stopped from 2000 to 2300; its clock is the run's until then."""
    story = TcpStory(folder, f"{{down: {{{bounds}}}}}")
    story.fact = FACT.model_copy(update={"sink_clock": "guest"})
    story.sink = replace(account("sink", stalls=stalls, end=2700), clock="guest")
    for name in ("resume", "d completed", "s completed", "migrate ends", "wait begins"):
        fact = story.facts[name]
        story.facts[name] = fact.model_copy(update={"t_ns": fact.t_ns + 280 * MS})
    for at in (*range(0, 2000, 100), *range(2301, 3002, 100)):
        story.facts[f"clock {at}"] = GuestClock(
            t_ns=at * MS, err_ns=0, guest="g1", guest_ns=(at if at < 2000 else at - 300) * MS
        )
    return story


def test_a_stall_is_as_long_as_the_run_and_not_the_guest_says(tmp_path: pathlib.Path) -> None:
    # by the guest's clock 1950 to 2100
    story = on_the_guests_clock(tmp_path, "stall: '<= 2s'", stalls=[(1950, 2100)])

    (found,) = story.findings()
    (stall,) = story.evidence().tcp["down"].stalls

    assert found.outcome is PASSED
    assert abs(stall.from_lo - 1950 * MS) < MS
    assert abs(stall.to_hi - 2400 * MS) < MS
    assert found.reason.startswith("349.")
    assert found.reason.endswith(("to 450.0ms", "to 450.1ms"))


def test_a_stall_of_which_the_guest_saw_too_little_is_told_by_its_stop(
    tmp_path: pathlib.Path,
) -> None:
    story = on_the_guests_clock(tmp_path, "stall: '<= 299ms'", stalls=[])

    (found,) = story.findings()

    assert (found.outcome, found.reason) == (FAILED, "300.0ms to 400.0ms")


def test_the_time_in_which_a_guest_was_stopped_is_nobodys_pause(tmp_path: pathlib.Path) -> None:
    story = on_the_guests_clock(
        tmp_path, "stall: {stop-and-copy: '<= 299ms'}", stalls=[(1950, 2100)]
    )

    (found,) = story.findings()

    assert (found.outcome, found.reason) == (FAILED, "300.0ms in stop-and-copy")


def test_a_guest_whose_clock_was_never_read_cannot_tell(tmp_path: pathlib.Path) -> None:
    story = on_the_guests_clock(tmp_path, "stalls: 0", stalls=[(1950, 2100)])
    story.facts = {
        name: fact for name, fact in story.facts.items() if not isinstance(fact, GuestClock)
    }

    (found,) = story.findings()

    assert found.outcome is CANNOT
    assert "g1's clock was never read" in found.reason
