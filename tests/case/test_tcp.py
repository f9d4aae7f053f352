"""What a case may say of a TCP stream, and what is refused where."""

from __future__ import annotations

import json
import pathlib

import pytest

from harness.case import bind, case_schema, check_case, load_case
from harness.errors import ProblemsError
from tests.case.files import HEAD, STEPS, write

TCP = "traffic: {down: {from: client, to: g1, tcp: {rate: 8Mbit/s}}}\n"
BOTH = (
    "traffic:\n  down: {from: client, to: g1, tcp: {rate: 8Mbit/s}}\n"
    "  up: {from: g1, to: client, udp: {rate: 10/s, size: 64}}\n"
)


def test_a_tcp_stream_is_as_it_was_written(tmp_path: pathlib.Path) -> None:
    text = (
        "traffic:\n"
        "  down: {from: client, to: g1, dscp: 46, tcp: {rate: 8Mbit/s}}\n"
        "  up: {from: g1, to: client, tcp: {rate: 1.5mbit, duration: 10s}}\n"
        "  some: {from: g1, to: client, before: 3s, tcp: {rate: 64kbit/s, octets: 1000}}\n"
    )
    bound = bind(load_case(write(tmp_path, HEAD + text)))

    flows = {name: stream.tcp for name, stream in bound.tcp.items()}
    assert {name: (flow.rate, flow.total) for name, flow in flows.items() if flow} == {
        "down": (8_000_000, None),
        "up": (1_500_000, 1_875_000),
        "some": (64_000, 1000),
    }
    assert bound.traffic["down"].dscp == 46
    assert bound.packets == {}


def test_every_bound_on_tcp_is_told_apart(tmp_path: pathlib.Path) -> None:
    expect = (
        "expect: {streams: {down: {intact: true, stalls: '<= 1', retransmitted: 5,\n"
        "  stall: {total: '<= 2s', stop-and-copy: '<= 1s'}}}}\n"
    )
    bound = bind(load_case(write(tmp_path, HEAD + TCP + STEPS + expect)))

    bounds = bound.expect.streams["down"]
    assert [str(one) for one in bounds.tcp_bounds()] == [
        "intact",
        "stall <= 2s",
        "stall in stop-and-copy <= 1s",
        "stalls <= 1",
        "retransmitted == 5",
    ]
    assert list(bounds.bounds()) == []


def test_a_star_may_ask_for_what_fits_some_stream(tmp_path: pathlib.Path) -> None:
    expect = 'expect: {streams: {"*": {intact: true, lost: 0}}}\n'

    assert check_case(write(tmp_path, HEAD + BOTH + expect))


def test_the_schema_knows_tcp() -> None:
    text = json.dumps(case_schema())

    assert '"TcpFlow"' in text
    assert '"retransmitted"' in text


def stream(rest: str) -> str:
    return HEAD + f"traffic: {{down: {{from: client, to: g1, {rest}}}}}\n"


def expecting(traffic: str, bounds: str) -> str:
    return HEAD + traffic + STEPS + f"expect:\n  streams:\n    {bounds}\n"


BAD = {
    "two protocols": (
        stream("tcp: {rate: 8Mbit/s}, udp: {rate: 1/s, size: 64}"),
        ["case.yaml:3:", "exactly one of udp, icmp-echo and tcp"],
    ),
    "a rate without a unit": (
        stream("tcp: {rate: 8000000}"),
        ["traffic.down.tcp.rate: ", "a bit rate is a number with a unit: 100mbit, 1gbit"],
    ),
    "a rate so low that nothing to send looks like a stall": (
        stream("tcp: {rate: 7kbit/s}"),
        ["traffic.down.tcp.rate: "],
    ),
    "octets and a duration": (
        stream("tcp: {rate: 8Mbit/s, octets: 5, duration: 1s}"),
        ["a stream ends after `octets` or a `duration`, not both"],
    ),
    "no octets": (stream("tcp: {rate: 8Mbit/s, octets: 0}"), ["traffic.down.tcp.octets: "]),
    "a waiting time": (
        stream("waiting_time: 1s, tcp: {rate: 8Mbit/s}"),
        ["`waiting_time` makes no sense for tcp: what comes late is a stall"],
    ),
    "a VLAN": (stream("vlan: 7, tcp: {rate: 8Mbit/s}"), ["`vlan` makes no sense for tcp"]),
    "an end and a time after it": (
        stream("after: 1s, tcp: {rate: 8Mbit/s, octets: 5}"),
        ["a stream that ends by itself does not go on `after` the last step"],
    ),
    "packets of TCP": (
        expecting(TCP, "down: {lost: 0}"),
        [
            "case.yaml:9:12 expect.streams.down.lost: 'lost' is told of numbered packets, and it "
            "is a TCP stream (of TCP there are: intact, stall, stalls, retransmitted)"
        ],
    ),
    "octets of packets": (
        expecting(BOTH, "up: {intact: true, stall: '<= 1s'}"),
        [
            "case.yaml:11:10 expect.streams.up.intact: 'intact' is told of TCP, and it is no TCP "
            "stream",
            "expect.streams.up.stall: 'stall' is told of TCP",
        ],
    ),
    "packets of only TCP": (
        expecting(TCP, '"*": {duplicates: 0}'),
        ["expect.streams.*.duplicates: ", "there are only TCP streams"],
    ),
    "octets of only packets": (
        expecting(
            "traffic: {up: {from: g1, to: client, udp: {rate: 10/s, size: 64}}}\n",
            '"*": {stalls: 0}',
        ),
        ["expect.streams.*.stalls: ", "there is no TCP stream"],
    ),
    "a stream that is not intact": (
        expecting(TCP, "down: {intact: false}"),
        ["expect.streams.down.intact: "],
    ),
    "a share of the retransmissions": (
        expecting(TCP, "down: {retransmitted: '<= 1%'}"),
        ["expect.streams.down.retransmitted: ", 'a count or a comparison: 0, "<= 200"'],
    ),
    "a stall without a unit": (
        expecting(TCP, "down: {stall: 2}"),
        ["expect.streams.down.stall", '"<= 300ms"'],
    ),
    "a phase without a migration": (
        HEAD + TCP + "expect: {streams: {down: {stall: {precopy: '<= 1s'}}}}\n",
        ["no step migrates a guest, so there is no phase `precopy`"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_told_with_its_place(name: str, tmp_path: pathlib.Path) -> None:
    text, wanted = BAD[name]

    with pytest.raises(ProblemsError) as caught:
        check_case(write(tmp_path, text))

    said = str(caught.value).replace(f"{tmp_path}/", "")
    for words in wanted:
        assert words in said
