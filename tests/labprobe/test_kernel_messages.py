"""labprobe passes on the kernel's messages, of this machine's kernel and of a pipe like it."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.observe import Fact, KernelMessage, LinkEvent, Note
from harness.observe.record import now_ns
from tests.labprobe.guests import Guest, guest
from tests.traffic.namespaces import Side, veth_pair

KMSG = Path("/dev/kmsg")
TICK_NS = 10_000_000
"""The longest tick of a kernel (HZ=100)."""


@pytest.fixture
def side() -> Iterator[Side]:
    with veth_pair() as sides:
        yield sides[1]


@pytest.fixture
def real(labprobe: Path, side: Side, tmp_path: Path) -> Iterator[Guest]:
    """With the messages of this machine's own kernel."""
    try:
        KMSG.open("wb").close()
    except OSError as error:
        pytest.skip(f"{KMSG} of this machine cannot be written: {error.strerror}")
    with guest(labprobe, side, tmp_path / "port", kmsg=KMSG) as running:
        yield running


@pytest.fixture
def piped(labprobe: Path, side: Side, tmp_path: Path) -> Iterator[tuple[Guest, int]]:
    """With the messages that a test writes: as in /dev/kmsg, each read takes one (O_DIRECT)."""
    path = tmp_path / "kmsg"
    os.mkfifo(path)
    with guest(labprobe, side, tmp_path / "port", kmsg=path) as running:
        pipe = os.open(path, os.O_WRONLY)
        fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_DIRECT)
        try:
            yield running, pipe
        finally:
            os.close(pipe)


def wait(one: Guest, wanted: Callable[[Fact], bool], timeout: float = 10.0) -> Fact:
    fact = one.log.wait(wanted, timeout=timeout)
    assert fact is not None, f"not told; the last facts: {one.log.facts[-3:]}"
    return fact


def wait_message(one: Guest, text: str) -> KernelMessage:
    fact = wait(one, lambda fact: isinstance(fact, KernelMessage) and fact.text == text)
    assert isinstance(fact, KernelMessage)
    return fact


def messages(one: Guest) -> list[KernelMessage]:
    return [fact for fact in one.log.facts if isinstance(fact, KernelMessage)]


def record(number: int, text: str, *, priority: int = 6) -> bytes:
    return f"{priority},{number},1000,-;{text}\n".encode()


def test_a_message_is_dated_around_the_moment_it_was_logged(real: Guest) -> None:
    text = f"a test of labprobe: {os.getpid()} {now_ns()}"
    wait(real, lambda fact: fact.kind == "guest-clock")
    before = now_ns()
    KMSG.write_text(f"<4>{text}\n")
    after = now_ns()

    found = wait_message(real, text)

    assert (found.guest, found.level) == ("g1", 4)
    assert found.t_ns - found.err_ns <= after
    assert found.t_ns + found.err_ns >= before
    # Between two marks a message is known to a tick, and to the readings of the guest's clock.
    assert found.err_ns < TICK_NS + 100_000_000


def test_messages_from_before_the_start_are_not_told(
    labprobe: Path, real: Guest, side: Side, tmp_path: Path
) -> None:
    text = f"an early message: {os.getpid()} {now_ns()}"
    KMSG.write_text(f"<6>{text}\n")
    with guest(labprobe, side, tmp_path / "late", kmsg=KMSG) as late:
        KMSG.write_text(f"<6>{text}, later\n")
        wait_message(late, f"{text}, later")
        assert text not in [one.text for one in messages(late)]


def test_marks_are_not_told_and_two_probes_do_not_answer_each_other(
    labprobe: Path, real: Guest, side: Side, tmp_path: Path
) -> None:
    text = f"for both: {os.getpid()} {now_ns()}"
    log = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK)
    os.lseek(log, 0, os.SEEK_END)
    with guest(labprobe, side, tmp_path / "other", kmsg=KMSG) as other:
        KMSG.write_text(f"<6>{text}\n")
        numbers = {wait_message(one, text).seq for one in (real, other)}
        threading.Event().wait(2.5)  # in which each could answer the other twice
        told = [one.text for each in (real, other) for one in messages(each)]
        pids = (real.process.pid, other.process.pid)
    texts = list(records(log))
    os.close(log)

    assert len(numbers) == 1
    assert not [text for text in told if text.startswith("labprobe: clock")]
    marks = [text for text in texts if text.startswith("labprobe: clock")]
    for pid in pids:
        count = sum(mark.startswith(f"labprobe: clock {pid} ") for mark in marks)
        assert count >= 1
        # one at its start, and one at most for each message that is no mark
        assert count <= 1 + len(texts) - len(marks)


def records(log: int) -> Iterator[str]:
    """The texts of the records of the kernel's log, up to its end."""
    while True:
        try:
            yield os.read(log, 8192).decode().partition(";")[2].splitlines()[0]
        except BlockingIOError:
            return


def test_the_text_arrives_as_the_kernel_wrote_it(piped: tuple[Guest, int]) -> None:
    one, pipe = piped
    os.write(pipe, record(7, 'say "\\x5c" to; it', priority=3) + b" SUBSYSTEM=pci\n")
    os.write(pipe, b"no record\n")
    os.write(pipe, record(8, "x" * 1500, priority=8 + 2))

    found = wait_message(one, "x" * 1000 + "...")

    assert (found.level, found.seq, found.stamp_us) == (2, 8, 1000)
    first = messages(one)[0]
    assert (first.level, first.seq, first.text) == (3, 7, 'say "\\x5c" to; it')


def test_messages_that_were_overwritten_are_counted(piped: tuple[Guest, int]) -> None:
    one, pipe = piped
    os.write(pipe, record(7, "before"))
    os.write(pipe, record(20, "behind"))

    wait_message(one, "behind")

    assert [fact.text for fact in one.log.facts if isinstance(fact, Note)] == [
        "guest g1: 12 kernel messages left out: the kernel overwrote them before the probe had "
        "read them"
    ]


def test_a_flood_is_read_a_hundred_a_second_and_link_events_go_on(
    piped: tuple[Guest, int],
) -> None:
    one, pipe = piped
    flood = threading.Thread(
        target=lambda: [os.write(pipe, record(number, f"flood {number}")) for number in range(250)],
        daemon=True,
    )
    flood.start()
    wait_message(one, "flood 99")
    begin = now_ns()
    one.side.ip("link add d0 type bridge")
    event = one.wait_event("d0", "added")
    assert event.t_ns + event.err_ns - begin < 900_000_000, "the flood went first"

    wait_message(one, "flood 249")
    flood.join(10)

    read = [fact.guest_ns or 0 for fact in messages(one)]
    assert len(read) == 250
    assert read[100] - read[0] >= 900_000_000
    assert read[200] - read[100] >= 900_000_000
    assert isinstance(event, LinkEvent)


def test_what_a_flood_has_too_much_is_jumped_over_and_counted(real: Guest) -> None:
    text = f"flood {os.getpid()} {now_ns()}:"
    for number in range(160):  # each time another writer: the kernel limits them one by one
        KMSG.write_text(f"<7>{text} {number}\n")
    note = wait(real, lambda fact: isinstance(fact, Note) and "left out" in fact.text)
    KMSG.write_text(f"<7>{text} end\n")
    last = wait_message(real, f"{text} end")

    assert isinstance(note, Note)
    assert note.text.endswith("left out: they came faster than the probe passes them on")
    told = [one for one in messages(real) if one.text.startswith(text)]
    left_out = int(note.text.split()[2])
    assert len(told) <= 101
    # Together they are all of the log from the first to the last, but for the probe's own marks;
    # this machine's kernel may have said something in between.
    passed = [one for one in messages(real) if told[0].seq <= one.seq <= last.seq]
    assert last.seq - told[0].seq >= 160
    assert abs(last.seq - told[0].seq + 1 - len(passed) - left_out) <= 5


def test_a_kernel_log_that_cannot_be_read_is_noted(
    labprobe: Path, side: Side, tmp_path: Path
) -> None:
    with guest(labprobe, side, tmp_path / "port", kmsg=tmp_path / "none") as one:
        note = wait(one, lambda fact: isinstance(fact, Note))
    assert isinstance(note, Note)
    assert "kernel messages: No such file" in note.text
