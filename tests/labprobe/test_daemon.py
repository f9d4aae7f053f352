"""labprobe against the real kernel, through the session that the harness uses."""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import subprocess
import termios
import threading
import time
import tty
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import LabError
from harness.measure import Trace, measure_stream
from harness.observe import GuestClock, LinkEvent, Note
from harness.observe.record import now_ns
from harness.traffic.client import Sender
from harness.traffic.records import read_records
from tests.labprobe.guests import Guest, guest
from tests.traffic.namespaces import Side
from tests.traffic.streams import UDP


def test_netdevs_that_were_there_are_reported_whole(one: Guest) -> None:
    added = one.wait_event("vb", "added").link
    assert (added.mac, added.driver, added.mtu) == ("02:00:00:00:00:02", "veth", 1500)
    assert added.operstate == "up"
    assert added.carrier is True
    assert {"10.9.0.2/24", "fd00:9::2/64"} <= set(added.addresses)


def test_a_netdevs_life_is_told_in_its_order(one: Guest) -> None:
    side = one.side
    side.ip("link add br0 type bridge")
    side.ip("link add v0 type veth peer name v1")
    for command in ("v0 up", "v1 up", "v0 master br0", "v0 nomaster", "v1 down"):
        side.ip(f"link set {command}")
    side.ip("link del v0")
    one.wait_event("v0", "removed")
    told = [event.event for event in one.events("v0") if event.event != "changed"]
    assert told == ["added", "up", "enslaved", "released", "down", "removed"]
    enslaved = one.wait_event("v0", "enslaved").link
    assert (enslaved.master, enslaved.driver) == ("br0", "veth")
    assert one.wait_event("v0", "released").link.master is None


def test_a_changed_master_is_released_and_enslaved(one: Guest) -> None:
    one.side.ip("link add br0 type bridge")
    one.side.ip("link add br1 type bridge")
    one.side.ip("link add d0 type veth peer name d1")
    one.side.ip("link set d0 master br0")
    one.side.ip("link set d0 nomaster")
    one.side.ip("link set d0 master br1")
    one.side.ip("link del d0")
    one.wait_event("d0", "removed")
    masters = [
        (event.event, event.link.master)
        for event in one.events("d0")
        if event.event in ("enslaved", "released")
    ]
    assert masters[:3] == [("enslaved", "br0"), ("released", None), ("enslaved", "br1")]


def test_addresses_and_mtu_are_followed(one: Guest) -> None:
    one.side.ip("address add 10.77.0.1/16 dev vb")
    one.side.ip("address del 10.77.0.1/16 dev vb")
    one.side.ip("link set vb mtu 1400")
    assert one.log.wait(
        lambda f: isinstance(f, LinkEvent) and f.link.mtu == 1400 and f.link.name == "vb",
        timeout=5,
    )
    held = ["10.77.0.1/16" in event.link.addresses for event in one.events("vb")]
    assert True in held
    assert held[-1] is False


def test_a_message_that_changes_nothing_else_says_why_it_was_sent(one: Guest) -> None:
    one.side.ip("link set vb promisc on")
    one.side.ip("link set vb promisc off")
    one.side.ip("address replace 10.9.0.2/24 dev vb")
    for why in ("+PROMISC", "-PROMISC", "a known address"):
        assert one.log.wait(
            lambda f, why=why: (  # type: ignore[misc]
                isinstance(f, LinkEvent) and (f.link.name, f.event, f.why) == ("vb", "changed", why)
            ),
            timeout=5,
        ), f"no {why}: {[event.why for event in one.events('vb')]}"


def test_an_event_is_dated_around_the_moment_it_happened(one: Guest) -> None:
    assert one.log.wait(lambda f: isinstance(f, GuestClock), timeout=5)
    before = now_ns()
    one.side.ip("link set vb down")
    after = now_ns()
    fact = one.wait_event("vb", "down")
    assert fact.t_ns + fact.err_ns >= before
    # the guest stamps a message when it reads it, which a busy machine can delay
    assert fact.t_ns - fact.err_ns <= after + 500_000_000
    assert fact.err_ns < 500_000_000


def test_a_flood_of_changes_loses_nothing(one: Guest) -> None:
    lines = "".join(f"link add d{i} type bridge\nlink del d{i}\n" for i in range(100))
    one.side.run("ip", "-batch", "-", stdin=lines)
    one.wait_event("d99", "removed", timeout=20)
    for i in range(100):
        told = [e.event for e in one.events(f"d{i}") if e.event in ("added", "removed")]
        assert told == ["added", "removed"], f"d{i}"


def test_a_snapshot_shows_what_the_guest_has_now(one: Guest) -> None:
    one.side.ip("link add d0 type bridge")
    one.wait_event("d0", "added")
    links = {link.name: link for link in one.link.snapshot("now").links}
    assert set(links) == {"lo", "vb", "d0"}
    assert links["d0"].driver == "bridge"


def test_a_stream_to_the_guest_is_recorded_packet_by_packet(
    one: Guest, pair: tuple[Side, Side], tmp_path: Path
) -> None:
    one.link.start_sink(7, 5000)
    sends = tmp_path / "s"
    Sender.start(
        pair[0].spawn, replace(UDP, count=1000), interface="va", sends=sends
    ).join(30)  # fmt: skip
    totals = one.link.stop(7)
    dump = one.link.dump(7)
    sent = read_records(sends)
    times, errors = one.link.to_run(dump.records.t_ns)
    found = measure_stream(
        Trace(sent.seq, sent.t_ns), Trace(dump.records.seq, times), rate=2000,
        tmax_ns=2_000_000_000, clock_err_ns=int(errors.max()),
    )  # fmt: skip
    assert (totals.records, totals.foreign, totals.complete) == (1000, 0, True)
    assert (found.sent, found.distinct, found.lost, found.reordered) == (1000, 1000, 0, 0)


@pytest.mark.parametrize(
    ("destination", "version"), [("10.9.0.2", 4), ("fd00:9::2", 6)], ids=["ipv4", "ipv6"]
)
def test_a_stream_from_guest_to_guest_counts_exactly(
    labprobe: Path, one: Guest, pair: tuple[Side, Side], tmp_path: Path, destination: str,
    version: int,
) -> None:  # fmt: skip
    with guest(labprobe, pair[0], tmp_path / "other") as other:
        one.link.start_sink(7, 5000, version=version)
        other.link.start_sender(7, destination, 5000, rate=2000, size=128, count=700)
        assert other.log.wait(lambda f: isinstance(f, GuestClock), timeout=5)
        sent = wait_ended(other, 7)
        got = one.link.stop(7)
        sends, arrivals = other.link.dump(7), one.link.dump(7)
    assert (sent, got.records) == (700, 700)
    assert sends.records.seq.tolist() == arrivals.records.seq.tolist() == list(range(700))
    assert np.all(arrivals.records.t_ns >= sends.records.t_ns)  # one machine, one clock


def wait_ended(one: Guest, stream_id: int) -> int:
    """Packets sent when the sender has come to its count (700 at 2,000/s)."""
    deadline = threading.Event()
    for _ in range(200):
        dump = one.link.dump(stream_id)
        if dump.totals.sent + dump.totals.failed >= 700:
            return one.link.stop(stream_id).sent
        deadline.wait(0.02)
    raise AssertionError("the sender did not come to its end")


def test_a_send_that_the_kernel_refused_was_not_sent(one: Guest) -> None:
    one.side.ip("link set vb down")
    one.wait_event("vb", "down")
    one.link.start_sender(7, "10.9.0.1", 5000, rate=1000, size=100, count=0)
    dump = one.link.dump(7)
    while not dump.totals.failed:
        dump = one.link.dump(7)
    totals = one.link.stop(7)
    dump = one.link.dump(7)
    assert totals.sent == 0
    assert len(dump.records) == 0
    assert sum(dump.errors.values()) == totals.failed > 0


def test_what_is_not_the_streams_is_counted_apart(one: Guest) -> None:
    one.link.start_sink(7, 5000)
    one.side.run("sh", "-c", "echo hello > /dev/udp/10.9.0.2/5000 || true")
    script = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        " [s.sendto(b'x' * 64, ('10.9.0.2', 5000)) for _ in range(5)]"
    )
    one.side.run("python3", "-c", script)
    totals = one.link.stop(7)
    assert (totals.records, totals.foreign) == (0, 5)


def test_the_port_may_hang_up_and_come_back(one: Guest) -> None:
    first = one.sockets[0]
    one.side.ip("link add d0 type bridge")
    one.wait_event("d0", "added")
    first.shutdown(socket.SHUT_RDWR)
    one.side.ip("link add d1 type bridge")  # nobody listens
    one.side.ip("link del d0")
    one.link.attach(one.accept())
    one.wait_event("d0", "removed")
    assert one.events("d1")[0].event == "added"
    assert not [fact for fact in one.log.facts if isinstance(fact, Note)]


def test_lines_that_nobody_read_are_sent_again_on_request(
    labprobe: Path, pair: tuple[Side, Side], tmp_path: Path
) -> None:
    with raw_daemon(labprobe, pair[1]) as process:
        first = ask(process, "@1 ping", lambda line: line.get("re") == 1)
        again = ask(process, "@2 again 0", lambda line: line.get("re") == 2)
    assert [line["n"] for line in first] == list(range(len(first)))
    # what was new when the command came may be before the repetition
    repeated = again[[line["n"] for line in again].index(0) :]
    assert [line["n"] for line in repeated] == list(range(len(repeated)))
    assert repeated[: len(first)] == first


def test_it_starts_anew_and_reports_the_netdevs_again(one: Guest) -> None:
    one.link.start_sink(7, 5000)
    one.wait_event("vb", "added")
    before = (one.process.pid, len(one.events("vb")))
    # The clock of the machine that tests is left alone; the seed does no harm.
    one.link._send(f"@9 afresh - {'5a' * 32}\n")
    one.link.attach(one.accept())
    assert one.log.wait(lambda fact: isinstance(fact, Note), timeout=10)
    assert one.log.wait(lambda fact: len(one.events("vb")) > before[1], timeout=10)
    assert one.events("vb")[-1].event == "added"
    assert one.process.pid == before[0]
    assert one.process.poll() is None
    with pytest.raises(LabError, match="there is no such stream"):
        one.link.stop(7)


@pytest.mark.parametrize(
    "command",
    ["nonsense", "sink 0 5000", "sink 7", "sink 7 5000 5", "send 7 nowhere 5000 10 100 1",
     "send 7 10.9.0.1 5000 10 20 1", "send 7 10.9.0.1 5000 -1 100 1", "stop 7",
     "dump 9", "beacon x", "afresh -", "afresh - 5a5a", "afresh x " + "5a" * 32],
)  # fmt: skip
def test_a_wrong_command_gets_an_error_and_nothing_else_happens(one: Guest, command: str) -> None:
    with pytest.raises(LabError):
        one.link._ask(command, 5)
    assert one.process.poll() is None


def test_beacons_come_unasked_until_they_are_turned_off(
    labprobe: Path, pair: tuple[Side, Side]
) -> None:
    with raw_daemon(labprobe, pair[1]) as process:
        lines = ask(process, "@1 beacon 20", lambda line: line["kind"] == "beacon")
        more = ask(process, "", lambda line: line["kind"] == "beacon")
        ask(process, "@2 beacon 0", lambda line: line.get("re") == 2)
        after = ask(process, "@3 ping", lambda line: line.get("re") == 3)
    assert more[-1]["mono"] - lines[-1]["mono"] >= 19_000_000
    assert [line["kind"] for line in after] == ["pong"]


def test_quit_and_the_end_of_stdin_both_end_it(labprobe: Path, pair: tuple[Side, Side]) -> None:
    with raw_daemon(labprobe, pair[1]) as process:
        ask(process, "@1 quit", lambda line: line.get("re") == 1)
        assert process.wait(10) == 0
    with raw_daemon(labprobe, pair[1]) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


class raw_daemon:
    """labprobe on stdin and stdout, without the session of the harness."""

    def __init__(self, labprobe: Path, side: Side) -> None:
        self.process = subprocess.Popen(
            side.enter([str(labprobe), "daemon", "-", "-"]), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def ask(process, command, wanted):  # type: ignore[no-untyped-def]
    """Send a command; the lines up to the first that is ``wanted``."""
    process.stdin.write(command.encode() + b"\n")
    process.stdin.flush()
    lines = []
    while not lines or not wanted(lines[-1]):
        lines.append(json.loads(process.stdout.readline()))
    return lines


def test_a_character_device_serves_as_the_port(labprobe: Path, pair: tuple[Side, Side]) -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    process = subprocess.Popen(pair[1].enter([str(labprobe), "daemon", os.ttyname(theirs), "-"]))
    try:
        os.write(ours, b"@1 ping\n")
        said = b""
        while b'"re":1' not in said:
            assert select.select([ours], [], [], 10)[0], f"no answer; said so far: {said!r}"
            said += os.read(ours, 65536)
        assert json.loads(said.splitlines()[0])["kind"] == "hello"
        # the other end is gone for good: it waits, and does not spin
        os.close(ours)
        os.close(theirs)
        ours = theirs = -1
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
        assert sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") < 0.2
    finally:
        process.kill()
        process.wait(10)
        for fd in (ours, theirs):
            if fd >= 0:
                os.close(fd)


def test_a_reader_that_comes_late_gets_what_was_said_before(
    labprobe: Path, pair: tuple[Side, Side], tmp_path: Path
) -> None:
    port = tmp_path / "port"
    process = subprocess.Popen(pair[1].enter([str(labprobe), "daemon", str(port), "-"]))
    try:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(port))
        listener.listen()
        listener.settimeout(10)
        with listener, listener.accept()[0] as connection:
            connection.settimeout(10)
            first = json.loads(connection.makefile("rb").readline())
        assert (first["n"], first["kind"]) == (0, "hello")
    finally:
        process.kill()
        process.wait(10)


def test_when_too_much_waits_the_drops_are_counted(labprobe: Path, pair: tuple[Side, Side]) -> None:
    with raw_daemon(labprobe, pair[1]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = b""
        while b"monitoring" not in said:  # what else it has to say, so that only answers drop
            said += process.stdout.readline()
        # answers that nobody reads: 2,048 wait, the pipe holds some, the rest is dropped
        process.stdin.write(b"@1 ping\n" * 6000)
        process.stdin.flush()
        end = time.monotonic() + 20
        while any(fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4))):
            assert time.monotonic() < end, "the commands are not taken"
        last = 900_000
        while not said.endswith(f'"re":{last}}}\n'.encode()):
            if select.select([process.stdout], [], [], 0.2)[0]:
                said += os.read(process.stdout.fileno(), 1 << 20)
            elif said.endswith(b"\n"):  # quiet: there is room, and drops are told with a new line
                last += 1
                process.stdin.write(f"@{last} ping\n".encode())
                process.stdin.flush()
    lines = [json.loads(line) for line in said.splitlines()]
    answers = sum(line["kind"] == "pong" for line in lines)
    dropped = sum(line["lines"] for line in lines if line["kind"] == "dropped")
    assert [line["n"] for line in lines] == list(range(len(lines)))
    assert dropped > 0
    assert answers + dropped == 6000 + last - 900_000


def test_it_says_what_it_has_cost(labprobe: Path, pair: tuple[Side, Side]) -> None:
    with raw_daemon(labprobe, pair[1]) as process:
        early = ask(process, "", lambda line: line["kind"] == "monitoring")
        (*more, first) = ask(process, "@1 load", lambda line: line.get("re") == 1)
        (*_, second) = ask(process, "@2 load", lambda line: line.get("re") == 2)
        status = Path(f"/proc/{process.pid}/status").read_text()
    octets = [
        sum(len(json.dumps(line, separators=(",", ":"))) + 1 for line in lines)
        for lines in (early, [*early, *more], [*early, *more, first])
    ]
    assert octets[0] <= first["sent_octets"] <= octets[1]
    assert second["sent_octets"] >= octets[2]
    assert first["received_octets"] == len(b"\n@1 load\n")
    assert second["received_octets"] == len(b"\n@1 load\n@2 load\n")
    assert 0 < first["cpu_ns"] < second["cpu_ns"] < 10_000_000_000
    assert first["guest_ns"] < second["guest_ns"]
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    assert 100_000 < first["peak_octets"] <= second["peak_octets"] <= int(peak) * 1024
