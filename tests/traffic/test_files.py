"""Damaged files are named as such, and never read as if they were whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RecordError
from harness.traffic.arrivals import read_arrivals
from harness.traffic.frames import build
from harness.traffic.pcapng import ClockReading, PcapngFile, PcapngWriter
from harness.traffic.recordfile import RecordWriter
from harness.traffic.records import Records, read_records, write_records
from tests.traffic.streams import UDP

REAL = 1_800_000_000_000_000_000
AHEAD = REAL - 5_000_000_000


def written_records(path: Path, count: int = 100) -> Path:
    numbers = np.arange(count, dtype=np.int64)
    write_records(path, Records(7, "guest", numbers * 1000, numbers))
    return path


def written_capture(path: Path, *, count: int = 20, second_offset: int = AHEAD) -> Path:
    writer = PcapngWriter(path, interface="vb", snaplen=256, program="test")
    writer.clock(ClockReading(REAL, AHEAD, 50))
    for seq in range(count):
        frame = build(UDP, seq, 0)
        writer.packet(REAL + seq * 1_000_000, frame, len(frame), 1)
    writer.clock(ClockReading(REAL + 1_000_000_000, second_offset, 50), dropped=3)
    writer.close()
    return path


def test_records_are_read_as_written(tmp_path: Path) -> None:
    back = read_records(written_records(tmp_path / "r"))
    assert (back.stream_id, back.clock, len(back)) == (7, "guest", 100)
    assert back.seq.tolist() == list(range(100))
    assert back.t_ns.tolist() == [seq * 1000 for seq in range(100)]


def test_the_two_writers_make_the_same_file(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "w", stream_id=7, clock="guest")
    for seq in range(10_000):
        writer.add(seq * 1000, seq)
    writer.close()
    written_records(tmp_path / "r", 10_000)
    assert (tmp_path / "w").read_bytes() == (tmp_path / "r").read_bytes()


@given(data=st.data())
def test_a_cut_or_changed_record_is_never_read(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = written_records(tmp_path_factory.mktemp("cut") / "r")
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(raw[:at])
    else:
        if 8 <= at < 24:
            return  # the head says what the record is of, not what is in it
        raw[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(raw)
    with pytest.raises(RecordError):
        read_records(path)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="the record is missing"):
        read_records(tmp_path / "none")


def test_kernel_stamps_come_out_on_the_runs_clock(tmp_path: Path) -> None:
    extracted = read_arrivals(written_capture(tmp_path / "c"), [UDP])
    found = extracted.records["up"]
    assert extracted.dropped == 3
    assert found.t_ns.tolist() == [REAL + seq * 1_000_000 - AHEAD for seq in range(20)]


def test_a_slewed_clock_is_followed_between_readings(tmp_path: Path) -> None:
    path = written_capture(tmp_path / "c", second_offset=AHEAD + 1_000_000)
    extracted = read_arrivals(path, [UDP])
    # 19 ms into the second over which the clock gained 1 ms
    assert extracted.records["up"].t_ns[19] == REAL + 19_000_000 - AHEAD - 19_000
    assert extracted.clock_err_ns >= 1_000_000


def test_a_clock_that_was_set_is_an_error(tmp_path: Path) -> None:
    path = written_capture(tmp_path / "c", second_offset=AHEAD + 2_000_000)
    with pytest.raises(RecordError, match="CLOCK_REALTIME was set"):
        read_arrivals(path, [UDP])


def test_a_capture_cut_at_any_octet_is_an_error(tmp_path: Path) -> None:
    raw = written_capture(tmp_path / "c", count=2).read_bytes()
    for end in range(len(raw)):
        (tmp_path / "cut").write_bytes(raw[:end])
        with pytest.raises(RecordError):
            read_arrivals(tmp_path / "cut", [UDP])


def test_what_is_no_capture_is_named(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"hello, this is not a capture")
    with pytest.raises(RecordError, match="not a capture of this harness"):
        PcapngFile(tmp_path / "c")
