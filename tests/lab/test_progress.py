"""Progress a person can follow, and the chain of steps that the time went into."""

import io

import pytest

from harness.lab.progress import Progress, Stage, critical_path


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


def test_the_critical_path_follows_the_need_that_ended_last() -> None:
    stages = (
        Stage("network", 0, 1, False),
        Stage("boot alpha", 1, 5, False),
        Stage("boot beta", 1, 9, False),
        Stage("start", 9, 10, False),
        Stage("images", 0, 20, False),
    )
    needs = {
        "network": (),
        "boot alpha": ("network",),
        "boot beta": ("network",),
        "start": ("boot alpha", "boot beta"),
    }
    assert [s.name for s in critical_path(stages, needs)] == ["network", "boot beta", "start"]
    assert critical_path((), needs) == []
