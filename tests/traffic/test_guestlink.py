"""The session with labprobe survives what a migration does to its sockets."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from harness.errors import DeadlineExceeded, LabError, ReachError, RecordError
from harness.observe import FactLog, GuestClock, KernelMessage, LinkEvent, Note, ProbeLoad
from harness.observe.record import now_ns
from harness.traffic.guestlink import GuestLink

SHIFT = 1_000_000_000_000
"""What the fake guest's clock is behind the run's."""


class FakeProbe:
    """A guest end that is told when to lose, repeat, or split lines, as no real one can be."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.commands: list[str] = []
        self.answers: dict[str, Callable[[int | None], None]] = {"ping": self.pong}
        self.shift = SHIFT
        self.lose_again = False
        self._changed = threading.Condition()
        self.here: socket.socket | None = None

    def connect(self) -> socket.socket:
        """A socket for the harness; commands that come in there are obeyed."""
        here, there = socket.socketpair()
        self.here = here
        threading.Thread(target=self._listen, args=(here,), daemon=True).start()
        return there

    def make(self, kind: str, **data: Any) -> bytes:
        """Number a line without sending it."""
        line = json.dumps({"n": len(self.lines), "kind": kind, **data}).encode() + b"\n"
        self.lines.append(line)
        return line

    def say(self, kind: str, **data: Any) -> None:
        line = self.make(kind, **data)
        if self.here is not None:
            self.here.sendall(line)

    def leave(self) -> None:
        """End the connection, as a QEMU that is killed does."""
        if self.here is not None:
            self.here.shutdown(socket.SHUT_RDWR)

    def clock(self) -> int:
        return now_ns() - self.shift

    def pong(self, tag: int | None) -> None:
        self.say("pong", mono=self.clock(), boot=0, real=0, re=tag)

    def link(self, event: str, name: str = "eth0") -> dict[str, Any]:
        state = {
            "index": 2, "name": name, "mac": "02:00:00:00:00:01", "master": None,
            "operstate": "up", "carrier": True, "driver": "e1000e", "mtu": 1500, "addresses": [],
        }  # fmt: skip
        return {"event": event, "guest_ns": self.clock(), "link": state}

    def kmsg(self, seq: int, text: str) -> dict[str, Any]:
        now = self.clock()
        return {
            "level": 4, "seq": seq, "stamp_us": (now + 7_000_000_000) // 1000, "text": text,
            "empty_ns": now - 500_000_000, "guest_ns": now + 1_000_000,
        }  # fmt: skip

    def kmsg_clock(self, seq: int) -> dict[str, Any]:
        now = self.clock()
        return {
            "seq": seq, "stamp_us": (now + 7_000_000_000) // 1000, "from_ns": now, "to_ns": now,
            "tick_ns": 4_000_000,
        }  # fmt: skip

    def wait_command(self, verb: str, timeout: float = 5.0) -> None:
        with self._changed:
            assert self._changed.wait_for(
                lambda: any(command.startswith(verb) for command in self.commands), timeout
            ), f"no {verb} among {self.commands}"

    def _listen(self, here: socket.socket) -> None:
        for raw in here.makefile("r"):
            if not raw.strip():
                continue
            tag, command = raw.split(maxsplit=1)
            verb = command.split()[0]
            if verb == "again":
                self._again(int(command.split()[1]), int(tag[1:]))
            elif verb in self.answers:
                self.answers[verb](int(tag[1:]))
            with self._changed:
                self.commands.append(command.strip())
                self._changed.notify_all()

    def _again(self, number: int, tag: int) -> None:
        if self.lose_again:
            self.say("error", text="these lines are not kept any more", re=tag)
        elif self.here is not None:
            self.here.sendall(b"".join(self.lines[number:]))
            self.say("ok", re=tag)


@contextmanager
def session(probe: FakeProbe, interval: float = 0.02) -> Iterator[tuple[GuestLink, FactLog]]:
    log = FactLog(None)
    link = GuestLink("g1", log.add, ping_interval=interval)
    try:
        link.attach(probe.connect())
        yield link, log
    finally:
        link.close()


@pytest.fixture
def probe() -> FakeProbe:
    return FakeProbe()


def names(log: FactLog) -> list[str]:
    return [fact.link.name for fact in log.facts if isinstance(fact, LinkEvent)]


def wait_links(log: FactLog, *wanted: str) -> None:
    assert log.wait(lambda fact: names(log) == list(wanted), timeout=5) or names(log) == list(
        wanted
    ), f"{names(log)}, not {wanted}"


def test_a_link_event_lies_between_its_time_and_its_receipt(probe: FakeProbe) -> None:
    with session(probe) as (_, log):
        assert log.wait(lambda fact: isinstance(fact, GuestClock), timeout=5)
        before = now_ns()
        probe.say("link", **probe.link("added"))
        after = now_ns()
        fact = log.wait(lambda fact: isinstance(fact, LinkEvent), timeout=5)
    assert isinstance(fact, LinkEvent)
    assert fact.t_ns - fact.err_ns <= after
    assert fact.t_ns + fact.err_ns >= before
    assert fact.err_ns < 1_000_000_000


def test_an_event_around_a_stop_is_dated_no_better_than_the_stop_was_long(
    probe: FakeProbe,
) -> None:
    with session(probe, interval=60) as (link, log):
        link._ping()
        assert log.wait(lambda fact: isinstance(fact, GuestClock), timeout=5)
        event = probe.link("down")
        happened = now_ns()
        threading.Event().wait(0.05)  # the guest is stopped
        probe.shift += 50_000_000
        probe.say("link", **event)
        fact = log.wait(lambda fact: isinstance(fact, LinkEvent), timeout=5)
    assert isinstance(fact, LinkEvent)
    assert fact.t_ns - fact.err_ns <= happened <= fact.t_ns + fact.err_ns
    assert fact.err_ns >= 24_000_000


def test_a_line_cut_in_two_by_a_migration_is_asked_for_again(probe: FakeProbe) -> None:
    with session(probe) as (link, log):
        probe.say("hello", instance=1)
        probe.say("link", **probe.link("added", "eth0"))
        wait_links(log, "eth0")
        old = probe.here
        assert old is not None
        cut = probe.make("link", **probe.link("added", "eth1"))
        old.sendall(cut[:40])
        link.attach(probe.connect())
        assert probe.here is not None
        probe.here.sendall(cut[40:])
        probe.say("link", **probe.link("added", "eth2"))
        wait_links(log, "eth0", "eth1", "eth2")
        old.close()
    assert not [fact for fact in log.facts if isinstance(fact, Note)]


def test_lines_in_flight_on_the_old_socket_come_before_those_of_the_new_one(
    probe: FakeProbe,
) -> None:
    with session(probe) as (link, log):
        early = probe.make("link", **probe.link("added", "eth0"))
        old = probe.here
        assert old is not None
        link.attach(probe.connect())
        probe.lose_again = False
        probe.say("link", **probe.link("added", "eth1"))
        old.sendall(early)
        old.close()
        wait_links(log, "eth0", "eth1")
        assert names(log) == ["eth0", "eth1"]


def test_lines_that_are_lost_for_good_are_noted(probe: FakeProbe) -> None:
    probe.lose_again = True
    with session(probe) as (_, log):
        probe.make("link", **probe.link("added", "eth0"))
        probe.say("link", **probe.link("added", "eth1"))
        wait_links(log, "eth1")
    notes = [fact.text for fact in log.facts if isinstance(fact, Note)]
    assert len(notes) == 1
    assert "of labprobe are lost" in notes[0]


def test_a_probe_that_started_anew_is_noted(probe: FakeProbe) -> None:
    with session(probe) as (_, log):
        probe.say("hello", instance=1)
        assert log.wait(lambda fact: isinstance(fact, GuestClock), timeout=5)
        probe.lines.clear()
        probe.say("hello", instance=2)
        assert log.wait(
            lambda fact: isinstance(fact, Note) and "started anew" in fact.text, timeout=5
        )


def test_an_unanswered_command_says_what_was_last_seen(probe: FakeProbe) -> None:
    with (
        session(probe) as (link, _),
        pytest.raises(DeadlineExceeded, match=r"`stop 7` was not answered within 0.1 s; last"),
    ):
        link.stop(7, timeout=0.1)


def test_a_refused_command_says_why(probe: FakeProbe) -> None:
    probe.answers["sink"] = lambda tag: probe.say("error", text="the stream exists", re=tag)
    with session(probe) as (link, _), pytest.raises(LabError, match="`sink 7 5000 4`: the stream"):
        link.start_sink(7, 5000)


@pytest.mark.parametrize("wait", ["wait_monitoring", "catch_up"])
def test_who_waits_for_a_guest_learns_that_its_qemu_has_ended(probe: FakeProbe, wait: str) -> None:
    # Not "was not answered within an hour": with nobody left to answer, the wait ends.
    probe.answers["beacon"] = lambda _tag: probe.leave()
    link = GuestLink("g1", lambda _fact: None)
    link.attach(probe.connect())
    if wait == "wait_monitoring":
        probe.answers["ping"] = lambda _tag: probe.leave()
    try:
        with pytest.raises(ReachError, match="labprobe's port is not connected"):
            getattr(link, wait)(timeout=3600)
    finally:
        link.close()


def test_without_a_socket_a_command_is_refused_at_once() -> None:
    link = GuestLink("g1", FactLog(None).add)
    with pytest.raises(ReachError, match="not connected"):
        link.stop(7)
    link.close()


def rows(count: int) -> bytes:
    made = np.zeros(count, dtype=[("t_ns", "<u8"), ("seq", "<u4"), ("error", "<u4")])
    made["t_ns"], made["seq"] = np.arange(count) * 1000, np.arange(count)
    made["error"][:3] = 105
    return made.tobytes()


@pytest.mark.parametrize("damage", ["", "piece", "checksum", "count"])
def test_a_dump_is_whole_or_an_error(probe: FakeProbe, damage: str) -> None:
    raw = rows(100)

    def dump(tag: int | None) -> None:
        for at in (0, 50):
            if damage == "piece" and at == 0:
                continue
            piece = base64.b64encode(raw[at * 16 : (at + 50) * 16]).decode()
            probe.say("data", id=7, at=at, b64=piece, re=tag)
        probe.say(
            "end", id=7, count=100 + (damage == "count"), records=100, unrecorded=0, sent=97,
            failed=3, crc32=zlib.crc32(raw) ^ (damage == "checksum"), re=tag,
        )  # fmt: skip

    probe.answers["dump"] = dump
    with session(probe) as (link, _):
        if damage:
            with pytest.raises(RecordError, match="dump of stream 7"):
                link.dump(7)
            return
        got = link.dump(7)
    assert got.records.seq.tolist() == list(range(3, 100))
    assert (got.totals.sent, got.errors, got.totals.complete) == (97, {105: 3}, True)


def test_closing_dates_what_no_later_reading_bounds(probe: FakeProbe) -> None:
    probe.answers.pop("ping")
    log = FactLog(None)
    link = GuestLink("g1", log.add, ping_interval=0.02)
    link.attach(probe.connect())
    before = time.monotonic_ns()
    probe.say("link", **probe.link("added"))
    probe.wait_command("ping")
    probe.answers["stop"] = lambda tag: probe.say("error", text="no", re=tag)
    with pytest.raises(LabError):
        link.stop(1)  # answered after the link line, which has been taken by now
    link.close()
    facts = [fact for fact in log.facts if isinstance(fact, LinkEvent)]
    assert len(facts) == 1
    assert before <= facts[0].t_ns <= time.monotonic_ns()
    assert any("never read" in fact.text for fact in log.facts if isinstance(fact, Note))


def test_a_kernel_message_between_two_marks_is_dated_to_a_tick(probe: FakeProbe) -> None:
    with session(probe) as (_, log):
        assert log.wait(lambda fact: isinstance(fact, GuestClock), timeout=5)
        probe.say("kmsg-clock", **probe.kmsg_clock(1))
        before = now_ns()
        line = probe.kmsg(2, "igbvf: Link is Up")
        after = now_ns()
        threading.Event().wait(0.005)  # it is read a while after it was logged
        probe.say("kmsg", **line)
        probe.say("kmsg-clock", **probe.kmsg_clock(3))
        fact = log.wait(lambda fact: isinstance(fact, KernelMessage), timeout=5)
    assert isinstance(fact, KernelMessage)
    assert (fact.guest, fact.level, fact.text, fact.seq) == ("g1", 4, "igbvf: Link is Up", 2)
    assert fact.guest_ns == line["guest_ns"]
    assert fact.t_ns - fact.err_ns <= after
    assert fact.t_ns + fact.err_ns >= before
    # without the marks it would be known to the half second before it was read
    assert fact.err_ns < 200_000_000


def test_kernel_messages_keep_their_order_and_none_is_lost_at_the_end(probe: FakeProbe) -> None:
    probe.answers["stop"] = lambda tag: probe.say("error", text="no", re=tag)
    with session(probe) as (link, log):
        for number in range(5):
            probe.say("kmsg", **probe.kmsg(number, f"message {number}"))
        with pytest.raises(LabError):
            link.stop(1)  # answered after the messages, which have been taken by now
    told = [fact.text for fact in log.facts if isinstance(fact, KernelMessage)]
    assert told == [f"message {number}" for number in range(5)]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"kind": "kmsg-gap", "messages": 7, "why": "flood"}, "7 kernel messages left out: they"),
        ({"kind": "kmsg-gap", "messages": 7, "why": "overwritten"}, "left out: the kernel over"),
        ({"kind": "kmsg-gap", "messages": 7, "why": "else"}, "kmsg-gap line: KeyError"),
        ({"kind": "kmsg", "seq": "x"}, "kmsg line: "),
        ({"kind": "kmsg-clock", "seq": 1}, "kmsg-clock line: KeyError"),
    ],
    ids=["flood", "overwritten", "unknown", "kmsg", "kmsg-clock"],
)
def test_messages_left_out_and_lines_that_say_nothing_are_noted(
    probe: FakeProbe, line: dict[str, Any], told: str
) -> None:
    with session(probe) as (_, log):
        probe.say(**line)
        note = log.wait(lambda fact: isinstance(fact, Note), timeout=5)
    assert isinstance(note, Note)
    assert told in note.text


def test_the_probes_load_is_a_fact_of_its_moment(probe: FakeProbe) -> None:
    said = {
        "guest_ns": 5, "cpu_ns": 7, "peak_octets": 4096, "sent_octets": 10, "received_octets": 3,
    }  # fmt: skip
    probe.answers["load"] = lambda tag: probe.say("load", **said, re=tag)
    with session(probe) as (link, log):
        before = now_ns()
        fact = link.load("traffic-flows")
        after = now_ns()
    assert fact in log.facts
    assert before <= fact.t_ns - fact.err_ns + 1
    assert fact.t_ns + fact.err_ns - 1 <= after
    assert fact == ProbeLoad(
        t_ns=fact.t_ns, err_ns=fact.err_ns, guest="g1", moment="traffic-flows", **said
    )


def test_of_a_loaded_guest_nothing_counts_that_came_before_it_started_anew(
    probe: FakeProbe,
) -> None:
    log = FactLog(None)
    link = GuestLink("g1", log.add, ping_interval=0.02)
    probe.lines = [b"a line of the guest that was saved\n"] * 7
    commands: list[str] = []

    def anew(tag: int | None) -> None:
        commands.extend(probe.commands)
        probe.say("link", **probe.link("removed", "old"))  # was under way
        probe.lines.clear()
        probe.say("hello", instance=2)
        probe.say("link", **probe.link("added", "eth0"))
        probe.say("monitoring", guest_ns=probe.clock())

    probe.answers["afresh"] = anew
    try:
        link.attach(probe.connect(), loaded=True)
        link.wait_monitoring(5)
        wait_links(log, "eth0")
    finally:
        link.close()
    probe.wait_command("afresh")
    assert commands == []  # it was asked nothing before
    (command,) = [one for one in probe.commands if one.startswith("afresh")]
    _, real, seed = command.split()
    assert abs(int(real) - time.time_ns()) < 600e9
    assert len(bytes.fromhex(seed)) == 32
    assert not [fact for fact in log.facts if isinstance(fact, Note)]


def test_a_loaded_guest_that_cannot_start_anew_is_an_error(probe: FakeProbe) -> None:
    link = GuestLink("g1", FactLog(None).add)
    probe.answers["afresh"] = lambda tag: probe.say("error", text="RNDADDENTROPY was", re=tag)
    try:
        link.attach(probe.connect(), loaded=True)
        with pytest.raises(LabError, match="RNDADDENTROPY was"):
            link.wait_monitoring(5)
    finally:
        link.close()
