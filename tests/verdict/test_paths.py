"""The path of a stream: told by whole captures only, and failed where it was the other one."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from harness.measure import StreamMetrics
from harness.observe import PathFact
from harness.verdict import Evidence, Finding, MeasuredStream, Outcome, SeenAt, judge
from harness.verdict.attribution import Attribution, Share, attribution_of
from harness.verdict.paths import period_paths
from harness.verdict.taken import StreamPaths, paths_of
from tests.case.files import TOPOLOGY
from tests.verdict.story import Story
from tests.verdict.test_stream_phases import stream
from tests.verdict.test_streams import echo, inbound

PASSED, FAILED, CANNOT = Outcome.PASSED, Outcome.FAILED, Outcome.CANNOT_TELL

VF = (
    TOPOLOGY.replace("kind: netns", "kind: vm, iommu: intel".replace(", ", "\n    "))
    .replace("{model: veth, network: data}", "{model: igb, network: data, vfs: 1}")
    .replace("{model: veth, network: mgmt}", "{model: virtio-net-pci, network: mgmt}")
    .replace("{model: e1000e, bridge: br0, ", "{model: vfio-pci, vf: pf, ")
)
STOPPED = range(2000, 2020)

Role = Literal["standby", "primary"]


def seen(
    role: Role,
    host: str,
    numbers: Iterable[int],
    *,
    name: str = "inbound",
    leg: Literal["packet", "request", "reply"] = "packet",
    **fact: object,
) -> SeenAt:
    told = PathFact(
        t_ns=0, stream=name, guest="g1", standby="net1", role=role, host=host, leg=leg,
        records=f"streams/{name}.{role}@{host}.seen", complete=True,
    )  # fmt: skip
    return SeenAt(told.model_copy(update=fact), np.array(list(numbers), dtype=np.int64))


SEEN = {
    # In the good story unplug is 1002 to 1250 ms, precopy to 2000, RESUME at 2020, and the
    # primary is back at 2600; packet n is sent at n ms.
    "alpha standby": seen("standby", "alpha", range(1100, 2020)),
    "alpha primary": seen("primary", "alpha", range(1100)),
    "beta standby": seen("standby", "beta", range(2020, 2600)),
    "beta primary": seen("primary", "beta", range(2600, 4000)),
}
FLAT = stream(lost=STOPPED)


def story(
    folder: pathlib.Path,
    bounds: str,
    told: StreamMetrics | None = FLAT,
    captures: dict[str, SeenAt] | None = None,
    *,
    topology: str = TOPOLOGY,
    **streams: MeasuredStream,
) -> Story:
    return Story(
        folder,
        f"  streams: {{{bounds}}}\n",
        streams={"inbound": inbound(told), **streams},
        seen=tuple((SEEN if captures is None else captures).values()),
        topology=topology,
    )


def judged(made: Story) -> Finding:
    found = judge(made.evidence()).findings
    return next(one for one in found if one.path.startswith("expect.streams."))


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("{before: primary}", PASSED),
        ("{before: standby}", FAILED),
        ("{precopy: standby}", PASSED),
        ("{precopy: primary}", FAILED),
        ("{return: standby, precopy: standby}", PASSED),
        ("{after: primary}", PASSED),
        ("{after: standby}", FAILED),
        # 98 of 248 packets of unplug still went through the primary.
        ("{unplug: standby}", FAILED),
        ("{unplug: 'standby >= 60%'}", PASSED),
        ("{unplug: 'standby >= 61%'}", FAILED),
        ("{unplug: 'primary > 39%'}", PASSED),
        ("{unplug: 'primary > 40%'}", FAILED),
        ("{total: primary}", FAILED),
        ("{total: 'primary >= 60%'}", PASSED),
        ("primary", FAILED),
        ("'standby > 37%'", PASSED),
        # Nothing that was sent while the guest was stopped was received.
        ("{stop-and-copy: standby}", CANNOT),
    ],
)
def test_the_packets_received_in_a_phase_took_the_path_or_not(
    tmp_path: pathlib.Path, path: str, outcome: Outcome
) -> None:
    found = judged(story(tmp_path, f"inbound: {{path: {path}}}"))
    assert found.outcome is outcome, found.reason


def test_the_reason_says_how_many_took_which_path(tmp_path: pathlib.Path) -> None:
    found = judged(story(tmp_path, "inbound: {path: {unplug: standby}}"))

    assert found.expectation == "stream inbound: path in unplug standby"
    assert found.path == "expect.streams.inbound.path.unplug"
    assert found.reason.startswith("248 received of those certainly sent in unplug (")
    assert found.reason.endswith("): 150 through the standby, 98 through the primary")


def with_(**changes: SeenAt | None) -> dict[str, SeenAt]:
    """The captures with some changed, or left out (None)."""
    made: dict[str, SeenAt | None] = dict(SEEN)
    made |= {name.replace("_", " "): one for name, one in changes.items()}
    return {name: one for name, one in made.items() if one is not None}


def no_numbers() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.empty(0, dtype=np.int64)


@pytest.mark.parametrize(
    ("captures", "told"),
    [
        ({}, "nothing was captured on the taps of its pair"),
        (with_(beta_standby=None), "nothing was captured on the standby's tap on beta"),
        (with_(alpha_primary=None), "nothing was captured on the primary's tap on alpha"),
        (
            with_(alpha_standby=seen(
                "standby", "alpha", range(1100, 2020), complete=False,
                problem="the kernel of alpha dropped 3 frames of the capture on t0",
            )),
            "dropped 3 frames",
        ),
        (
            with_(alpha_standby=seen("standby", "alpha", range(1100, 2020), complete=False)),
            "the capture on alpha is not whole",
        ),
        (
            with_(beta_primary=seen(
                "primary", "beta", (), complete=False, records="", problem="no tcpdump on beta"
            )),
            "no tcpdump on beta",
        ),
        (
            with_(alpha_standby=replace(
                SEEN["alpha standby"], seq=no_numbers(),
                problem="streams/inbound.standby@alpha.seen: cut off after about 9 records",
            )),
            "cut off after about 9 records",
        ),
        (with_(again=SEEN["beta standby"]), "recorded more than once"),
        (
            with_(alpha_standby=seen("standby", "alpha", (), standby="net7")),
            "captured on the taps of g1 net7, not of g1 net1",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["{precopy: standby}", "{precopy: primary}", "{after: primary}"])
def test_a_capture_that_is_missing_or_not_whole_tells_nothing_of_any_phase(
    tmp_path: pathlib.Path, captures: dict[str, SeenAt], told: str, path: str
) -> None:
    found = judged(story(tmp_path, f"inbound: {{path: {path}}}", captures=captures))

    assert found.outcome is CANNOT
    assert told in found.reason
    assert found.reason.startswith("its path is not known: ")


def test_empty_captures_contradict_what_was_received_and_are_no_path(
    tmp_path: pathlib.Path,
) -> None:
    captures = {name: replace(one, seq=no_numbers()) for name, one in SEEN.items()}
    found = judged(story(tmp_path, "inbound: {path: {precopy: standby}}", captures=captures))
    assert (found.outcome, found.reason.rpartition(": ")[2]) == (CANNOT, "750 seen on no tap")


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("{precopy: standby}", CANNOT),
        ("{precopy: 'standby >= 80%'}", PASSED),
        ("{precopy: 'standby > 95%'}", CANNOT),
        ("{precopy: 'primary >= 30%'}", FAILED),
        ("{precopy: 'primary >= 5%'}", CANNOT),
    ],
)
def test_what_was_seen_on_both_taps_may_have_taken_either(
    tmp_path: pathlib.Path, path: str, outcome: Outcome
) -> None:
    """100 of 750 packets of precopy were flooded."""
    flooded = seen("primary", "alpha", [*range(1100), *range(1300, 1400)])
    made = story(tmp_path, f"inbound: {{path: {path}}}", captures=with_(alpha_primary=flooded))
    assert judged(made).outcome is outcome


def test_packets_near_a_border_decide_nothing(tmp_path: pathlib.Path) -> None:
    """Sent within 5 ms of `active`, and still through the primary: on which side is unknown."""
    late = with_(
        alpha_primary=seen("primary", "alpha", range(1254)),
        alpha_standby=seen("standby", "alpha", range(1254, 2020)),
    )
    sure = judged(story(tmp_path, "inbound: {path: {precopy: standby}}", captures=late))
    assert sure.outcome is FAILED

    unsure = stream(lost=STOPPED, err=5)
    found = judged(story(tmp_path, "inbound: {path: {precopy: standby}}", unsure, late))
    assert found.outcome is PASSED


def test_a_phase_that_did_not_occur_and_a_stream_in_doubt_have_no_path(
    tmp_path: pathlib.Path,
) -> None:
    made = story(tmp_path, "inbound: {path: {after: primary}}")
    del made.facts["up"]
    assert "no phase `after`" in judged(made).reason

    cut = story(tmp_path, "inbound: {path: {after: primary}}")
    cut.streams = {"inbound": inbound(FLAT, complete=False, problem="cut off")}
    assert (judged(cut).outcome, "cut off" in judged(cut).reason) == (CANNOT, True)


# -- a primary without a tap ------------------------------------------------------------------

FUNCTION = {name: one for name, one in SEEN.items() if "standby" in name}


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("{before: primary}", PASSED),
        ("{before: standby}", FAILED),
        ("{precopy: standby}", PASSED),
        ("{after: primary}", PASSED),
        ("{after: standby}", FAILED),
    ],
)
def test_what_arrived_and_was_not_on_the_standbys_tap_went_through_the_function(
    tmp_path: pathlib.Path, path: str, outcome: Outcome
) -> None:
    made = story(tmp_path, f"inbound: {{path: {path}}}", captures=FUNCTION, topology=VF)
    assert judged(made).outcome is outcome


def test_a_function_is_not_told_by_exclusion_from_a_capture_that_saw_nothing(
    tmp_path: pathlib.Path,
) -> None:
    captures = {name: replace(one, seq=no_numbers()) for name, one in FUNCTION.items()}
    made = story(tmp_path, "inbound: {path: {before: primary}}", captures=captures, topology=VF)

    found = judged(made)

    assert found.outcome is CANNOT
    assert "it is not shown that the capture there works" in found.reason


def test_a_function_is_not_told_by_exclusion_where_one_host_was_not_captured(
    tmp_path: pathlib.Path,
) -> None:
    captures = {"alpha standby": FUNCTION["alpha standby"]}
    made = story(tmp_path, "inbound: {path: {after: primary}}", captures=captures, topology=VF)
    assert judged(made).outcome is CANNOT


# -- echo ---------------------------------------------------------------------------------------


def echoes(requests: range, replies: range) -> dict[str, SeenAt]:
    """An echo stream of which these went over the standby's taps, the others the primary's."""
    every = set(range(400))
    legs: tuple[tuple[Literal["request", "reply"], range], ...] = (
        ("request", requests), ("reply", replies),
    )  # fmt: skip
    return {
        f"{leg} {role}": seen(role, "alpha", numbers, name="echo", leg=leg)
        for leg, mine in legs
        for role, numbers in (("standby", set(mine)), ("primary", every - set(mine)))
    } | {
        f"beta {leg} {role}": seen(role, "beta", (), name="echo", leg=leg)
        for leg, _ in legs
        for role in ("standby", "primary")
    }  # type: ignore[misc]


@pytest.mark.parametrize(
    ("replies", "path", "outcome"),
    [
        (range(125, 200), "{precopy: standby}", PASSED),
        (range(125, 200), "{precopy: primary}", FAILED),
        (range(130, 200), "{precopy: standby}", CANNOT),
        (range(130, 200), "{precopy: 'standby >= 90%'}", PASSED),
    ],
)
def test_both_legs_of_an_echo_count(
    tmp_path: pathlib.Path, replies: range, path: str, outcome: Outcome
) -> None:
    """One every 10 ms: precopy has the numbers 125 to 199."""
    made = story(
        tmp_path, f"echo: {{path: {path}}}", captures=echoes(range(125, 200), replies),
        echo=echo(stream(sent=400, period=10)),
    )  # fmt: skip
    assert judged(made).outcome is outcome


# -- every stream, and the loss periods -----------------------------------------------------------


def test_a_path_of_every_stream_is_judged_of_each_that_goes_through_a_pair(
    tmp_path: pathlib.Path,
) -> None:
    made = story(tmp_path, "'*': {path: {before: primary}}")
    found = judge(made.evidence()).findings
    told = {one.expectation: one.outcome for one in found if ".path" in one.path}
    assert told == {
        "stream inbound: path in before primary": PASSED,
        "stream echo: path in before primary": CANNOT,  # it left no record
    }


def attributed(evidence: Evidence) -> tuple[StreamPaths, Attribution]:
    paths, cut = paths_of(evidence, "inbound"), attribution_of(evidence, "inbound")
    assert isinstance(paths, StreamPaths)
    assert isinstance(cut, Attribution)
    return paths, cut


def test_the_packets_of_a_loss_period_are_told_by_where_they_were_seen(
    tmp_path: pathlib.Path,
) -> None:
    captures = with_(alpha_standby=seen("standby", "alpha", [*range(1100, 2012)]))
    made = story(tmp_path, "inbound: {lost: 20}", captures=captures)
    paths, cut = attributed(made.evidence())

    (period,) = cut.periods

    assert period_paths(paths, period) == (
        Share("on the standby's tap", 12),
        Share("on neither tap", 8),
    )
    flat = {name: (one.sent, one.lost) for name, one in paths.counts.items()}
    assert flat == {"standby": (1492, 12), "primary": (2500, 0), "neither": (8, 8)}


def test_what_a_function_lost_is_only_known_not_to_have_been_on_the_standbys_tap(
    tmp_path: pathlib.Path,
) -> None:
    lost = stream(lost=(*range(1000, 1050), *STOPPED))
    made = story(tmp_path, "inbound: {lost: 70}", lost, FUNCTION, topology=VF)
    paths, cut = attributed(made.evidence())

    assert [period_paths(paths, period) for period in cut.periods] == [
        (Share("not on the standby's tap (in the primary, or before it)", 50),),
        (Share("on the standby's tap", 20),),
    ]
