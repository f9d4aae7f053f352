"""What runs say of a revision, and what is said of an end that is not as told."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.bisect import Answer, Step, must_be, try_revision
from harness.errors import InputError, Interrupted, LabError, RecordError
from tests.bisect.standin import LOST, ending


@pytest.mark.parametrize(
    ("word", "expect", "answer", "code"),
    [
        ("good", None, Answer.GOOD, 0),
        ("bad", None, Answer.BAD, 1),
        ("other", None, Answer.BAD, 1),
        ("bad", LOST, Answer.BAD, 1),
        ("bad", "expect.streams", Answer.BAD, 1),
        ("bad", "stream inbound: lost <= 4000", Answer.BAD, 1),
        ("bad", "expect.stream", Answer.SKIP, 2),
        ("other", LOST, Answer.SKIP, 2),
        ("both", LOST, Answer.BAD, 1),
        ("good", "expect.nothing", Answer.GOOD, 0),
        ("broken", None, Answer.SKIP, 3),
        ("dark", None, Answer.SKIP, 4),
        ("wrong-input", None, Answer.STOP, 2),
    ],
)
def test_only_a_verdict_on_what_was_asked_is_an_answer(
    word: str, expect: str | None, answer: Answer, code: int, tmp_path: Path
) -> None:
    tried = try_revision(lambda place: ending(word, place), tmp_path, repeat=2, expect=expect)
    assert (tried.answer, tried.exit_code) == (answer, code)
    assert len(tried.runs) == (2 if code in (3, 4) else 1)
    assert [Path(run.directory).name for run in tried.runs] == ["run-1", "run-2"][: len(tried.runs)]


def test_a_run_that_answers_ends_the_repeating(tmp_path: Path) -> None:
    tried = try_revision(
        lambda place: ending("broken-once", place), tmp_path, repeat=5, expect=None
    )
    assert tried.answer is Answer.GOOD
    assert [run.outcome for run in tried.runs] == ["lab broke", "passed"]


def test_the_expectation_that_was_asked_for_is_told_first(tmp_path: Path) -> None:
    tried = try_revision(
        lambda place: ending("both", place), tmp_path, repeat=1, expect="expect.migration"
    )
    assert [text.partition(" (")[0] for text in tried.failed] == [
        "every migration is completed",
        "stream inbound: lost <= 4000",
    ]


def test_an_interruption_is_no_answer(tmp_path: Path) -> None:
    def stopped(_place: Path) -> None:
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        try_revision(stopped, tmp_path, repeat=3, expect=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "answer", "code", "error", "told"),
    [
        (Answer.GOOD, Answer.BAD, 1, InputError, "v2 (a title) fails: it is not good"),
        (Answer.BAD, Answer.GOOD, 0, InputError, "v2 (a title) passes: it is not bad"),
        (Answer.BAD, Answer.SKIP, 2, InputError, "v2 (a title) is not bad: why"),
        (Answer.BAD, Answer.STOP, 2, InputError, "v2 (a title) is not bad: why"),
        (Answer.GOOD, Answer.SKIP, 3, LabError, "v2 (a title) cannot be called good: why"),
        (Answer.GOOD, Answer.SKIP, 4, RecordError, "v2 (a title) cannot be called good: why"),
    ],
)
def test_an_end_that_is_not_as_told_is_told_with_the_exit_code_of_its_cause(
    wanted: Answer, answer: Answer, code: int, error: type[Exception], told: str
) -> None:
    step = Step(revision="v2", title="a title", answer=answer, reason="why", exit_code=code)
    with pytest.raises(error) as caught:
        must_be(wanted, step)
    assert str(caught.value).splitlines()[0] == told
    must_be(answer, step)
