"""Progress a person can follow, and the chain of steps that the time went into."""

import io
import time

import pytest

from harness.lab.progress import Progress, process_began


def test_each_step_says_when_it_ended_and_how_long_it_took() -> None:
    out = io.StringIO()
    progress = Progress(out)
    with progress.step("network data"):
        pass
    progress.close()
    assert "network data: done in 0.0 s" in out.getvalue()
    assert [(s.name, s.failed) for s in progress.stages] == [("network data", False)]


def test_a_step_that_fails_says_so_and_lets_the_error_through() -> None:
    out = io.StringIO()
    progress = Progress(out)
    with pytest.raises(ValueError, match="no"), progress.step("boot alpha"):
        raise ValueError("no")
    progress.close()
    assert "boot alpha: FAILED after" in out.getvalue()
    assert progress.stages[0].failed


def test_a_step_that_lasts_is_told_while_it_lasts() -> None:
    out = io.StringIO()
    progress = Progress(out, patience=0.05)
    told = False
    with progress.step("reach beta"):
        for _ in range(200):
            told = "still at: reach beta" in out.getvalue()
            if told:
                break
            progress._stop.wait(0.02)
    progress.close()
    assert told


def test_a_step_waited_for_what_it_says_or_for_the_last_that_ended() -> None:
    progress = Progress(None)
    with progress.step("images"):
        pass
    with progress.step("network"):
        pass
    with progress.step("boot", after=("images",)):
        pass
    assert [(s.name, s.after) for s in progress.stages] == [
        ("images", ()),
        ("network", ("images",)),
        ("boot", ("images",)),
    ]


def test_the_time_before_the_first_step_is_that_of_loading_the_program() -> None:
    began = process_began()
    (loaded,) = Progress(None, began=began).stages
    assert (loaded.name, loaded.begin) == ("program loaded", 0.0)
    # This process began before it came here, and not before the machine did.
    assert 0 < loaded.end < time.clock_gettime(time.CLOCK_BOOTTIME)
