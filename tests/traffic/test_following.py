"""What has arrived so far is counted in a capture that is still being written."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import RecordError
from harness.traffic import frames
from harness.traffic.arrivals import read_arrivals
from harness.traffic.client import Capture, Sender
from harness.traffic.following import Following
from harness.traffic.pcapng import ClockReading, PcapngWriter
from harness.traffic.stream import StreamSpec
from tests.traffic.namespaces import Side
from tests.traffic.streams import ECHO, UDP, UDP6

REAL = 1_800_000_000_000_000_000
IN, OUT = 1, 2


def put(writer: PcapngWriter, frame: bytes, direction: int = IN) -> None:
    writer.packet(REAL, frame, len(frame), direction)


def test_packets_are_counted_as_they_come_and_once(tmp_path: Path) -> None:
    writer = PcapngWriter(tmp_path / "c", interface="vb", snaplen=256, program="test")
    following = Following(tmp_path / "c", [UDP, UDP6, ECHO])
    writer.clock(ClockReading(REAL, 0, 1))
    writer.flush()
    following.look()
    assert set(following.counts.values()) == {0}

    put(writer, frames.build(UDP))
    put(writer, frames.build(UDP), OUT)
    put(writer, frames.build(ECHO))  # a request is no arrival of an echo stream
    writer.flush()
    following.look()
    following.look()
    assert following.counts == {"up": 1, "up6": 0, "echo": 0}

    put(writer, frames.build(UDP6, 1))
    put(writer, frames.build(UDP, 1))
    writer.close()
    following.look()
    assert following.counts == {"up": 2, "up6": 1, "echo": 0}


def test_a_block_that_is_half_written_is_counted_when_it_is_whole(tmp_path: Path) -> None:
    writer = PcapngWriter(tmp_path / "whole", interface="vb", snaplen=256, program="test")
    for seq in range(3):
        put(writer, frames.build(UDP, seq))
    writer.close()
    whole = (tmp_path / "whole").read_bytes()
    growing = tmp_path / "growing"
    following = Following(growing, [UDP])

    seen = []
    for end in range(0, len(whole) + 1, 20):
        if 0 < end < 28:
            continue  # the head of a file is written at once
        growing.write_bytes(whole[:end])
        following.look()
        seen.append(following.counts["up"])
    growing.write_bytes(whole)
    following.look()

    assert seen == sorted(seen)
    assert set(seen) >= {0, 1, 2}
    assert following.counts["up"] == 3


def test_a_stream_of_three_packets_is_seen_while_its_capture_goes_on(
    pair: tuple[Side, Side], tmp_path: Path
) -> None:
    near, far = pair
    short = replace(UDP, count=3)
    capture = Capture.start(far.spawn, interface=far.interface, path=tmp_path / "c")
    try:
        sender = Sender.start(near.spawn, short, interface=near.interface, sends=tmp_path / "sends")
        sender.wait_flowing(10)  # it says so though it never sends ten
        assert sender.join(10).sent == 3
        following, end = Following(tmp_path / "c", [short]), time.monotonic() + 10
        while following.counts["up"] < 3 and time.monotonic() < end:
            following.look()
        assert following.counts["up"] == 3
    finally:
        capture.kill()


def test_what_is_no_capture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"something else altogether")

    with pytest.raises(RecordError, match="not a capture"):
        Following(tmp_path / "c", [UDP]).look()


@pytest.mark.parametrize("spec", [UDP, UDP6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("vlan", [None, 7])
def test_arrivals_with_another_dscp_are_counted(
    tmp_path: Path, spec: StreamSpec, vlan: int | None
) -> None:
    marked = replace(spec, dscp=46, vlan=vlan)
    writer = PcapngWriter(tmp_path / "c", interface="vb", snaplen=256, program="test")
    writer.clock(ClockReading(REAL, 0, 1))
    for seq, dscp in enumerate((46, 46, 0, 46, 47, 63)):
        put(writer, frames.build(replace(marked, dscp=dscp), seq))
    put(writer, frames.build(replace(marked, dscp=0), 9), OUT)
    writer.clock(ClockReading(REAL, 0, 1), dropped=0)
    writer.close()

    found = read_arrivals(tmp_path / "c", [marked])

    assert found.dscp_changed == {spec.name: 3}
    assert len(found.records[spec.name]) == 6
