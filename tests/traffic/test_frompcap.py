"""Two pcaps become one capture; a damaged one is an error, and never a shorter capture."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import RecordError
from harness.traffic.arrivals import Leg, read_seen
from harness.traffic.frames import build
from harness.traffic.frompcap import Merged, merge_pcaps
from harness.traffic.pcapng import ClockReading, PcapngFile, PcapngWriter
from tests.traffic import streams

SECOND = 1_000_000_000
REAL = 1_800_000_000 * SECOND
OFFSET = 5_000_000
NANO, MICRO, ETHERNET = 0xA1B23C4D, 0xA1B2C3D4, 1

Frames = list[tuple[int, bytes]]
"""Nanoseconds after ``REAL``, and the frame."""


def pcap(
    path: Path, frames: Frames, *, magic: int = NANO, order: str = "<", link: int = ETHERNET
) -> Path:
    data = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 128, link)
    for at, frame in frames:
        seconds, rest = divmod(REAL + at, SECOND)
        fraction = rest if magic == NANO else rest // 1000
        data += struct.pack(f"{order}IIII", seconds, fraction, min(len(frame), 128), len(frame))
        data += frame[:128]
    path.write_bytes(data)
    return path


def clock(real_ns: int) -> ClockReading:
    return ClockReading(real_ns, OFFSET, 10)


def merge(inbound: Path, outbound: Path, target: Path, *, dropped: int = 0) -> Merged:
    return merge_pcaps(
        inbound, outbound, target, interface="t0", snaplen=128, program="test", clock=clock,
        now_ns=REAL, dropped=dropped,
    )  # fmt: skip


def numbered(count: int, *, every: int, after: int = 0) -> Frames:
    return [(after + every * number, build(streams.UDP, number)) for number in range(count)]


@pytest.mark.parametrize("magic", [NANO, MICRO])
@pytest.mark.parametrize("order", ["<", ">"])
def test_frames_of_both_directions_are_put_in_the_order_of_time(
    tmp_path: Path, magic: int, order: str
) -> None:
    came, went = numbered(50, every=3_000_000), numbered(40, every=5_000_000, after=1_000_000)
    target = tmp_path / "both.pcapng"

    merged = merge(
        pcap(tmp_path / "in", came, magic=magic, order=order),
        pcap(tmp_path / "out", went, magic=magic, order=order),
        target,
        dropped=3,
    )

    assert merged == Merged(50, 40)
    wanted = sorted([(at, "in", frame) for at, frame in came] + [
        (at, "out", frame) for at, frame in went
    ])  # fmt: skip
    with PcapngFile(target) as capture:
        found = [
            (one.real_ns - REAL, one.direction, bytes(one.data), one.length)
            for one in capture.frames()
        ]
        assert capture.dropped == 3
    assert found == [(at, way, frame[:128], len(frame)) for at, way, frame in wanted]


def test_times_follow_the_machines_clock_all_along(tmp_path: Path) -> None:
    """A clock that is slewed is read again and again, not once."""
    frames = numbered(100, every=SECOND // 10)
    target = tmp_path / "slewed.pcapng"

    merge_pcaps(
        pcap(tmp_path / "in", frames), pcap(tmp_path / "out", []), target, interface="t0",
        snaplen=128, program="test", now_ns=REAL, dropped=0,
        # 200 ppm: 2 ms over these ten seconds, 0.4 ms from one reading to the next
        clock=lambda real_ns: ClockReading(real_ns, OFFSET + (real_ns - REAL) // 5_000, 10),
    )  # fmt: skip

    (seen,) = read_seen(target, [Leg(streams.UDP, reply=False, outgoing=False)])
    wanted = np.array([REAL - OFFSET + at - at // 5_000 for at, _ in frames])
    assert np.abs(seen.t_ns - wanted).max() < 2_000


def test_a_capture_without_frames_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "empty.pcapng"

    merged = merge(pcap(tmp_path / "in", []), pcap(tmp_path / "out", []), target)

    assert merged == Merged(0, 0)
    (seen,) = read_seen(target, [Leg(streams.UDP, reply=False, outgoing=True)])
    assert len(seen) == 0


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: b"", "not a capture by tcpdump"),
        (lambda data: data[:10], "not a capture by tcpdump"),
        (lambda data: b"garbage!" * 40, "not a capture by tcpdump"),
        (lambda data: data[:-40], "cut off in the middle of a frame"),
        (lambda data: data[:20] + struct.pack("<I", 113) + data[24:], "not a pcap of an Ethernet"),
    ],
)
def test_a_damaged_pcap_is_an_error(tmp_path: Path, damage: object, told: str) -> None:
    path = pcap(tmp_path / "in", numbered(9, every=SECOND))
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(RecordError, match=told):
        merge(path, pcap(tmp_path / "out", []), tmp_path / "both.pcapng")

    # What was written until then does not pass for a whole capture either.
    with pytest.raises(RecordError):
        read_seen(tmp_path / "both.pcapng", [Leg(streams.UDP, reply=False, outgoing=True)])


def test_a_pcap_cut_between_two_frames_has_fewer_than_were_counted(tmp_path: Path) -> None:
    path = pcap(tmp_path / "in", numbered(9, every=SECOND))
    path.write_bytes(path.read_bytes()[: -(16 + 128)])

    merged = merge(path, pcap(tmp_path / "out", []), tmp_path / "both.pcapng")

    assert merged.inbound == 8


def test_requests_and_replies_are_told_apart_by_kind_and_by_direction(tmp_path: Path) -> None:
    replies = {"version 4": (8, 0), "version 6": (128, 129)}
    for spec, (request, reply) in zip((streams.ECHO, streams.ECHO6), replies.values(), strict=True):
        at = 34 if spec.version == 4 else 54
        asked = [(n * 1000, build(spec, n)) for n in range(6)]
        answered = [
            (n * 1000 + 500, frame[:at] + bytes([reply]) + frame[at + 1 :])
            for n, (_, frame) in enumerate(asked)
            if n != 2
        ]
        assert asked[0][1][at] == request
        target = tmp_path / "echo.pcapng"
        merge(pcap(tmp_path / "in", answered), pcap(tmp_path / "out", asked), target)
        legs = [Leg(spec, reply=r, outgoing=o) for r in (False, True) for o in (False, True)]

        seen = [one.seq.tolist() for one in read_seen(target, legs)]

        assert seen == [[], list(range(6)), [0, 1, 3, 4, 5], []]


def test_of_two_streams_in_one_capture_each_has_its_own(tmp_path: Path) -> None:
    other = replace(streams.UDP, name="other", stream_id=99, destination_port=6000)
    frames = [(n * 1000, build(spec, n)) for n in range(8) for spec in (streams.UDP, other)]
    target = tmp_path / "two.pcapng"
    merge(pcap(tmp_path / "in", frames[:6]), pcap(tmp_path / "out", frames[6:]), target)

    legs = [Leg(spec, False, way) for spec in (streams.UDP, other) for way in (False, True)]

    assert [one.seq.tolist() for one in read_seen(target, legs)] == [
        [0, 1, 2], [3, 4, 5, 6, 7], [0, 1, 2], [3, 4, 5, 6, 7]
    ]  # fmt: skip


@pytest.mark.parametrize(("second_err", "known"), [(10, False), (4_000_000, True)])
def test_readings_that_differ_by_no_more_than_their_errors_are_no_set_clock(
    tmp_path: Path, second_err: int, known: bool
) -> None:
    path = tmp_path / "c.pcapng"
    writer = PcapngWriter(path, interface="t0", snaplen=128, program="test")
    writer.clock(ClockReading(REAL, OFFSET, 10))
    writer.packet(REAL + SECOND, build(streams.UDP, 1), 142, 1)
    later = ClockReading(REAL + 2 * SECOND, OFFSET + 3_000_000, second_err)
    writer.clock(later, dropped=0)
    writer.close()
    legs = [Leg(streams.UDP, reply=False, outgoing=False)]

    if known:
        assert read_seen(path, legs)[0].seq.tolist() == [1]
    else:
        with pytest.raises(RecordError, match="CLOCK_REALTIME was set during the capture"):
            read_seen(path, legs)
