"""Patched frames are the frames that scapy would have built."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.traffic import frames
from harness.traffic.layout import Patcher
from harness.traffic.stream import StreamSpec
from tests.traffic.streams import ECHO, ECHO6, UDP, UDP6

ALL = [UDP, UDP6, ECHO, ECHO6, replace(UDP, vlan=100, dscp=46), replace(ECHO6, vlan=5, size=129)]
IDS = [f"{spec.protocol}-{spec.version}-{spec.vlan}" for spec in ALL]


@pytest.mark.parametrize("spec", ALL, ids=IDS)
@given(seq=st.integers(0, 2**32 - 1), t_ns=st.integers(0, 2**64 - 1))
def test_a_patched_frame_is_what_scapy_builds(spec: StreamSpec, seq: int, t_ns: int) -> None:
    patcher = Patcher(frames.template(spec))
    patcher.number(1, 2)
    assert bytes(patcher.number(seq, t_ns)) == frames.build(spec, seq, t_ns)


def test_a_udp_checksum_of_zero_is_sent_as_ffff() -> None:
    patcher = Patcher(made := frames.template(UDP))
    # the number that makes the sum all ones, so that its complement is 0
    frame = bytes(patcher.number((0xFFFF - made.base) & 0xFFFF, 0))
    assert frame[made.checksum_at : made.checksum_at + 2] == b"\xff\xff"


@pytest.mark.parametrize("spec", ALL, ids=IDS)
def test_a_frame_has_the_size_asked_for_and_says_its_number(spec: StreamSpec) -> None:
    frame = frames.build(spec, 0xFFFFFFFF, 5)
    assert len(frame) == spec.size + 14 + (4 if spec.vlan else 0)
    assert frames.parse(frame) == frames.Numbered(spec.stream_id, 0xFFFFFFFF, 5)


def test_a_frame_without_a_number_is_none() -> None:
    frame = bytearray(frames.build(UDP))
    frame[14 + 28] ^= 1
    assert frames.parse(bytes(frame)) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 47}, "size 47 is not from 48"),
        ({"stream_id": 0}, "stream id 0"),
        ({"rate": 0.0}, "rate 0.0"),
        ({"destination_port": 0}, "two ports"),
        ({"destination": UDP6.destination}, "one address is IPv4"),
        ({"vlan": 4095}, "vlan 4095"),
    ],
)
def test_a_stream_that_cannot_be_sent_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(UDP, **change)  # type: ignore[arg-type]


def test_the_shorter_of_count_and_duration_ends_a_stream() -> None:
    assert replace(UDP, count=10, duration_s=1.0).packets == 10
    assert replace(UDP, count=None, duration_s=0.5).packets == 1000
    assert replace(UDP, count=None).packets is None


def test_the_reversed_stream_swaps_both_ends() -> None:
    back = UDP.reversed(name="down", stream_id=8)
    assert (back.source, back.destination) == (UDP.destination, UDP.source)
    assert (back.source_port, back.destination_port) == (5000, 4000)
    assert back.reversed(name="up", stream_id=7) == UDP
