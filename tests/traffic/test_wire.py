"""Sender to capture over a real veth pair: what is counted is what happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from scapy.utils import rdpcap

from harness.errors import LabError, RecordError
from harness.measure import StreamMetrics, Trace, measure_stream
from harness.traffic import frames
from harness.traffic.arrivals import read_arrivals
from harness.traffic.client import Capture, Sender
from harness.traffic.pcapng import PcapngFile
from harness.traffic.records import read_records
from harness.traffic.sender import FLOWING_AFTER
from harness.traffic.stream import StreamSpec
from tests.traffic.namespaces import Side, through_bridge
from tests.traffic.streams import ECHO, ECHO6, UDP, UDP6, send_and_capture, trace

Pair = tuple[Side, Side]


def measured(path: Path, spec: StreamSpec) -> StreamMetrics:
    """The metrics of the one stream in ``path``."""
    extracted = read_arrivals(path / "a.pcapng", [spec])
    assert extracted.dropped == 0
    return measure_stream(
        trace(read_records(path / "a.sends")), trace(extracted.records[spec.name]),
        rate=spec.rate, tmax_ns=2_000_000_000, clock_err_ns=extracted.clock_err_ns,
    )  # fmt: skip


def netem_works() -> bool:
    done = subprocess.run(
        ["unshare", "-n", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"],
        capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    return done.returncode == 0


needs_netem = pytest.mark.skipif(not netem_works(), reason="this kernel has no netem")

INJECT = """
import socket, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
link.bind(("va", 0))
for line in sys.stdin:
    link.send(bytes.fromhex(line))
"""


def test_two_thousand_a_second_arrive_complete_and_in_order(pair: Pair, tmp_path: Path) -> None:
    sent, captured = send_and_capture(*pair, UDP, tmp_path)
    found = measured(tmp_path, UDP)
    assert (sent.sent, sent.failed, captured.dropped) == (2000, 0, 0)
    assert (found.sent, found.distinct, found.lost) == (2000, 2000, 0)
    assert (found.reordered, found.extra_copies, found.strangers) == (0, 0, 0)
    assert found.largest_send_gap_ns == sent.largest_gap_ns


@pytest.mark.parametrize("spec", [UDP6, replace(UDP, vlan=100, count=200)], ids=["ipv6", "vlan"])
def test_other_kinds_of_frames_are_counted_too(
    pair: Pair, tmp_path: Path, spec: StreamSpec
) -> None:
    send_and_capture(*pair, spec, tmp_path)
    assert (measured(tmp_path, spec).sent, measured(tmp_path, spec).distinct) == (200, 200)


def test_numbers_that_wrap_are_one_stream(pair: Pair, tmp_path: Path) -> None:
    spec = replace(UDP, count=200)
    send_and_capture(*pair, spec, tmp_path, first_seq=2**32 - 100)
    found = measured(tmp_path, spec)
    assert (found.distinct, found.lost, found.reordered) == (200, 0, 0)


def test_dropping_each_tenth_packet_is_measured_as_that(pair: Pair, tmp_path: Path) -> None:
    left, right = pair
    left.run("nft", "-f", "-", stdin=(
        "table netdev t { chain c { type filter hook egress device va priority 0;"
        " udp dport 5000 numgen inc mod 10 0 counter drop; }; };\n"
    ))  # fmt: skip
    # nft drops an egress frame before the device: the kernel tells the sender nothing
    sent, _ = send_and_capture(left, right, replace(UDP, count=500), tmp_path)
    found = measured(tmp_path, UDP)
    assert sent.sent + sent.failed == 500
    assert found.distinct == 450
    assert found.lost == 50 - sent.failed


def test_dropping_on_the_way_is_measured_as_loss(pair: Pair, tmp_path: Path) -> None:
    left, right = pair
    start = through_bridge(left)
    left.run("nft", "-f", "-", stdin=(
        "table bridge t { chain c { type filter hook forward priority 0;"
        " udp dport 5000 numgen inc mod 10 3 counter drop; }; };\n"
    ))  # fmt: skip
    sent, _ = send_and_capture(start, right, replace(UDP, count=500), tmp_path)
    found = measured(tmp_path, UDP)
    assert sent.sent == 500
    assert (found.lost, found.distinct) == (50, 450)
    assert [period.seq for period in found.loss.periods] == list(range(3, 500, 10))
    assert set(found.loss.between.tolist()) == {10}


def test_injected_frames_are_counted_for_what_they_are(pair: Pair, tmp_path: Path) -> None:
    left, right = pair
    order = [0, 1, 2, 4, 5, 6, 3, 3, 8, 9, 9, 9]  # 3 is overtaken by three, 7 is lost
    path = tmp_path / "a.pcapng"
    capture = Capture.start(right.spawn, interface="vb", path=path)
    other = frames.build(replace(UDP, stream_id=99), 7, 0)
    lines = [other.hex(), *(frames.build(UDP, seq, 0).hex() for seq in order)]
    left.run(sys.executable, "-c", INJECT, stdin="\n".join(lines))
    capture.stop()
    arrived = trace(read_arrivals(path, [UDP]).records["up"])
    found = measure_stream(
        Trace.of(range(10), [int(arrived.t_ns.min())] * 10), arrived, rate=2000,
        tmax_ns=2_000_000_000,
    )  # fmt: skip
    assert arrived.seq.tolist() == order
    assert (found.sent, found.distinct, found.lost, found.reordered) == (10, 9, 1, 1)
    assert (found.extra_copies, found.copies.duplicated, found.strangers) == (3, 2, 0)
    assert (found.order.extents.tolist(), found.order.degrees.tolist()) == ([3], [3])


def test_duplicates_made_by_the_kernel_offset_no_loss(pair: Pair, tmp_path: Path) -> None:
    left, right = pair
    start = through_bridge(left)
    left.run("nft", "-f", "-", stdin=(
        "table netdev t { chain c { type filter hook ingress device vc priority 0;"
        ' udp dport 5000 dup to "va"; }; };\n'
    ))  # fmt: skip
    send_and_capture(start, right, replace(UDP, count=300), tmp_path)
    found = measured(tmp_path, UDP)
    assert (found.sent, found.arrivals, found.distinct) == (300, 600, 300)
    assert (found.extra_copies, found.copies.duplicated, found.lost) == (300, 300, 0)


@needs_netem
def test_duplicates_are_counted_and_offset_no_loss(pair: Pair, tmp_path: Path) -> None:
    left, right = pair
    left.run("tc", "qdisc", "add", "dev", "va", "root", "netem", "duplicate", "100%")
    send_and_capture(left, right, replace(UDP, count=300), tmp_path)
    found = measured(tmp_path, UDP)
    assert (found.sent, found.arrivals, found.distinct) == (300, 600, 300)
    assert (found.extra_copies, found.copies.duplicated, found.lost) == (300, 300, 0)


@needs_netem
def test_frames_sent_early_by_netem_are_seen_as_reordering(pair: Pair, tmp_path: Path) -> None:
    left, right = pair
    # every 5th goes at once, the others 4 ms later: it overtakes those sent just before it
    left.run(
        "tc", "qdisc", "add", "dev", "va", "root", "netem", "delay", "4ms", "reorder", "100%",
        "gap", "5",
    )  # fmt: skip
    spec = replace(UDP, count=None)
    capture = Capture.start(right.spawn, interface="vb", path=tmp_path / "a.pcapng")
    sending = Sender.start(left.spawn, spec, interface="va", sends=tmp_path / "a.sends")
    sending.wait_flowing(10)
    # the ping's answer comes after netem's delay: what was sent before it has come, too
    left.run("ping", "-c", "40", "-i", "0.01", "-W", "2", right.address)
    sent = sending.stop()
    left.run("ping", "-c", "2", "-i", "0.01", "-W", "2", right.address)
    capture.stop()
    found = measured(tmp_path, spec)
    assert found.lost == 0
    assert found.sent == sent.sent > 100
    # those overtaken are the reordered ones (RFC 4737), not the one that overtakes
    assert found.reordered > sent.sent // 5
    assert found.order.n_reordered(1) < found.reordered


@pytest.mark.parametrize("spec", [ECHO, ECHO6], ids=["ipv4", "ipv6"])
def test_echo_replies_carry_their_requests_numbers(
    pair: Pair, tmp_path: Path, spec: StreamSpec
) -> None:
    left, right = pair
    right.run("sysctl", "-q", "-w", "net.ipv4.icmp_msgs_per_sec=1000000",
              "net.ipv4.icmp_msgs_burst=1000000", "net.ipv6.icmp.ratelimit=0")  # fmt: skip
    # resolved beforehand, or the first replies wait for neighbour discovery
    right.ip(f"neighbour replace {spec.source} lladdr {left.mac} dev vb")
    send_and_capture(left, left, spec, tmp_path)
    found = measured(tmp_path, spec)
    assert (found.sent, found.distinct, found.lost) == (200, 200, 0)


def test_a_netdev_that_is_down_sends_nothing_and_that_is_said(pair: Pair, tmp_path: Path) -> None:
    left, right = pair
    left.ip("link set va down")
    sent, _ = send_and_capture(left, right, replace(UDP, count=50), tmp_path)
    assert (sent.sent, sent.failed, sent.errors) == (0, 50, {"ENETDOWN": 50})
    assert len(read_records(tmp_path / "a.sends")) == 0
    assert measured(tmp_path, UDP).loss_ratio is None


def test_the_sender_keeps_its_rate_and_says_how_well(pair: Pair, tmp_path: Path) -> None:
    sent, _ = send_and_capture(*pair, replace(UDP, rate=1000.0, count=500), tmp_path)
    found = measured(tmp_path, replace(UDP, rate=1000.0))
    assert found.send_rate is not None
    # a stall moves the schedule, and what it was moved by is said
    duration_ns = 499 / 1000 * 1e9 + sent.moved_ns
    assert found.send_rate == pytest.approx(499 / (duration_ns / 1e9), rel=0.05)


def test_a_stopped_sender_has_a_whole_record(pair: Pair, tmp_path: Path) -> None:
    left, _ = pair
    spec = replace(UDP, count=None)
    sending = Sender.start(left.spawn, spec, interface="va", sends=tmp_path / "a.sends")
    sending.wait_flowing(10)
    sent = sending.stop()
    assert sent.sent == len(read_records(tmp_path / "a.sends")) >= FLOWING_AFTER


def test_a_sender_whose_harness_is_gone_ends(pair: Pair, tmp_path: Path) -> None:
    left, _ = pair
    started: list[subprocess.Popen[bytes]] = []

    def spawn(argv: object) -> subprocess.Popen[bytes]:
        started.append(left.spawn(argv))  # type: ignore[arg-type]
        return started[0]

    spec = replace(UDP, count=None)
    sending = Sender.start(spawn, spec, interface="va", sends=tmp_path / "a.sends")
    assert started[0].stdin is not None
    started[0].stdin.close()
    assert started[0].wait(10) == 0
    sending.kill()


def test_a_missing_interface_is_named(pair: Pair, tmp_path: Path) -> None:
    left, _ = pair
    with pytest.raises(LabError, match=r"sender of stream up ended before its ready: nope0: "):
        Sender.start(left.spawn, UDP, interface="nope0", sends=tmp_path / "a.sends")
    with pytest.raises(LabError, match=r"capture of nope0 ended before its ready: nope0: "):
        Capture.start(left.spawn, interface="nope0", path=tmp_path / "a.pcapng")


def test_other_tools_read_the_capture(pair: Pair, tmp_path: Path) -> None:
    send_and_capture(*pair, replace(UDP, count=50), tmp_path)
    path = tmp_path / "a.pcapng"
    numbers = [frames.parse(bytes(packet)) for packet in rdpcap(str(path))]
    assert [one.seq for one in numbers if one] == list(range(50))
    if shutil.which("tcpdump"):
        done = subprocess.run(
            ["tcpdump", "-nr", str(path), "udp port 5000"], capture_output=True, text=True,
            timeout=20, check=True,
        )  # fmt: skip
        assert len(done.stdout.splitlines()) == 50


def test_a_capture_that_was_killed_is_cut_off_and_not_an_empty_one(
    pair: Pair, tmp_path: Path
) -> None:
    left, right = pair
    path = tmp_path / "a.pcapng"
    capture = Capture.start(right.spawn, interface="vb", path=path)
    sending = Sender.start(
        left.spawn, replace(UDP, count=None), interface="va", sends=tmp_path / "a.sends"
    )
    sending.wait_flowing(10)
    os.kill(capture.pid, signal.SIGKILL)
    os.kill(sending.pid, signal.SIGKILL)
    sending.kill()
    capture.kill()
    with pytest.raises(RecordError, match="did not come to its end"):
        read_arrivals(path, [UDP])
    with pytest.raises(RecordError, match="did not come to its end"):
        read_records(tmp_path / "a.sends")


def test_both_directions_are_told_apart_in_one_capture(pair: Pair, tmp_path: Path) -> None:
    left, right = pair
    path = tmp_path / "a.pcapng"
    capture = Capture.start(right.spawn, interface="vb", path=path, outgoing=True)
    back = replace(UDP, count=50).reversed(name="down", stream_id=8)
    for side, spec in ((left, replace(UDP, count=50)), (right, back)):
        Sender.start(side.spawn, spec, interface=side.interface, sends=tmp_path / spec.name).join(
            20
        )
    capture.stop()
    with PcapngFile(path) as file:
        directions = [
            (frame.direction, number.stream_id)
            for frame in file.frames()
            if (number := frames.parse(bytes(frame.data)))
        ]
    assert directions == [("in", 7)] * 50 + [("out", 8)] * 50
