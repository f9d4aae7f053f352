"""What the probe cost a guest is reported with the time that it is a share of."""

from __future__ import annotations

import pathlib
from typing import Literal

import pytest

from harness.observe import Fact, ProbeLoad
from harness.report.probe_load import ProbeLoadResult, probe_load_lines, probe_loads
from tests.verdict.story import Story
from tests.verdict.test_netdevs import WHOLE

SECOND = 1_000_000_000


def load(
    moment: Literal["traffic-flows", "traffic-ends", "records-kept"],
    at: float,
    cpu: float,
    guest: str = "g1",
) -> ProbeLoad:
    return ProbeLoad(
        t_ns=int(at * SECOND), guest=guest, moment=moment, guest_ns=int(at * SECOND) - SECOND,
        cpu_ns=int(cpu * SECOND), peak_octets=int(1.25 * 2**20), sent_octets=int(at * 2**10),
        received_octets=512,
    )  # fmt: skip


def loads(folder: pathlib.Path, *facts: Fact) -> tuple[ProbeLoadResult, ...]:
    story = Story(folder, WHOLE)
    story.facts |= {f"load {number}": fact for number, fact in enumerate(facts)}
    return probe_loads(story.evidence())


def test_the_share_is_that_of_the_time_in_which_the_traffic_flowed(tmp_path: pathlib.Path) -> None:
    (found,) = loads(
        tmp_path,
        load("traffic-flows", 10, 0.5),
        load("traffic-ends", 23.2, 0.91),
        load("records-kept", 30, 2),
    )

    assert found.flowing_s == pytest.approx(13.2)
    assert found.flowing_cpu_s == pytest.approx(0.41)
    assert probe_load_lines([found]) == [
        "Load of the probe",
        "  the probe in g1 used 3.1% of a processor while the traffic flowed (0.41s of 13.20s), "
        "1.2MiB, 30.5KiB over its channel",
    ]


def test_guests_are_told_apart(tmp_path: pathlib.Path) -> None:
    found = loads(
        tmp_path,
        load("traffic-flows", 10, 0),
        load("traffic-flows", 10, 1, "g2"),
        load("traffic-ends", 20, 1),
        load("traffic-ends", 20, 6, "g2"),
    )

    assert [(one.guest, one.flowing_cpu_s, one.cpu_s) for one in found] == [
        ("g1", 1, 1),
        ("g2", 5, 6),
    ]


@pytest.mark.parametrize(
    "facts",
    [
        [load("traffic-ends", 20, 1)],
        [load("traffic-flows", 10, 1)],
        [load("traffic-flows", 10, 1), load("traffic-ends", 20, 0.5)],
        [load("traffic-flows", 10, 1), load("traffic-ends", 10, 1)],
    ],
    ids=["no-begin", "no-end", "started-anew", "no-time"],
)
def test_without_both_readings_of_one_probe_no_share_is_told(
    tmp_path: pathlib.Path, facts: list[ProbeLoad]
) -> None:
    (found,) = loads(tmp_path, *facts)

    assert (found.flowing_s, found.flowing_cpu_s) == (None, None)
    assert "used ?% of a processor" in probe_load_lines([found])[1]


def test_a_run_without_such_facts_has_no_such_block(tmp_path: pathlib.Path) -> None:
    assert probe_load_lines(loads(tmp_path)) == []
