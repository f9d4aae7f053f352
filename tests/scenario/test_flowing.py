"""That traffic flows is proven by its arrivals; of what does not arrive the first error tells."""

from __future__ import annotations

import itertools
import time

import pytest

from harness.reach.deadline import Deadline
from harness.scenario.flowing import Awaited, NotFlowing, wait_arriving


def awaited(name: str, *counts: int) -> Awaited:
    """A stream of which these numbers of arrivals are seen one after the other."""
    seen = itertools.chain(counts, itertools.repeat(counts[-1]))
    return Awaited(name, f"{name}'s end", lambda: next(seen), lambda: f"client sent 7 as {name}")


def test_it_waits_until_the_last_stream_has_arrived() -> None:
    late = awaited("late", 0, 0, 0, 1)
    asked = []

    def count() -> int:
        asked.append(late.arrived())
        return asked[-1]

    wait_arriving([awaited("in", 5), Awaited("late", "", count, late.sent)], Deadline(10))

    assert asked == [0, 0, 0, 1]


def test_a_stream_that_has_arrived_is_not_asked_again() -> None:
    asked = []

    def count() -> int:
        asked.append(1)
        return 1

    wait_arriving([Awaited("in", "", count, str), awaited("late", 0, 0, 3)], Deadline(10))

    assert asked == [1]


def test_no_streams_need_no_proof() -> None:
    wait_arriving([], Deadline(0))


def test_streams_that_never_arrive_are_told_with_what_was_sent_and_where_to_look() -> None:
    began = time.monotonic()

    with pytest.raises(NotFlowing) as caught:
        wait_arriving([awaited("a", 0), awaited("b", 1), awaited("c", 0)], Deadline(0.3))

    assert 0.3 <= time.monotonic() - began < 5
    assert caught.value.message == (
        "the traffic does not flow: stream a: client sent 7 as a, none was seen at a's end within "
        "0.3 s; no step was begun"
    )
    assert caught.value.evidence == ("stream c: client sent 7 as c, none was seen at c's end",)
    assert "--keep" in caught.value.hint
