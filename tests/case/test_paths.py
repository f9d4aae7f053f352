"""What a case may say of paths, and of which streams a path can be asked."""

from __future__ import annotations

import json
import pathlib

import pytest

from harness.case import bind, case_schema, load_case
from harness.case.pairs import pair_of, primary_kind
from harness.errors import ProblemsError
from tests.case.files import HEAD, STEPS, TOPOLOGY, TRAFFIC, write

PLAIN = TOPOLOGY.replace(
    "guests:\n",
    "guests:\n"
    "  g2:\n    host: alpha\n    nics:\n"
    "      net0: {model: virtio-net-pci, bridge: br0, address: 10.77.0.3/24}\n",
)
BESIDE = "traffic:\n  beside: {from: client, to: g2, udp: {rate: 10/s, size: 64}}\n"


def problems(folder: pathlib.Path, text: str, topology: str = TOPOLOGY) -> str:
    with pytest.raises(ProblemsError) as caught:
        bind(load_case(write(folder, HEAD + text, topology=topology)))
    return str(caught.value).replace(f"{folder}/", "")


def test_a_path_is_said_for_the_whole_run_or_by_phase_with_or_without_a_share(
    tmp_path: pathlib.Path,
) -> None:
    expect = (
        "expect:\n  streams:\n"
        "    echo: {path: primary >= 60%}\n"
        "    inbound: {path: {stop-and-copy: standby, total: 'standby>50%', return: primary}}\n"
    )
    bound = bind(load_case(write(tmp_path, HEAD + TRAFFIC + STEPS + expect)))

    streams = bound.expect.streams
    assert [str(one) for one in streams["inbound"].path_bounds()] == [
        "path standby > 50%",
        "path in stop-and-copy standby",
        "path in return primary",
    ]
    assert [(str(one), one.path) for one in streams["echo"].path_bounds()] == [
        ("path primary >= 60%", ("path",))
    ]
    assert list(streams["inbound"].bounds()) == []


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("both", "a path is `primary` or `standby`, or a share of what was received"),
        ("standby <= 5%", "a path is `primary` or `standby`"),
        ("standby >= 101%", "at most 100%"),
        ("standby > 100%", "at most 100%"),
        ("5", "a path is `primary` or `standby`"),
        ("{before: 99%}", "a path is `primary` or `standby`"),
        ("{}", "found an empty mapping"),
        ("{max: standby}", "max"),
    ],
)
def test_what_is_no_path_is_refused_with_what_one_is(
    tmp_path: pathlib.Path, path: str, told: str
) -> None:
    expect = f"expect: {{streams: {{inbound: {{path: {path}}}}}}}\n"
    assert told in problems(tmp_path, TRAFFIC + STEPS + expect)


def test_a_path_of_a_stream_that_goes_through_no_pair_is_refused(tmp_path: pathlib.Path) -> None:
    expect = "expect: {streams: {beside: {path: {before: primary}}}}\n"
    assert (
        "case.yaml:8:29 expect.streams.beside.path: 'beside' does not go through a failover pair "
        "of lab.yaml (a path is told of numbered packets to or from the address of a failover pair)"
    ) in problems(tmp_path, BESIDE + STEPS + expect, PLAIN)


def test_a_path_of_every_stream_needs_one_that_goes_through_a_pair(
    tmp_path: pathlib.Path,
) -> None:
    expect = "expect: {streams: {'*': {path: {before: primary}}}}\n"
    assert "no stream goes through a failover pair of lab.yaml" in problems(
        tmp_path, BESIDE + STEPS + expect, PLAIN
    )
    more = BESIDE + "  through: {from: g1, to: g2, udp: {rate: 10/s, size: 64}}\n"
    bind(load_case(write(tmp_path, HEAD + more + STEPS + expect, topology=PLAIN)))


def test_a_path_of_a_tcp_stream_is_refused_once(tmp_path: pathlib.Path) -> None:
    text = "traffic: {down: {from: client, to: g1, tcp: {rate: 8Mbit/s}}}\n" + STEPS
    told = problems(tmp_path, text + "expect: {streams: {down: {path: primary}}}\n")
    assert "'path' is told of numbered packets, and it is a TCP stream" in told
    assert len(told.splitlines()) == 1


def test_a_path_in_a_phase_needs_a_migration(tmp_path: pathlib.Path) -> None:
    expect = "expect: {streams: {inbound: {path: {precopy: standby, total: primary}}}}\n"
    told = problems(tmp_path, TRAFFIC + expect)
    assert "no step migrates a guest, so there is no phase `precopy`" in told
    assert len(told.splitlines()) == 1


def test_the_primary_of_a_pair_that_has_none_is_refused(tmp_path: pathlib.Path) -> None:
    alone = TOPOLOGY.replace(
        "      hostdev0: {model: e1000e, bridge: br0, failover_pair_id: net1}\n", ""
    )
    expect = "expect: {streams: {inbound: {path: {before: primary, after: standby}}}}\n"
    told = problems(tmp_path, TRAFFIC + STEPS + expect, alone)
    assert "standby 'net1' of guest 'g1' has no primary in lab.yaml" in told
    assert "path.after" not in told


def test_the_pair_of_a_stream_is_the_receivers_or_else_the_senders(
    tmp_path: pathlib.Path,
) -> None:
    text = (
        "traffic:\n"
        "  in: {from: client, to: g1, udp: {rate: 10/s, size: 64}}\n"
        "  out: {from: g1, to: client, icmp-echo: {rate: 10/s, size: 64}}\n"
        "  between: {from: g1, to: g2, udp: {rate: 10/s, size: 64}}\n"
        "  beside: {from: client, to: g2, udp: {rate: 10/s, size: 64}}\n"
        "  tcp: {from: client, to: g1, tcp: {rate: 8Mbit/s}}\n"
    )
    bound = bind(load_case(write(tmp_path, HEAD + text, topology=PLAIN)))

    pairs = {name: pair_of(terms, bound.topology) for name, terms in bound.traffic.items()}

    mine = ("g1", "net1")
    assert pairs == {"in": mine, "out": mine, "between": mine, "beside": None, "tcp": None}
    assert primary_kind(bound.topology, "g1", "net1") == "tap"


def test_editors_know_the_paths() -> None:
    assert "standby >= 99%" in json.dumps(case_schema())
