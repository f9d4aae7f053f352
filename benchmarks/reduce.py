"""Captured packets to all metrics: seconds, memory, and how they grow; and scapy's rdpcap.

    python benchmarks/reduce.py [--millions 1 3 10] [--no-scapy]

A capture of each size is made (one stream of 128-octet packets, of each thousand one lost,
one overtaken, one doubled), then read and reduced in a process of its own: the sends and the
capture from files, every metric of ``harness.measure`` out. rdpcap reads the smallest of the
captures, and does no more than that. Needs no root; needs 200 MB of disk for each million
packets. The files' pages are in the page cache. Prints; asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.measure import Trace, measure_stream
from harness.traffic.arrivals import read_arrivals
from harness.traffic.frames import build
from harness.traffic.layout import MAGIC
from harness.traffic.pcapng import ClockReading, PcapngWriter
from harness.traffic.records import Records, read_records, write_records
from harness.traffic.stream import StreamSpec

RATE = 10_000.0
PERIOD = 100_000
REAL = 1_800_000_000_000_000_000
BOOTED = 5_000_000_000
SPEC = StreamSpec.between(
    "10.9.0.1", "10.9.0.2", name="up", protocol="udp", source_mac="02:00:00:00:00:01",
    destination_mac="02:00:00:00:00:02", stream_id=7, rate=RATE, size=128, source_port=4000,
    destination_port=5000,
)  # fmt: skip
CHUNK = 1 << 18


def arrival_order(packets: int) -> np.ndarray:
    """Which packets come, in what order: of each thousand one is lost, one late, one twice."""
    order = np.arange(packets, dtype=np.int64)
    late = np.arange(500, packets - 3, 1000)
    order[late], order[late + 3] = late + 3, late
    copies = np.ones(packets, dtype=np.int64)
    copies[100::1000], copies[700::1000] = 0, 2
    return np.repeat(order, copies[order])


def write_capture(path: Path, packets: int) -> None:
    """The capture as ``PcapngWriter`` writes it; its blocks made of the first one."""
    writer = PcapngWriter(path, interface="vb", snaplen=256, program="benchmark")
    writer.clock(ClockReading(REAL, REAL - BOOTED, 50))
    writer.flush()
    begin = path.stat().st_size
    frame = build(SPEC)
    writer.packet(REAL, frame, len(frame), 1)
    writer.flush()
    block = np.frombuffer(path.read_bytes()[begin:], dtype=np.uint8)
    head_at = block.tobytes().find(MAGIC.to_bytes(4, "big"))
    order = arrival_order(packets)
    os.truncate(path, begin)
    with path.open("ab") as file:
        for at in range(0, order.size, CHUNK):
            seq = order[at : at + CHUNK]
            rows = np.tile(block, (seq.size, 1))
            real = REAL + (at + np.arange(seq.size)) * PERIOD + 10_000
            rows[:, 12:16] = (real >> 32).astype("<u4").view(np.uint8).reshape(-1, 4)
            rows[:, 16:20] = (real & 0xFFFFFFFF).astype("<u4").view(np.uint8).reshape(-1, 4)
            number = slice(head_at + 8, head_at + 12)
            rows[:, number] = seq.astype(">u4").view(np.uint8).reshape(-1, 4)
            file.write(rows.tobytes())
    tail = path.with_suffix(".tail")
    ending = PcapngWriter(tail, interface="vb", snaplen=256, program="benchmark")
    ending.flush()
    skip = tail.stat().st_size
    ending.clock(ClockReading(REAL + packets * PERIOD, REAL - BOOTED, 50), dropped=0)
    ending.close()
    with path.open("ab") as file:
        file.write(tail.read_bytes()[skip:])


def write_sends(path: Path, packets: int) -> None:
    numbers = np.arange(packets, dtype=np.int64)
    # sent well before: reordering and doubles shift the arrivals' times by some periods
    write_records(path, Records(7, "run", BOOTED + numbers * PERIOD - 1_000_000_000, numbers))


def reduce(directory: Path) -> None:
    """In a process of its own: read, reduce, and say what that took."""
    began = time.monotonic()
    extracted = read_arrivals(directory / "capture.pcapng", [SPEC])
    read = time.monotonic() - began
    sends, arrivals = read_records(directory / "sends"), extracted.records["up"]
    found = measure_stream(
        Trace(sends.seq, sends.t_ns), Trace(arrivals.seq, arrivals.t_ns), rate=RATE,
        tmax_ns=2_000_000_000, clock_err_ns=extracted.clock_err_ns,
    )  # fmt: skip
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seconds:.2f} {read:.2f} {peak:.0f} {found.lost} {found.reordered} "
          f"{found.extra_copies} {found.sent}")  # fmt: skip


def scapy(directory: Path) -> None:
    from scapy.utils import rdpcap

    began = time.monotonic()
    count = len(rdpcap(str(directory / "capture.pcapng")))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{time.monotonic() - began:.2f} {peak:.0f} {count}")


def child(work: str, directory: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, __file__, "--work", work, str(directory)], stdout=subprocess.PIPE,
        text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 3, 10])
    parser.add_argument("--no-scapy", action="store_true")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        (reduce if options.work[0] == "reduce" else scapy)(Path(options.work[1]))
        return 0
    ours = 0.0
    print("packets      seconds (reading)  us/packet   MiB  lost reordered copies")
    with tempfile.TemporaryDirectory() as scratch:
        first = Path(scratch, str(options.millions[0]))
        for millions in options.millions:
            directory, packets = Path(scratch, str(millions)), round(millions * 1e6)
            directory.mkdir()
            write_capture(directory / "capture.pcapng", packets)
            write_sends(directory / "sends", packets)
            seconds, read, peak, *counts = child("reduce", directory)
            ours = ours or float(seconds)
            print(f"{packets:>10,}  {seconds:>6}  ({read:>6})  {float(seconds) / millions:9.2f}"
                  f"  {peak:>5}  {' '.join(counts[:3])}", flush=True)  # fmt: skip
            if directory != first:
                (directory / "capture.pcapng").unlink()
        if not options.no_scapy:
            seconds, peak, count = child("scapy", first)
            print(
                f"rdpcap of {int(count):,}: {seconds} s, {peak} MiB: "
                f"{float(seconds) / ours:.0f} times as long as reading and reducing here"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
