"""When a guest's kernel messages were logged: what marks tell, and what is told without them."""

from __future__ import annotations

from typing import Any

import pytest

from harness.traffic.guestlines import Line
from harness.traffic.kernellog import KernelLog, LoggedMessage

MS = 1_000_000
TICK = 4 * MS
FAR = 3_600_000 * MS
"""Later than everything here."""


def message(seq: int, *, stamp: float, empty: float, read: float) -> Line:
    """A ``kmsg`` line; times in ms."""
    data = {
        "seq": seq, "level": 6, "text": f"message {seq}", "stamp_us": int(stamp * 1000),
        "empty_ns": int(empty * MS), "guest_ns": int(read * MS),
    }  # fmt: skip
    return Line(seq, "kmsg", None, data, FAR)


def mark(seq: int, *, stamp: float, at: float, width: float = 0.01) -> Line:
    """A ``kmsg-clock`` line: written at ``at`` ms of CLOCK_MONOTONIC, stamped ``stamp`` ms."""
    data: dict[str, Any] = {
        "seq": seq, "stamp_us": int(stamp * 1000), "from_ns": int(at * MS),
        "to_ns": int((at + width) * MS), "tick_ns": TICK,
    }  # fmt: skip
    return Line(seq, "kmsg-clock", None, data, FAR)


def between(*lines: Line) -> LoggedMessage:
    """The one message among these lines, when all have come."""
    log = KernelLog()
    for line in lines:
        log.mark(line) if line.kind == "kmsg-clock" else log.message(line)
    (found,) = log.take(FAR)
    return found


def test_two_marks_date_a_message_to_a_tick() -> None:
    # printk's clock is 500 ms ahead; the message was read long after it had been logged
    found = between(
        mark(1, stamp=1500, at=1000),
        message(2, stamp=2500, empty=1500, read=2800),
        mark(3, stamp=3300.01, at=2800),
    )

    assert found.from_ns <= 2000 * MS <= found.to_ns
    assert found.to_ns - found.from_ns <= 2 * TICK + MS // 10


@pytest.mark.parametrize("jump", [-300, 300])
def test_a_clock_that_jumped_between_the_marks_widens_the_time_by_its_jump(jump: int) -> None:
    # it is not known whether the message came before the jump or after it
    for true in (2000, 2000 + jump):
        found = between(
            mark(1, stamp=1500, at=1000),
            message(2, stamp=true + 500, empty=1100, read=2900),
            mark(3, stamp=3000 + 500 + jump, at=3000),
        )
        assert found.from_ns <= min(true, true - jump) * MS
        assert found.to_ns >= max(true, true - jump) * MS
        assert found.to_ns - found.from_ns <= abs(jump) * MS + 2 * TICK + MS


def test_a_message_was_logged_after_nothing_was_unread_and_before_it_was_read() -> None:
    found = between(
        mark(1, stamp=1500, at=1000),
        message(2, stamp=2500, empty=1999, read=2001),
        mark(3, stamp=3500, at=3000),
    )

    assert (found.from_ns, found.to_ns) == (1999 * MS, 2001 * MS)


@pytest.mark.parametrize("stamp", [0.001, 99_000])
def test_stamps_that_contradict_what_is_certain_are_not_believed(stamp: float) -> None:
    found = between(
        mark(1, stamp=1500, at=1000),
        message(2, stamp=stamp, empty=1990, read=2010),
        mark(3, stamp=3500, at=3000),
    )

    assert (found.from_ns, found.to_ns) == (1990 * MS, 2010 * MS)


def test_without_a_mark_before_it_only_what_is_certain_counts() -> None:
    found = between(message(2, stamp=2500, empty=1500, read=2800), mark(3, stamp=3300, at=2800))

    assert (found.from_ns, found.to_ns) == (1500 * MS, 2800 * MS)


def test_a_message_waits_for_its_mark_and_no_longer_than_one_can_come() -> None:
    log = KernelLog()
    log.message(message(2, stamp=2500, empty=1500, read=2800))

    assert not list(log.take(2900 * MS))
    assert [one.seq for one in log.take(6000 * MS)] == [2]


def test_a_message_waits_until_a_reading_of_the_guests_clock_bounds_it() -> None:
    log = KernelLog()
    log.mark(mark(1, stamp=1500, at=1000))
    log.message(message(2, stamp=2500, empty=1999, read=2001))
    log.mark(mark(3, stamp=3500, at=3000))

    assert not list(log.take(2000 * MS))
    assert [one.seq for one in log.take(2001 * MS)] == [2]
    assert not list(log.take(FAR, final=True))


def test_at_the_end_nothing_is_kept_back_and_the_order_is_that_of_the_kernel() -> None:
    log = KernelLog()
    log.mark(mark(1, stamp=1500, at=1000))
    log.message(message(2, stamp=2500, empty=1999, read=2001))
    log.mark(mark(3, stamp=3500, at=3000))
    log.message(message(4, stamp=4500, empty=3999, read=4001))

    assert [one.seq for one in log.take(0, final=True)] == [2, 4]
