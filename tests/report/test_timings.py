"""Where the seconds went: the chain of steps that the whole time consisted of."""

from harness.record import StepTiming, Timings
from harness.report import critical_path, render_timings

STEPS = (
    StepTiming(name="images", begin_s=0, end_s=1, after=()),
    StepTiming(name="turn", begin_s=1, end_s=4, after=("images",)),
    StepTiming(name="network", begin_s=4, end_s=4.5, after=("turn",)),
    StepTiming(name="boot alpha", begin_s=4.5, end_s=6, after=("network",)),
    StepTiming(name="boot beta", begin_s=4.5, end_s=10, after=("network",)),
    StepTiming(name="start", begin_s=11, end_s=12, after=("boot alpha", "boot beta"), failed=True),
    StepTiming(name="aside", begin_s=4, end_s=11.5, after=("turn",)),
)


def test_the_critical_path_goes_through_what_was_waited_for() -> None:
    names = [step.name for step in critical_path(STEPS)]
    assert names == ["images", "turn", "network", "boot beta", "start"]
    assert critical_path(()) == ()


def test_a_step_that_waited_for_one_that_never_was_begins_the_path() -> None:
    (only,) = critical_path([StepTiming(name="down", begin_s=1, end_s=2, after=("start",))])
    assert only.name == "down"


def test_every_step_is_shown_with_what_it_waited_for() -> None:
    assert render_timings(Timings(steps=STEPS)) == (
        """\
Timings, in seconds since the harness began; * is on the critical path
     begin    end      seconds  step            waited for
  *     0.00     1.00     1.00  images          -
  *     1.00     4.00     3.00  turn            images
  *     4.00     4.50     0.50  network         turn
        4.00    11.50     7.50  aside           turn
        4.50     6.00     1.50  boot alpha      network
  *     4.50    10.00     5.50  boot beta       network
  *    11.00    12.00     1.00  start (failed)  boot beta
Critical path: 12.0 s
     1.0 s  images
     3.0 s  turn
     0.5 s  network
     5.5 s  boot beta
     1.0 s  (between steps)
     1.0 s  start"""
    )
    assert render_timings(Timings(steps=())) == "Timings: no step has ended"
