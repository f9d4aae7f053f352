"""What is reported against what something else counted: nftables, the kernel's clock, a relay.

No VM and no netem (``tests.end_to_end_ssh.test_netem`` has it): real links between two
namespaces, with a bridge or a relay on the way.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.measure import StreamMetrics, measure_stream
from harness.traffic.arrivals import read_arrivals
from harness.traffic.client import Capture, Sender
from harness.traffic.records import read_records
from harness.traffic.stream import StreamSpec
from tests.traffic.namespaces import Side, through_bridge
from tests.traffic.streams import UDP, UDP6, send_and_capture, trace

Pair = tuple[Side, Side]
VERSIONS = pytest.mark.parametrize("spec", [UDP, UDP6], ids=["ipv4", "ipv6"])
BOTH_WAYS = pytest.mark.parametrize("way", ["to", "from"])


def measured(path: Path, spec: StreamSpec) -> StreamMetrics:
    extracted = read_arrivals(path / "a.pcapng", [spec])
    assert extracted.dropped == 0
    return measure_stream(
        trace(read_records(path / "a.sends")), trace(extracted.records[spec.name]),
        rate=spec.rate, tmax_ns=2_000_000_000, clock_err_ns=extracted.clock_err_ns,
    )  # fmt: skip


def rule_on_the_way(side: Side, rule: str) -> None:
    """A rule for what the side's bridge forwards of the stream, with a counter named ``c``."""
    side.run("nft", "-f", "-", stdin=(
        "table bridge t { counter c { }; chain f { type filter hook forward priority 0;"
        f" udp dport 5000 {rule}; }}; }}\n"
    ))  # fmt: skip


def counted(side: Side, family: str = "bridge") -> int:
    """Packets that the kernel's own counter has seen."""
    listed = json.loads(side.run("nft", "-j", "list", "counters", "table", family, "t"))
    (packets,) = [item["counter"]["packets"] for item in listed["nftables"] if "counter" in item]
    return int(packets)


def ends(pair: Pair, way: str, spec: StreamSpec) -> tuple[Side, Side, StreamSpec]:
    """Sender, receiver and stream, with the left side's bridge between them."""
    left, right = pair
    inner = through_bridge(left)
    if way == "to":
        return inner, right, spec
    # to nobody's address: that of the bridge's port would end in the bridge
    back = replace(
        spec.reversed(name="down"), source_port=4000, destination_port=5000,
        destination_mac="02:00:00:00:00:99",
    )  # fmt: skip
    return right, inner, back


@VERSIONS
@BOTH_WAYS
@pytest.mark.parametrize(("dropped", "of"), [(1, 10), (3, 7)])
def test_reported_loss_is_the_kernels_own_count_of_drops(
    pair: Pair, tmp_path: Path, spec: StreamSpec, way: str, dropped: int, of: int
) -> None:
    sender, receiver, spec = ends(pair, way, replace(spec, rate=2000.0, count=500))
    rule_on_the_way(pair[0], f"numgen inc mod {of} < {dropped} counter name c drop")
    sent, _ = send_and_capture(sender, receiver, spec, tmp_path)
    found = measured(tmp_path, spec)
    assert sent.sent == 500
    assert found.lost == counted(pair[0]) == sum(k % of < dropped for k in range(500))
    assert found.distinct == 500 - found.lost
    assert {period.length for period in found.loss.periods[:-1]} == {dropped}


@VERSIONS
@BOTH_WAYS
def test_reported_copies_are_those_that_the_kernel_made(
    pair: Pair, tmp_path: Path, spec: StreamSpec, way: str
) -> None:
    left, _ = pair
    sender, receiver, spec = ends(pair, way, replace(spec, rate=2000.0, count=300))
    entry, onward = ("vc", "va") if way == "to" else ("va", "vc")
    left.run("nft", "-f", "-", stdin=(
        "table netdev t { counter c { }; chain i { type filter hook ingress device"
        f" {entry} priority 0; udp dport 5000 numgen inc mod 4 0 counter name c"
        f' dup to "{onward}"; }}; }}\n'
    ))  # fmt: skip
    send_and_capture(sender, receiver, spec, tmp_path)
    found = measured(tmp_path, spec)
    assert found.extra_copies == found.copies.duplicated == counted(left, "netdev") == 75
    assert (found.sent, found.distinct, found.lost) == (300, 300, 0)


@BOTH_WAYS
def test_an_interruption_is_as_long_as_the_cut(pair: Pair, tmp_path: Path, way: str) -> None:
    sender, receiver, spec = ends(pair, way, replace(UDP, rate=1000.0, count=4000))
    # by the kernel's own clock, to the nanosecond; nft takes whole seconds
    begin = int(time.time()) + 2
    rule_on_the_way(pair[0], f"meta time >= {begin} meta time < {begin + 1} counter name c drop")
    sent, _ = send_and_capture(sender, receiver, spec, tmp_path)
    found = measured(tmp_path, spec)
    assert sent.sent == 4000
    assert found.lost == counted(pair[0]) > 0
    (period,) = found.loss.periods
    times = read_records(tmp_path / "a.sends").t_ns
    interval = 1_000_000
    # the two sends that the cut fell between may each have been late
    edges = times[period.first] - times[period.first - 1], (
        times[period.first + period.length] - times[period.first + period.length - 1]
    )  # fmt: skip
    jitter = sum(max(0, int(edge) - interval) for edge in edges)
    delays = found.delay.pdv_max_ns or 0
    by_time = found.interruption.by_time_ns
    assert by_time is not None
    assert abs(by_time - 1_000_000_000) <= interval + jitter + delays
    assert found.interruption.by_loss_ns == found.lost * interval
    assert found.interruption.unbracketed == 0


RELAY = """
import socket, sys
come, go, wanted, each, behind = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
inward, outward = (socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) for _ in range(2))
inward.setsockopt(263, 23, 1)  # nothing of what leaves
inward.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
inward.bind((come, 3))
outward.bind((go, 0))
inward.settimeout(20)
print("ready", flush=True)
held, passed, overtaken = [], 0, 0
for number in range(wanted):
    frame = inward.recv(65536)
    while b"FHPT" not in frame:
        frame = inward.recv(65536)
    if number % each == each // 2:
        held.append([frame, 0])
        continue
    outward.send(frame)
    for waiting in held:
        waiting[1] += 1
    while held and held[0][1] >= behind:
        outward.send(held.pop(0)[0])
        overtaken += 1
for frame, count in held:
    outward.send(frame)
    overtaken += count > 0
print(overtaken, flush=True)
"""


@VERSIONS
@pytest.mark.parametrize(("each", "behind"), [(10, 1), (10, 3), (25, 12)])
def test_reported_reordering_is_what_a_relay_reordered(
    pair: Pair, tmp_path: Path, spec: StreamSpec, each: int, behind: int
) -> None:
    left, right = pair
    spec = replace(spec, rate=2000.0, count=500)
    left.ip("link add vc type veth peer name vd")
    for name in ("vc", "vd"):
        left.ip(f"link set {name} up")
    replace(left, interface="vd").wait_up()
    words = ["vc", "va", "500", str(each), str(behind)]
    relay = left.spawn([sys.executable, "-c", RELAY, *words])
    capture = Capture.start(right.spawn, interface="vb", path=tmp_path / "a.pcapng")
    try:
        assert relay.stdout is not None
        assert relay.stdout.readline() == b"ready\n"
        Sender.start(left.spawn, spec, interface="vd", sends=tmp_path / "a.sends").join(30)
        overtaken = int(relay.communicate(timeout=30)[0])
        capture.stop()
    finally:
        capture.kill()
        relay.kill()
        relay.communicate(timeout=10)
    found = measured(tmp_path, spec)
    assert (found.sent, found.lost, found.extra_copies) == (500, 0, 0)
    assert found.reordered == overtaken == 500 // each
    assert set(found.order.extents.tolist()) == {behind}
    assert found.order.n_reordered(behind) == overtaken
    assert found.order.n_reordered(behind + 1) == 0
    assert np.all(found.order.seq % each == each // 2)
