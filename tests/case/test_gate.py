"""What a case may declare to compare two builds by, and what is refused where."""

from __future__ import annotations

import json
import pathlib

import pytest

from harness.case import Endpoint, bind, case_schema, declared_endpoints, load_case
from harness.errors import ProblemsError
from tests.case.files import HEAD, STEPS, TRAFFIC, write

TCP = "  down: {from: client, to: g1, tcp: {rate: 8Mbit/s}}\n"


def declared(folder: pathlib.Path, gate: str, traffic: str = TRAFFIC) -> tuple[Endpoint, ...]:
    bound = bind(load_case(write(folder, HEAD + traffic + STEPS + gate)))
    assert bound.gate is not None
    return declared_endpoints(bound.gate, bound.traffic)


def test_each_margin_is_in_the_unit_of_its_figure(tmp_path: pathlib.Path) -> None:
    gate = (
        "gate:\n"
        "  streams:\n"
        "    inbound: {lost: 5 packets, reordered: 1 packet, interruption: 20ms}\n"
        "    down: {stall: 0.1s, stalls: 1 stall, retransmitted: 0 segments}\n"
        "  migration: {downtime: 50ms, total_time: 1s, primary_back: 500ms}\n"
    )

    found = declared(tmp_path, gate, TRAFFIC + TCP)

    assert [(one.name, one.margin, one.unit) for one in found] == [
        ("inbound.lost", 5, "packets"),
        ("inbound.reordered", 1, "packets"),
        ("inbound.interruption", 20, "ms"),
        ("down.stall", 100, "ms"),
        ("down.stalls", 1, "stalls"),
        ("down.retransmitted", 0, "segments"),
        ("migration.downtime", 50, "ms"),
        ("migration.total_time", 1000, "ms"),
        ("migration.primary_back", 500, "ms"),
    ]


def test_a_star_is_for_every_stream_that_has_it_and_a_streams_own_goes_first(
    tmp_path: pathlib.Path,
) -> None:
    gate = (
        'gate: {streams: {"*": {lost: 9 packets, duplicates: 0 packets}, '
        "inbound: {lost: 5 packets}}}\n"
    )

    found = declared(tmp_path, gate, TRAFFIC + TCP)

    # No loss of an ICMP echo, and no packets of TCP.
    assert [(one.name, one.margin) for one in found] == [
        ("inbound.lost", 5),
        ("inbound.duplicates", 0),
        ("echo.duplicates", 0),
    ]


def test_a_margin_may_be_a_parameter(tmp_path: pathlib.Path) -> None:
    gate = "parameters: {few: 7 packets}\ngate: {streams: {inbound: {lost: '${few}'}}}\n"

    assert declared(tmp_path, gate) == (Endpoint("inbound", "lost", "packets", 7),)


def test_a_case_without_a_gate_has_none(tmp_path: pathlib.Path) -> None:
    assert bind(load_case(write(tmp_path, HEAD + TRAFFIC))).gate is None


def test_the_schema_knows_margins() -> None:
    text = json.dumps(case_schema())

    assert '"StreamMargins"' in text
    assert '"5 packets"' in text


BAD = {
    "a count without its unit": (
        "gate: {streams: {inbound: {lost: 5}}}\n",
        "gate.streams.inbound.lost: found 5; a margin of this is a count with its unit: 5 packets",
    ),
    "a time for a count": (
        "gate: {streams: {inbound: {lost: 5ms}}}\n",
        "a margin of this is a count with its unit: 5 packets",
    ),
    "a count for a time": (
        "gate: {streams: {inbound: {interruption: 5 packets}}}\n",
        "gate.streams.inbound.interruption: ",
    ),
    "a stream that is not there": (
        "gate: {streams: {inbond: {lost: 5 packets}}}\n",
        "case.yaml:10:18 gate.streams.inbond: 'inbond' is not a stream of this case's traffic "
        "(did you mean 'inbound'?)",
    ),
    "packets of TCP": (
        "gate: {streams: {down: {lost: 5 packets}}}\n",
        "gate.streams.down.lost: 'lost' is told of numbered packets, and down is none",
    ),
    "TCP of packets": (
        "gate: {streams: {inbound: {stall: 5ms}}}\n",
        "gate.streams.inbound.stall: 'stall' is told of TCP, and inbound is none",
    ),
    "a loss that only ICMP saw": (
        "gate: {streams: {echo: {lost: 5 packets}}}\n",
        "gate.streams.echo.lost: 'lost' of an ICMP echo is not charged to the network (kernels "
        "limit the rate of their replies: declare it of a UDP stream)",
    ),
    "nothing of a stream": (
        "gate: {streams: {inbound: {}}}\n",
        "says nothing: give a margin of lost, reordered",
    ),
    "nothing at all": (
        "gate: {streams: {}}\n",
        "gate: says nothing: give `streams` or `migration`",
    ),
    "an unknown figure": (
        "gate: {streams: {inbound: {loss: 5 packets}}}\n",
        "gate.streams.inbound.loss: ",
    ),
}


@pytest.mark.parametrize(("text", "wanted"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_with_a_gate_is_told_where_it_is(
    tmp_path: pathlib.Path, text: str, wanted: str
) -> None:
    with pytest.raises(ProblemsError) as caught:
        load_case(write(tmp_path, HEAD + TRAFFIC + TCP + STEPS + text))
    assert wanted in str(caught.value)


def test_a_migration_has_to_be_in_the_case(tmp_path: pathlib.Path) -> None:
    text = HEAD + TRAFFIC + "gate: {migration: {downtime: 5ms}}\n"

    with pytest.raises(ProblemsError, match=r"gate\.migration: no step migrates a guest"):
        load_case(write(tmp_path, text))
