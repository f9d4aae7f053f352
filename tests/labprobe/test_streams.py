"""Streams that labprobe sends and receives, of every kind, against real ends in namespaces."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import LabError
from harness.observe.record import now_ns
from harness.traffic.client import Capture, Sender
from harness.traffic.guestdump import echo_replies
from harness.traffic.pcapng import PcapngFile
from harness.traffic.tcpclient import TcpEnd
from harness.traffic.tcprecord import (
    TcpRecord,
    TcpSpec,
    intact,
    ramp,
    read_tcp_record,
    write_tcp_record,
)
from tests.labprobe.guests import Guest, guest
from tests.traffic.namespaces import Side
from tests.traffic.streams import UDP

Pair = tuple[Side, Side]
VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
TO_GUEST = TcpSpec.between(
    "10.9.0.1", "10.9.0.2", name="up", stream_id=7, port=5000, rate=500_000.0, octets=200_001
)
TO_GUEST6 = replace(
    TcpSpec.between("fd00:9::1", "fd00:9::2", name="up", stream_id=7, port=5000, rate=500_000.0),
    octets=200_001,
)


def vlan_works() -> bool:
    add = "ip link add d0 type veth peer name d1 && ip link add link d0 name d0.1 type vlan id 1"
    argv = ["unshare", "-n", "sh", "-c", add]
    return subprocess.run(argv, capture_output=True, timeout=20, check=False).returncode == 0


def until(what: Callable[[], bool], why: str) -> None:
    """Ask again and again until it is so, 20 s at most."""
    pause = threading.Event()
    for _ in range(1000):
        if what():
            return
        pause.wait(0.02)
    raise AssertionError(why)


# -- packets ---------------------------------------------------------------------------------


@VERSIONS
def test_echoes_of_a_guest_are_recorded_as_requests_and_as_replies(
    one: Guest, pair: Pair, version: int
) -> None:
    left, right = pair
    left.run("sysctl", "-q", "-w", "net.ipv4.icmp_msgs_per_sec=1000000",
             "net.ipv4.icmp_msgs_burst=1000000", "net.ipv6.icmp.ratelimit=0")  # fmt: skip
    target = left.address if version == 4 else left.address6
    for side, there, mac in ((left, right, right.mac), (right, left, left.mac)):
        address = there.address if version == 4 else there.address6
        side.ip(f"neighbour replace {address} lladdr {mac} dev {side.interface}")
    one.link.start_echo_sink(9, version=version)
    one.link.start_sender(9, target, None, rate=1000, size=129, count=300)
    until(lambda: len(one.link.dump(echo_replies(9)).records) >= 300, "replies are missing")
    one.link.stop(9)
    one.link.stop(echo_replies(9))
    requests, replies = one.link.dump(9), one.link.dump(echo_replies(9))
    assert requests.records.seq.tolist() == replies.records.seq.tolist() == list(range(300))
    assert (requests.totals.failed, replies.totals.foreign) == (0, 0)
    assert replies.records.stream_id == 9
    assert (replies.records.t_ns > requests.records.t_ns).all()


@VERSIONS
def test_the_guests_packets_carry_their_class(
    one: Guest, pair: Pair, tmp_path: Path, version: int
) -> None:
    left, right = pair
    target = left.address if version == 4 else left.address6
    right.ip(f"neighbour replace {target} lladdr {left.mac} dev vb")
    capture = Capture.start(left.spawn, interface="va", path=tmp_path / "c", promiscuous=True)
    one.link.start_sender(7, target, 5000, rate=1000, size=128, count=20, dscp=46)
    until(lambda: one.link.dump(7).totals.sent == 20, "not sent")
    capture.stop()
    kind = b"\x08\x00" if version == 4 else b"\x86\xdd"
    with PcapngFile(tmp_path / "c") as file:
        frames = [bytes(one.data) for one in file.frames()]
    mine = [frame for frame in frames if frame[12:14] == kind and b"FHPT" in frame]
    # of IPv6 the class lies across the first two octets
    classes = {
        frame[15] if version == 4 else (frame[14] << 8 | frame[15]) >> 4 & 0xFF for frame in mine
    }
    assert len(mine) == 20
    assert classes == {46 << 2}


@pytest.mark.skipif(not vlan_works(), reason="this kernel has no VLAN netdevs")
def test_tagged_frames_reach_the_guests_vlan_and_come_from_it(
    one: Guest, pair: Pair, tmp_path: Path
) -> None:
    left, right = pair
    right.ip("link add link vb name vb.100 type vlan id 100")
    right.ip("address add 10.10.0.2/24 dev vb.100")
    right.ip("link set vb.100 up")
    right.ip(f"neighbour add 10.10.0.1 lladdr {left.mac} dev vb.100")
    there = replace(
        UDP, source=type(UDP.source)("10.10.0.1"), destination=type(UDP.source)("10.10.0.2"),
        vlan=100, count=200,
    )  # fmt: skip
    one.link.start_sink(7, 5000)
    Sender.start(left.spawn, there, interface="va", sends=tmp_path / "s").join(20)
    assert one.link.stop(7).records == 200
    capture = Capture.start(left.spawn, interface="va", path=tmp_path / "c", promiscuous=True)
    one.link.start_sender(8, "10.10.0.1", 5000, rate=1000, size=128, count=50)
    until(lambda: one.link.dump(8).totals.sent == 50, "not sent")
    capture.stop()
    with PcapngFile(tmp_path / "c") as file:
        mine = [bytes(one.data[12:18]) for one in file.frames() if b"FHPT" in bytes(one.data)]
    assert mine == [bytes.fromhex("810000640800")] * 50


# -- TCP -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [TO_GUEST, TO_GUEST6], ids=["ipv4", "ipv6"])
def test_what_a_namespace_sends_over_tcp_a_guest_gets_whole(
    one: Guest, pair: Pair, tmp_path: Path, spec: TcpSpec
) -> None:
    one.link.start_tcp_sink(7, 5000, version=spec.version)
    sent = TcpEnd.start(pair[0].spawn, spec, "sender").join(20)
    until(lambda: one.link.dump_tcp(7).totals.whole, "the sink did not see the end")
    one.link.stop_tcp(7)
    got = one.link.dump_tcp(7)
    assert (got.totals.octets, got.totals.corrupt, got.totals.first_corrupt) == (200_001, 0, -1)
    assert intact(sent, got)
    assert (sent.totals.unacknowledged, sent.totals.broken) == (0, 0)
    assert sum(row.value for row in got.rows if row.kind == "progress") == 200_001
    write_tcp_record(tmp_path / "r", got)
    assert read_tcp_record(tmp_path / "r") == got


@pytest.mark.parametrize("spec", [TO_GUEST, TO_GUEST6], ids=["ipv4", "ipv6"])
def test_what_a_guest_sends_over_tcp_a_namespace_gets_whole(
    one: Guest, pair: Pair, spec: TcpSpec
) -> None:
    spec = replace(spec, source=spec.destination, destination=spec.source)
    sink = TcpEnd.start(pair[0].spawn, spec, "sink")
    one.link.start_tcp_sender(7, str(spec.destination), 5000, rate=500_000, octets=200_001)
    got = sink.join(20)
    one.link.stop_tcp(7)
    sent = one.link.dump_tcp(7)
    assert (got.totals.octets, got.totals.corrupt) == (200_001, 0)
    assert intact(sent, got)
    # the rate is kept: 0.4 s, and no less
    assert got.rows[-1].t_ns - sent.rows[0].t_ns < 2_000_000_000


def test_guest_to_guest_over_tcp_until_told_to_stop(
    labprobe: Path, one: Guest, pair: Pair, tmp_path: Path
) -> None:
    with guest(labprobe, pair[0], tmp_path / "other") as other:
        one.link.start_tcp_sink(7, 5000)
        other.link.start_tcp_sender(7, "10.9.0.2", 5000, rate=100_000)
        until(lambda: one.link.dump_tcp(7).totals.octets > 20_000, "nothing flows")
        other.link.stop_tcp(7)
        until(lambda: one.link.dump_tcp(7).totals.whole, "the sink did not see the end")
        one.link.stop_tcp(7)
        assert intact(other.link.dump_tcp(7), one.link.dump_tcp(7))


@pytest.mark.parametrize("direction", ["to-guest", "from-guest"])
def test_a_cut_is_a_stall_as_long_as_the_cut_and_tcps_back_off(
    one: Guest, pair: Pair, direction: str
) -> None:
    left, right = pair
    spec = replace(TO_GUEST, rate=100_000.0, octets=None)
    if direction == "to-guest":
        one.link.start_tcp_sink(7, 5000)
        sender = TcpEnd.start(left.spawn, spec, "sender")
        sender.wait_flowing(10)
    else:
        spec = replace(spec, source=spec.destination, destination=spec.source)
        sink = TcpEnd.start(left.spawn, spec, "sink")
        one.link.start_tcp_sender(7, "10.9.0.1", 5000, rate=100_000)
        sink.wait_flowing(10)
    pause = threading.Event()
    pause.wait(0.3)  # TCP has measured its round trip by then
    cut = now_ns()
    for side in (left, right):  # what comes in: a sender is told nothing of it
        drop = f"chain c {{ type filter hook ingress device {side.interface} priority 0; drop; }};"
        side.run("nft", "-f", "-", stdin=f"table netdev t {{ {drop} }};\n")
    began = now_ns()
    pause.wait(1.0)
    mending = now_ns()
    for side in (left, right):
        side.run("nft", "delete", "table", "netdev", "t")
    mended = now_ns()
    pause.wait(2.0 * (mended - cut) / 1e9)  # the next retransmission is due by then
    if direction == "to-guest":
        sent = sender.stop()
        until(lambda: one.link.dump_tcp(7).totals.whole, "the sink did not see the end")
        one.link.stop_tcp(7)
        got = one.link.dump_tcp(7)
    else:
        one.link.stop_tcp(7)
        sent, got = one.link.dump_tcp(7), sink.join(10)
    assert intact(sent, got)
    assert sent.totals.retransmitted > 0
    assert got.totals.longest_stall_ns >= mending - began
    # retransmissions come at RTO, 3 RTO, 7 RTO ...: the first after the mend ends the stall
    assert got.totals.longest_stall_ns <= 2 * (mended - cut) + 500_000_000
    widest = max(got.stalls(), key=lambda row: row.value)
    assert widest.kind == "stall"
    assert widest.t_ns >= mending


def test_a_guest_that_is_cut_off_for_good_is_silent(one: Guest, pair: Pair) -> None:
    left, right = pair
    one.link.start_tcp_sink(7, 5000)
    sender = TcpEnd.start(left.spawn, replace(TO_GUEST, octets=None), "sender")
    sender.wait_flowing(10)
    until(lambda: one.link.dump_tcp(7).totals.octets > 0, "nothing flows")
    right.ip("link set vb down")
    threading.Event().wait(0.4)
    one.link.stop_tcp(7)
    got, sent = one.link.dump_tcp(7), sender.stop()
    assert not intact(sent, got)
    assert not got.totals.whole
    assert [row.kind for row in got.stalls()][-1:] == ["silence"]
    assert sent.totals.unacknowledged > 0


class _FlippingProxy(threading.Thread):
    """Takes one connection, passes it on, and flips a bit of one octet."""

    def __init__(self, listener: socket.socket, onward: socket.socket, at: int) -> None:
        super().__init__(daemon=True)
        self._listener, self._onward, self._at = listener, onward, at

    def run(self) -> None:
        connection, _ = self._listener.accept()
        passed = 0
        with connection, self._onward:
            while data := bytearray(connection.recv(65536)):
                if passed <= self._at < passed + len(data):
                    data[self._at - passed] ^= 0x10
                passed += len(data)
                self._onward.sendall(data)


@pytest.mark.parametrize("sink", ["guest", "namespace"])
def test_an_octet_changed_on_the_way_is_found_where_it_is(
    labprobe: Path, tmp_path: Path, sink: str
) -> None:
    # both ends and the proxy on this machine's loopback
    spec = TcpSpec.between(
        "127.0.0.1", "127.0.0.1", name="up", stream_id=7, port=free_port(), rate=1e6,
        octets=150_000,
    )  # fmt: skip
    here = Side(1, "lo", "", "127.0.0.1", "::1")
    with guest(labprobe, _Here(**vars(here)), tmp_path / "port") as one:
        end = None
        if sink == "guest":
            one.link.start_tcp_sink(7, spec.port)
        else:
            end = TcpEnd.start(_Here(**vars(here)).spawn, spec, "sink")
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(20)
        onward = socket.create_connection(("127.0.0.1", spec.port), timeout=20)
        proxy = _FlippingProxy(listener, onward, 77_777)
        proxy.start()
        through = listener.getsockname()[1]
        got: TcpRecord
        if end is None:
            sending = TcpEnd.start(
                _Here(**vars(here)).spawn, replace(spec, port=through), "sender"
            )  # fmt: skip
            sent = sending.join(20)
            until(lambda: one.link.dump_tcp(7).totals.whole, "the sink did not see the end")
            got = one.link.dump_tcp(7)
        else:
            one.link.start_tcp_sender(7, "127.0.0.1", through, rate=1e6, octets=150_000)
            got = end.join(20)
            sent = one.link.dump_tcp(7)
        proxy.join(10)
        listener.close()
    assert (got.totals.octets, got.totals.corrupt) == (150_000, 1)
    assert got.totals.first_corrupt == 77_777
    assert not intact(sent, got)


class _Here(Side):
    """This machine's own namespace, for what needs loopback only."""

    def enter(self, argv: object) -> list[str]:
        return list(argv)  # type: ignore[call-overload,no-any-return]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_a_connection_that_is_refused_is_said(one: Guest, pair: Pair) -> None:
    one.link.start_tcp_sender(7, "10.9.0.1", 5000, rate=1000)
    until(lambda: one.link.dump_tcp(7).totals.broken != 0, "no errno")
    assert one.link.stop_tcp(7).connected is False
    refused = TcpEnd.start(pair[0].spawn, TO_GUEST, "sender").join(10)
    assert (refused.totals.connected, refused.totals.octets) == (False, 0)
    assert refused.totals.broken == one.link.dump_tcp(7).totals.broken


def test_a_port_that_is_taken_is_an_error_of_the_lab(one: Guest, pair: Pair) -> None:
    one.link.start_tcp_sink(7, 5000)
    with pytest.raises(LabError, match="in use"):
        TcpEnd.start(pair[1].spawn, TO_GUEST, "sink")
    with pytest.raises(LabError, match="in use"):
        one.link.start_tcp_sink(8, 5000)


def test_the_ramp_is_each_octets_place() -> None:
    whole = ramp(7, 0, 4096)
    assert whole[:16] == bytes([0, 7, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 1])
    for at, count in ((0, 1), (3, 9), (8, 8), (1001, 77)):
        assert ramp(7, at, count) == whole[at : at + count]
