"""How fast one core sends numbered frames, and what sending at a steady rate costs.

    python benchmarks/send_rate.py [--seconds 60] [--packets 1000000]

Side by side on one veth pair in a namespace of its own: scapy building and sending frames one by
one; our sender without pause; our sender at 10,000 packets a second with a capture at the
other end. Shares are of one core: processor time, user and system, over the wall clock.
Needs root. Prints; asserts nothing.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.measure import Trace, measure_stream
from harness.traffic.arrivals import read_arrivals
from harness.traffic.client import Capture, Sender
from harness.traffic.layout import HEAD, MAGIC
from harness.traffic.records import read_records
from harness.traffic.stream import StreamSpec

SPEC = StreamSpec.between(
    "10.9.0.1", "10.9.0.2", name="up", protocol="udp", source_mac="02:00:00:00:00:01",
    destination_mac="02:00:00:00:00:02", stream_id=7, rate=1e6, size=128, source_port=4000,
    destination_port=5000,
)  # fmt: skip
STEADY = 10_000.0
SCAPY_FOR = 2.0
SET_UP = (
    "link set lo up",
    "link add va address 02:00:00:00:00:01 type veth peer name vb address 02:00:00:00:00:02",
    "link set va up",
    "link set vb up",
)


def spawn(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe)


def children_seconds() -> float:
    """Processor time of the programs that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def scapy_rate() -> float:
    """Frames a second with scapy: each one built, and sent by its layer 2 socket."""
    from scapy.config import conf
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw

    link = conf.L2socket(iface="va")
    count, began = 0, time.monotonic()
    while time.monotonic() - began < SCAPY_FOR:
        number = HEAD.pack(MAGIC, SPEC.stream_id, 0, count, time.monotonic_ns())
        link.send(
            Ether(src=SPEC.source_mac, dst=SPEC.destination_mac)
            / IP(src=str(SPEC.source), dst=str(SPEC.destination), flags="DF")
            / UDP(sport=SPEC.source_port, dport=SPEC.destination_port)
            / Raw(number + bytes(SPEC.size - SPEC.smallest))
        )
        count += 1
    rate = count / (time.monotonic() - began)
    link.close()
    return rate


def unpaced_rate(path: Path, packets: int) -> tuple[float, float]:
    """Frames a second without pause, and by second of processor time (the start included)."""
    before = children_seconds()
    sending = Sender.start(spawn, replace(SPEC, count=packets), interface="va", sends=path)
    sending.join(120)
    used = children_seconds() - before
    times = read_records(path).t_ns
    return (times.size - 1) / ((times[-1] - times[0]) / 1e9), packets / used


def steady(directory: Path, seconds: float) -> None:
    spec = replace(SPEC, rate=STEADY, duration_s=seconds)
    capture = Capture.start(spawn, interface="vb", path=directory / "capture.pcapng")
    before, began = children_seconds(), time.monotonic()
    sending = Sender.start(spawn, spec, interface="va", sends=directory / "sends")
    summary = sending.join(seconds + 30)
    wall, used = time.monotonic() - began, children_seconds() - before
    captured = capture.stop()
    capture_used = children_seconds() - before - used
    extracted = read_arrivals(directory / "capture.pcapng", [spec])
    sends, arrivals = read_records(directory / "sends"), extracted.records["up"]
    found = measure_stream(
        Trace(sends.seq, sends.t_ns), Trace(arrivals.seq, arrivals.t_ns), rate=STEADY,
        tmax_ns=1_000_000_000, clock_err_ns=extracted.clock_err_ns,
    )  # fmt: skip
    gaps = np.diff(sends.t_ns) / 1e3
    p50, p99, p999 = np.quantile(gaps, [0.5, 0.99, 0.999])
    print(f"steady {STEADY:,.0f}/s for {seconds:g} s: sent {found.sent:,}, "
          f"refused {summary.failed}, lost {found.lost}, missed by the capture "
          f"{captured.dropped}")  # fmt: skip
    print(f"    sender {100 * used / wall:.1f} % of a core, capture "
          f"{100 * capture_used / wall:.1f} %")  # fmt: skip
    print(
        f"    gaps between sends: median {p50:.0f} us, 99 % {p99:.0f} us, 99.9 % {p999:.0f} us, "
        f"largest {summary.largest_gap_ns / 1e6:.2f} ms; {summary.late} late, "
        f"schedule moved by {summary.moved_ns / 1e6:.2f} ms in {summary.moves} moves"
    )


def inside(seconds: float, packets: int, runs: int) -> None:
    for command in SET_UP:
        subprocess.run(["ip", *command.split()], check=True, timeout=10)
    slow, fast, by_core = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(runs):
            slow.append(scapy_rate())
            rate, core = unpaced_rate(Path(scratch, "sends"), packets)
            fast.append(rate)
            by_core.append(core)
        scapy, ours, core = map(statistics.median, (slow, fast, by_core))
        print(f"scapy, built and sent one by one: {scapy:,.0f}/s (median of {runs})")
        print(f"sender without pause: {ours:,.0f}/s ({core:,.0f} by second of processor time, "
              f"its start included): {ours / scapy:.0f} times as fast", flush=True)  # fmt: skip
        steady(Path(scratch), seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        inside(options.seconds, options.packets, options.runs)
        return 0
    return subprocess.call(["unshare", "-n", sys.executable, *sys.argv, "--inside"])


if __name__ == "__main__":
    sys.exit(main())
