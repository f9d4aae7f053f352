"""Bisecting an ordered list of versions, the first good and the last bad. Pure: no git, no runs.

Neighbours: the CLI tries a version, ``ends`` judges the two ends; ``harness.images`` knows what
there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.bisect.ends import must_be
from harness.bisect.record import Answer, Step
from harness.errors import InputError

_NUMBERED = re.compile(r"(?P<stem>.*?)-(?P<number>\d+(?:\.\d+)*)")


@dataclass(frozen=True, slots=True)
class Version:
    """A published version: its name, where it is from, and the image that it stands for."""

    name: str
    origin: str
    reference: str


def _bounds(answers: Sequence[Answer | None]) -> tuple[int, int]:
    """The last good one before the first bad one, and that one, by position."""
    bad = next((n for n, one in enumerate(answers) if one is Answer.BAD), len(answers) - 1)
    good = max((n for n in range(bad) if answers[n] is Answer.GOOD), default=0)
    return good, bad


def bisect_versions(
    versions: Sequence[Version],
    attempt: Callable[[Version, int | None], Step],
    *,
    trust: bool,
) -> tuple[Version, tuple[Version, ...]]:
    """The last good version, and those that may be the first bad one.

    ``attempt`` tries a version; it is told how many more come after it at most, if that is
    known. The first is good and the last is bad: that is tried, unless there is ``trust``.
    Raises what ``must_be`` raises, and InputError for an answer STOP.
    """
    answers: list[Answer | None] = [None] * len(versions)
    answers[0], answers[-1] = Answer.GOOD, Answer.BAD
    if not trust:
        must_be(Answer.GOOD, attempt(versions[0], None))
        must_be(Answer.BAD, attempt(versions[-1], None))
    while (position := next_version(answers)) is not None:
        step = attempt(versions[position], steps_left(answers) - 1)
        if step.answer is Answer.STOP:
            raise InputError(f"{step.revision}: {step.reason}")
        answers[position] = step.answer
    good, bad = _bounds(answers)
    return versions[good], tuple(versions[good + 1 : bad + 1])


def next_version(answers: Sequence[Answer | None]) -> int | None:
    """The position to try next, nearest to the middle; None when nothing is left to learn.

    ``answers`` has one for each version in order, None where it is not known.
    """
    good, bad = _bounds(answers)
    left = [n for n in range(good + 1, bad) if answers[n] is None]
    return min(left, key=lambda n: abs(2 * n - good - bad), default=None)


def steps_left(answers: Sequence[Answer | None]) -> int:
    """How many more have to be tried at most, if none of them is skipped."""
    good, bad = _bounds(answers)
    return sum(1 for n in range(good + 1, bad) if answers[n] is None).bit_length()


def recipes_between(first: str, last: str, recipes: Iterable[str]) -> tuple[str, ...]:
    """Shipped recipes ``NAME-NUMBER`` from ``first`` to ``last``, by number, either way round.

    Raises InputError where the two are not versions of one thing.
    """
    ends = [_NUMBERED.fullmatch(one) for one in (first, last)]
    if ends[0] is None or ends[1] is None or ends[0]["stem"] != ends[1]["stem"]:
        raise InputError(
            f"--between {first} {last}: wanted two recipes of one name, as in qemu-7.2 qemu-11",
            hint="or the whole list in its order: --between GOOD ... BAD",
        )
    low, high = sorted(_number(one["number"]) for one in ends if one)
    found = [
        (_number(match["number"]), name)
        for name in recipes
        if (match := _NUMBERED.fullmatch(name)) and match["stem"] == ends[0]["stem"]
    ]
    names = [name for number, name in sorted(found) if low <= number <= high]
    return tuple(names if _number(ends[0]["number"]) == low else reversed(names))


def _number(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
