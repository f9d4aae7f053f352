"""The fast reader of captures tells the same as the slow one, of every capture."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from harness.errors import RecordError
from harness.traffic import arrivals
from harness.traffic.arrivals import read_arrivals
from harness.traffic.layout import HEAD, MAGIC
from harness.traffic.pcapng import ClockReading, PcapngWriter
from tests.traffic import streams
from tests.traffic.slow_reader import slow_arrivals

REAL = 1_800_000_000_000_000_000
SPECS = [streams.UDP, streams.UDP6, streams.ECHO, streams.ECHO6]


def head(stream_id: int, seq: int = 0, magic: int = MAGIC) -> Raw:
    return Raw(HEAD.pack(magic, stream_id, 0, seq, 0) + bytes(20))


def templates() -> list[bytes]:
    """Frames of every kind that the two readers tell apart; the number is added later."""
    ether, four, six = Ether(src="02::", dst="02::1"), IP(dst="10.9.0.2"), IPv6(dst="fd00:9::2")
    udp = UDP(sport=4000, dport=5000)
    options = IP(dst="10.9.0.2", options=[b"\x94\x04\x00\x00" * 5])
    return [
        bytes(frame)
        for frame in (
            ether / four / udp / head(7),
            ether / four / udp / head(8),
            ether / four / UDP(dport=5001) / head(7),
            ether / options / udp / head(7),
            ether / six / udp / head(8),
            ether / six / IPv6ExtHdrDestOpt() / udp / head(8),
            ether / Dot1Q(vlan=5) / four / udp / head(7),
            ether / Dot1AD(vlan=5) / Dot1Q(vlan=6) / six / udp / head(8),
            Ether(bytes(ether) + bytes.fromhex("81000001") * 30),
            ether / four / ICMP(type=0) / head(9),
            ether / four / ICMP(type=8) / head(9),
            ether / six / ICMPv6EchoReply(data=bytes(head(10))),
            ether / four / udp / head(7, magic=MAGIC + 1),
            ether / ARP(),
        )
    ]


TEMPLATES = templates()


@dataclass(frozen=True)
class Written:
    """Frames in a row of one kind: how many, what was kept of each, which way they went."""

    template: int
    count: int
    kept: int
    flags: int
    clock_after: bool


WRITTEN = st.builds(
    Written, template=st.integers(0, len(TEMPLATES) - 1),
    count=st.one_of(st.integers(1, 3), st.integers(8, 40)),
    kept=st.one_of(st.just(256), st.integers(0, 130)),
    flags=st.sampled_from([0, 1, 1, 1, 2]), clock_after=st.booleans(),
)  # fmt: skip


def write(path: Path, groups: list[Written]) -> None:
    writer = PcapngWriter(path, interface="vb", snaplen=256, program="test")
    writer.clock(ClockReading(REAL, 5_000, 50))
    number = 0
    for group in groups:
        for _ in range(group.count):
            frame = TEMPLATES[group.template]
            at = frame.find(struct.pack("!I", MAGIC))
            if at >= 0:
                frame = frame[: at + 8] + struct.pack("!I", number) + frame[at + 12 :]
            writer.packet(REAL + number * 999_999, frame[: group.kept], len(frame), group.flags)
            number += 1
        if group.clock_after:
            writer.clock(ClockReading(REAL + number * 999_999, 5_000, 50))
    writer.clock(ClockReading(REAL + number * 999_999, 5_000, 50), dropped=number)
    writer.close()


def told(path: Path, *, slow: bool) -> object:
    """All that a reader tells of a capture, or what it complains of."""
    try:
        if slow:
            found = slow_arrivals(path, SPECS)
            return found.dropped, {
                name: [(t - 5_000, seq) for t, seq in rows] for name, rows in found.arrivals.items()
            }
        fast = read_arrivals(path, SPECS)
    except RecordError as error:
        return str(error)
    return fast.dropped, {
        name: list(zip(rows.t_ns.tolist(), rows.seq.tolist(), strict=True))
        for name, rows in fast.records.items()
    }


@given(groups=st.lists(WRITTEN, max_size=12), piece=st.sampled_from([64, 1000, 5000, 1 << 20]))
@settings(max_examples=300, deadline=None)
def test_the_fast_reader_tells_what_the_slow_one_tells(
    groups: list[Written], piece: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "agree.pcapng"
    write(path, groups)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrivals, "PIECE", piece)
        assert told(path, slow=False) == told(path, slow=True)


@given(groups=st.lists(WRITTEN, min_size=1, max_size=6), data=st.data())
@settings(max_examples=300, deadline=None)
def test_of_a_damaged_capture_they_tell_the_same(
    groups: list[Written], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.pcapng"
    write(path, [replace(group, clock_after=True) for group in groups])
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 2))):
        # the clocks' text is left alone: a reading that is off is another test's matter
        at = data.draw(st.integers(28, len(raw) - 1))
        if b"realtime" not in raw[max(0, at - 40) : at + 40]:
            raw[at] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(28, len(raw))) :]
    path.write_bytes(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrivals, "PIECE", data.draw(st.sampled_from([64, 3000, 1 << 20])))
        assert told(path, slow=False) == told(path, slow=True)


def test_a_long_run_of_equal_blocks_is_left_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "c"
    write(path, [
        Written(0, 5000, 256, 1, False), Written(4, 1, 256, 1, False),
        Written(0, 3000, 256, 2, True), Written(6, 2000, 256, 1, False),
    ])  # fmt: skip
    fast = read_arrivals(path, SPECS)
    assert len(fast.records["up"]) == 7000
    assert len(fast.records["up6"]) == 1
    assert told(path, slow=False) == told(path, slow=True)
