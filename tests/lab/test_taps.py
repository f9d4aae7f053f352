"""Real captures by tcpdump on a tap: whole, with the direction of every frame, or with a reason."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.lab.taps import TapCapture, TapWatch, TcpdumpCounts, all_written, read_counts
from harness.plan.model import PairPlan, Placement, TapPlan
from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import Sandbox
from harness.traffic.arrivals import Leg, read_seen
from harness.traffic.frompcap import merge_pcaps
from harness.traffic.layout import HEAD, MAGIC
from harness.traffic.pcapng import ClockReading, PcapngFile
from harness.traffic.stream import StreamSpec

MAC, OTHER = "52:54:00:6f:55:cc", "02:00:00:00:00:01"
SPEC = StreamSpec.between(
    "10.9.0.1", "10.9.0.2", name="inbound", protocol="udp", source_mac=OTHER, destination_mac=MAC,
    stream_id=7, rate=1000, size=80, source_port=4000, destination_port=5000,
)  # fmt: skip
PAIRS = (PairPlan("net1", "hostdev0", MAC),)

# Stands in for a guest: it holds the tap's other end. Numbers COUNT, from the guest; then the
# namespace's own kernel sends as many back, through the tap to the guest.
GUEST = """
import fcntl, os, socket, struct, sys, time
name, count, payload = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1002 | 0x4000))
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind((name, 0))
# A tap whose other end was just opened sends nothing before the kernel has noticed.
end = time.monotonic() + 10
while open(f"/sys/class/net/{name}/operstate").read() != "up\\n":
    if time.monotonic() > end:
        sys.exit(name + " is not up")
for number in range(count):
    head = payload[:50] + struct.pack("!I", number) + payload[54:]
    os.write(tap, bytes(10) + head)
    link.send(payload[:50] + struct.pack("!I", 1000 + number) + payload[54:])
"""


def frame() -> bytes:
    """A numbered UDP packet of the stream, number 0; the number is 50 octets into the frame."""
    ether = bytes.fromhex((MAC + OTHER).replace(":", "")) + b"\x08\x00"
    head = bytes([0x45, 0, 0, 80, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2])
    udp = b"\x0f\xa0\x13\x88\x00\x3c\x00\x00"
    return ether + head + udp + HEAD.pack(MAGIC, 7, 0, 0, 0) + bytes(32)


@pytest.fixture
def machine() -> Iterator[NamespaceMachine]:
    with Sandbox("taps") as sandbox, NamespaceMachine(sandbox, sandbox.root, name="alpha") as made:
        made.run(["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])
        for name in ("t0", "t1"):
            made.links.create_tap(name)
            made.links.set(name, up=True)
        yield made


def watch(
    machine: NamespaceMachine, *, tap: str = "t0", number: int = 2, immediate: bool = False
) -> TapWatch:
    taps = (
        TapPlan("net1", tap, "br0", MAC, 1, 1500, False),
        TapPlan("hostdev0", "t1", "br0", MAC, 1, 1500, True),
        TapPlan("plain", "t2", "br0", OTHER, 1, 1500, False),
    )
    placement = Placement("g1", "alpha", taps)
    run = f"{machine.scratch}/g1.{number}"
    machine.make_directory(run)
    return TapWatch(machine, placement, PAIRS, run=run, number=number, immediate=immediate)


def speak(machine: NamespaceMachine, count: int) -> None:
    machine.run([sys.executable, "-c", GUEST, "t0", str(count), frame().hex()])


def merged(machine: NamespaceMachine, capture: TapCapture, target: Path) -> tuple[int, int]:
    assert capture.from_guest is not None
    assert capture.to_guest is not None

    def clock(real_ns: int) -> ClockReading:
        at = machine.clock.stamp("realtime", real_ns)
        return ClockReading(real_ns, real_ns - at.t_ns, at.err_ns)

    made = merge_pcaps(
        capture.from_guest.path, capture.to_guest.path, target, interface=capture.ifname,
        snaplen=128, program="test", clock=clock, now_ns=machine.clock.sample().realtime_ns,
        dropped=capture.dropped,
    )  # fmt: skip
    assert (made.inbound, made.outbound) == (capture.from_guest.frames, capture.to_guest.frames)
    return made.inbound, made.outbound


@pytest.mark.parametrize("immediate", [True, False])
def test_every_frame_until_the_end_is_there_with_its_direction_and_time(
    machine: NamespaceMachine, tmp_path: Path, immediate: bool
) -> None:
    taps = watch(machine, immediate=immediate)
    taps.begin()
    taps.wait_listening()
    before = machine.clock.sample().here_ns
    speak(machine, 700)
    after = machine.clock.sample().here_ns
    taps.end()  # at once: the last frames still wait in the kernel

    standby, primary = taps.fetch(tmp_path)

    assert (standby.problem, primary.problem) == ("", "")
    assert (standby.role, standby.standby, standby.number) == ("standby", "net1", 2)
    assert (primary.role, primary.standby, primary.ifname) == ("primary", "net1", "t1")
    path = tmp_path / "standby.pcapng"
    assert merged(machine, standby, path) == (700, 700)
    came, went = read_seen(path, [Leg(SPEC, False, outgoing=False), Leg(SPEC, False, True)])
    assert came.seq.tolist() == list(range(700))
    assert went.seq.tolist() == list(range(1000, 1700))
    for records in (came, went):
        assert before - 1_000_000 <= records.t_ns.min()
        assert records.t_ns.max() <= after + 1_000_000
    with PcapngFile(path) as capture:
        times = [one.real_ns for one in capture.frames()]
    assert times == sorted(times)
    # Others can open it, too; tcpdump reads it by the same library as Wireshark's dumpcap.
    told = machine.run(["tcpdump", "-n", "-r", str(path)]).stdout
    assert len(told.splitlines()) == 1400


def test_a_tap_on_which_nothing_went_is_a_whole_and_empty_capture(
    machine: NamespaceMachine, tmp_path: Path
) -> None:
    taps = watch(machine)
    taps.begin()
    taps.wait_listening()
    taps.end()

    _, primary = taps.fetch(tmp_path)

    assert primary.problem == ""
    path = tmp_path / "primary.pcapng"
    assert merged(machine, primary, path) == (0, 0)
    assert [len(one) for one in read_seen(path, [Leg(SPEC, False, outgoing=True)])] == [0]


def test_a_host_without_tcpdump_gives_no_capture_and_the_reason(
    machine: NamespaceMachine, tmp_path: Path
) -> None:
    where = machine.run(["sh", "-c", "command -v tcpdump"]).stdout.strip()
    # The sandbox has a mount namespace of its own: only there the program is gone.
    machine.run(["mount", "--bind", "/dev/null", where])
    taps = watch(machine)
    taps.begin()
    taps.wait_listening()
    taps.end()

    captures = taps.fetch(tmp_path)

    assert [one.problem for one in captures] == ["no tcpdump on alpha"] * 2
    assert [one.from_guest for one in captures] == [None, None]


def test_a_tap_that_is_not_there_is_a_problem_and_no_error(
    machine: NamespaceMachine, tmp_path: Path
) -> None:
    taps = watch(machine, tap="t9")
    taps.begin()
    taps.wait_listening()
    taps.end()

    standby, primary = taps.fetch(tmp_path)

    assert "tcpdump on t9 of alpha ended by itself with status 1" in standby.problem
    assert "(No such device exists)" in standby.problem
    assert primary.problem == ""


def test_a_capture_that_was_killed_in_the_middle_is_not_whole(
    machine: NamespaceMachine, tmp_path: Path
) -> None:
    taps = watch(machine)
    taps.begin()
    taps.wait_listening()
    speak(machine, 50)
    listed = machine.run(["pgrep", "-f", "tcpdump.*t0.in.pcap"]).stdout.split()
    for pid in listed:
        machine.run(["kill", f"-{signal.SIGKILL.value}", pid], check=False)
    taps.end()

    standby, primary = taps.fetch(tmp_path)

    assert "ended by itself with status -9" in standby.problem
    assert standby.from_guest is None
    assert primary.problem == ""


def test_frames_that_the_kernel_dropped_make_a_capture_incomplete(
    machine: NamespaceMachine, tmp_path: Path
) -> None:
    taps = watch(machine)
    taps.begin()
    taps.wait_listening()
    listed = machine.run(["pgrep", "-f", "tcpdump.*t0.in.pcap"]).stdout.split()
    # One that is stopped takes nothing, until its buffer is full.
    machine.run(["kill", "-STOP", *listed])
    for _ in range(20):
        speak(machine, 5000)
    machine.run(["kill", "-CONT", *listed])
    taps.end()

    standby, _ = taps.fetch(tmp_path)

    assert "the kernel of alpha dropped" in standby.problem
    assert standby.dropped > 0


def test_a_capture_that_was_not_ended_is_not_whole(
    machine: NamespaceMachine, tmp_path: Path
) -> None:
    taps = watch(machine)
    taps.begin()
    taps.wait_listening()

    captures = taps.fetch(tmp_path)

    assert {one.problem for one in captures} == {"the capture on alpha was not ended"}


def test_tcpdumps_counts_are_read_in_both_of_its_ways_to_tell_them() -> None:
    log = (
        "tcpdump: listening on t0, link-type EN10MB (Ethernet), snapshot length 128 bytes\n"
        "tcpdump: 1 packet captured, 5 packets received by filter, 0 packets dropped by kernel\n"
        "tcpdump: 2 packets captu"
    )
    assert read_counts(log) == (TcpdumpCounts(1, 5, 0),)
    end = "4 packets captured\n5 packets received by filter\n1 packet dropped by kernel\n"
    assert read_counts(end) == (TcpdumpCounts(4, 5, 1),)
    assert read_counts("") == ()


def counts(captured: int, received: int, dropped: int = 0) -> TcpdumpCounts:
    return TcpdumpCounts(captured, received, dropped)


def test_all_is_written_once_both_have_written_what_had_been_seen_when_first_asked() -> None:
    coming, both = [counts(3, 3)], [counts(0, 5), counts(1, 6)]
    assert not all_written([coming, both])
    assert all_written([[*coming, counts(4, 4)], both])


def test_one_that_has_not_answered_yet_is_waited_for() -> None:
    assert not all_written([[counts(3, 3)], []])


def test_a_frame_from_before_it_listened_is_not_waited_for_for_ever() -> None:
    still = [counts(3, 3)] * 12, [counts(2, 6)] * 12
    assert all_written(still)
    assert not all_written((still[0][:-1], still[1]))
    assert not all_written((still[0], [*still[1][:-1], counts(2, 7)]))


def test_what_the_kernel_dropped_is_not_waited_for() -> None:
    assert all_written([[counts(0, 0)], [counts(1, 9, 1)]])
