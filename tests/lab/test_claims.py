"""Labs on one machine at the same time: within its limits, in the order in which they came."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.errors import DeadlineExceeded, Interrupted, LabError
from harness.lab.claims import Claim, Claims, Taken, default_directory, waits_for
from harness.plan.model import Needs
from harness.reach.deadline import Deadline

GIB = 1 << 30
MACHINE = Needs(2.0, 20 * GIB)
FLAT = Needs(0.5, GIB)
BUSY = Needs(1.0, GIB)
NESTED = Needs(2.0, 2 * GIB)
LONG_S = 30.0


def claims(directory: Path) -> Claims:
    return Claims(directory / "claims", MACHINE)


class Lab:
    """A lab that asks in a thread of its own, and what it was told."""

    def __init__(self, directory: Path, name: str, needs: Needs) -> None:
        self.name, self.said = name, [""]
        self.cancel, self.waits, self.up = (threading.Event() for _ in range(3))
        self.claim: Claim | None = None
        self.error: Exception | None = None
        self._directory, self._needs = directory, needs
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self) -> None:
        try:
            self.claim = claims(self._directory).take(
                self.name, self._needs, deadline=Deadline(LONG_S), cancel=self.cancel, say=self._say
            )
            self.up.set()
        except (LabError, Interrupted) as error:
            self.error = error

    def _say(self, text: str) -> None:
        self.said.append(text)
        self.waits.set()

    def starts(self) -> Lab:
        self._thread.start()
        return self

    def must_wait(self) -> Lab:
        assert self.waits.wait(LONG_S)
        assert not self.up.is_set()
        return self

    def must_be_up(self) -> Lab:
        assert self.up.wait(LONG_S)
        return self

    def goes_down(self) -> None:
        assert self.claim is not None
        self.claim.release()

    def ends(self) -> None:
        self._thread.join(LONG_S)
        assert not self._thread.is_alive()


def take(directory: Path, name: str, needs: Needs, *, within: float = 0.0) -> Claim:
    return claims(directory).take(
        name, needs, deadline=Deadline(within), cancel=threading.Event(), say=lambda _: None
    )


def test_flat_labs_fit_beside_each_other_until_the_machine_is_full(tmp_path: Path) -> None:
    one, two = take(tmp_path, "one", BUSY), take(tmp_path, "two", BUSY)
    with pytest.raises(DeadlineExceeded):
        take(tmp_path, "three", FLAT)
    assert [taken.lab for taken in claims(tmp_path).taken()] == ["one", "two"]
    two.release()
    take(tmp_path, "three", FLAT).release()
    one.release()
    assert claims(tmp_path).taken() == ()


@pytest.mark.parametrize("other", [NESTED, FLAT])
def test_a_nested_lab_is_alone_on_two_cpus(tmp_path: Path, other: Needs) -> None:
    nested = take(tmp_path, "nested", NESTED)
    with pytest.raises(DeadlineExceeded):
        take(tmp_path, "other", other)
    nested.release()
    take(tmp_path, "other", other).release()


def test_memory_counts_as_processors_do(tmp_path: Path) -> None:
    take(tmp_path, "large", Needs(0.5, 15 * GIB))
    with pytest.raises(DeadlineExceeded, match=r"it waits for 1\.0 GiB of memory: lab large of"):
        take(tmp_path, "other", Needs(0.5, 6 * GIB))


def test_a_lab_with_more_processors_than_there_are_runs_alone(tmp_path: Path) -> None:
    flat = take(tmp_path, "flat", FLAT)
    with pytest.raises(DeadlineExceeded):
        take(tmp_path, "wide", Needs(8.0, GIB))
    flat.release()
    take(tmp_path, "wide", Needs(8.0, GIB)).release()


def test_a_lab_with_more_memory_than_there_is_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(LabError) as raised:
        take(tmp_path, "huge", Needs(1.0, 64 * GIB), within=LONG_S)
    assert str(raised.value) == (
        "lab huge: needs 64.0 GiB of memory, and labs may take 20.0 GiB of this machine\n"
        "  hint: less `memory:` or fewer machines in the topology; HARNESS_MEMORY=SIZE, where "
        "labs may take more"
    )
    assert claims(tmp_path).taken() == ()


def test_who_came_first_is_served_first(tmp_path: Path) -> None:
    first = take(tmp_path, "first", FLAT)
    nested = Lab(tmp_path, "nested", NESTED).starts().must_wait()
    # It would fit beside the first; but then the nested one might never be alone.
    last = Lab(tmp_path, "last", FLAT).starts().must_wait()
    assert "lab nested of process" in last.said[1]
    assert "waits before it for 2 CPUs and 2.0 GiB" in last.said[1]
    first.release()
    nested.must_be_up()
    last.must_wait()
    nested.goes_down()
    last.must_be_up().goes_down()


def test_a_lab_that_needs_nothing_here_waits_for_nobody(tmp_path: Path) -> None:
    """Its hosts are reached by ssh, and may be machines of a lab that holds everything."""
    nested = take(tmp_path, "nested", NESTED)
    other = Lab(tmp_path, "other", NESTED).starts().must_wait()
    take(tmp_path, "by ssh", Needs(0.0, 0)).release()
    nested.release()
    other.must_be_up().goes_down()


def test_a_lab_that_waits_is_told_for_what_and_who_has_it() -> None:
    came = [Taken(3, "flat", 77, FLAT), Taken(5, "big", 88, Needs(0.5, 19 * GIB))]
    came.append(Taken(6, "nested", 99, NESTED))
    assert waits_for(came[:2], MACHINE) == ""
    assert waits_for(came, MACHINE) == (
        "waits for 1 CPU and 2.0 GiB of memory: "
        "lab flat of process 77 has 0.5 CPU and 1.0 GiB, "
        "lab big of process 88 has 0.5 CPU and 19.0 GiB "
        "(it needs 2 CPUs and 2.0 GiB; labs may take 2 CPUs and 20.0 GiB of this machine)"
    )


def test_what_is_waited_for_is_said_once_and_again_when_it_changes(tmp_path: Path) -> None:
    one, two = take(tmp_path, "one", FLAT), take(tmp_path, "two", FLAT)
    nested = Lab(tmp_path, "nested", NESTED).starts().must_wait()
    nested.waits.clear()
    one.release()
    nested.must_wait()
    two.release()
    nested.must_be_up().goes_down()
    assert [("lab one" in text, "lab two" in text) for text in nested.said[1:]] == [
        (True, True),
        (False, True),
    ]


def test_a_wait_ends_at_its_deadline_and_leaves_no_claim(tmp_path: Path) -> None:
    take(tmp_path, "one", NESTED)
    with pytest.raises(DeadlineExceeded) as raised:
        take(tmp_path, "two", FLAT, within=0.01)
    told = f"lab one of process {os.getpid()} has 2 CPUs and 2.0 GiB"
    assert "lab two: its turn on this machine: not within 0.01 s; last seen: it waits" in str(
        raised.value
    )
    assert told in str(raised.value)
    assert [taken.lab for taken in claims(tmp_path).taken()] == ["one"]


def test_a_wait_that_is_cancelled_leaves_no_claim(tmp_path: Path) -> None:
    take(tmp_path, "one", NESTED)
    two = Lab(tmp_path, "two", FLAT).starts().must_wait()
    two.cancel.set()
    two.ends()
    assert isinstance(two.error, Interrupted)
    assert "lab two: interrupted while it was waiting; it waits for 0.5 CPU: lab one" in str(
        two.error
    )
    assert [taken.lab for taken in claims(tmp_path).taken()] == ["one"]


# -- other processes -----------------------------------------------------------------------

_HOLDER = """\
import sys, threading
from pathlib import Path
from harness.lab.claims import Claims
from harness.plan.model import Needs
from harness.reach.deadline import Deadline
claim = Claims(Path(sys.argv[1]), Needs(2.0, 20 << 30)).take(
    "held", Needs(2.0, 2 << 30), deadline=Deadline(30), cancel=threading.Event(),
    say=lambda text: print(text, flush=True))
print("up", flush=True)
sys.stdin.read()
claim.release()
"""


@contextmanager
def holder(directory: Path, says: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that asks for all processors, as soon as it said ``says``."""
    argv = [sys.executable, "-c", _HOLDER, str(directory / "claims")]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:
        watchdog = threading.Timer(LONG_S, child.kill)
        watchdog.start()
        try:
            assert child.stdout is not None
            assert says in child.stdout.readline()
            yield child
        finally:
            watchdog.cancel()
            child.kill()


def test_a_claim_goes_with_its_process_however_that_ended(tmp_path: Path) -> None:
    with holder(tmp_path, "up") as child:
        flat = Lab(tmp_path, "flat", FLAT).starts().must_wait()
        assert f"lab held of process {child.pid} has 2 CPUs and 2.0 GiB" in flat.said[1]
        child.send_signal(signal.SIGKILL)
        flat.must_be_up()
    assert [taken.lab for taken in claims(tmp_path).taken()] == ["flat"]
    assert sorted(path.name for path in (tmp_path / "claims").iterdir()) == ["2", "lock"]
    flat.goes_down()


def test_another_process_that_goes_down_makes_room(tmp_path: Path) -> None:
    with holder(tmp_path, "up") as child:
        flat = Lab(tmp_path, "flat", FLAT).starts().must_wait()
        child.communicate(timeout=LONG_S)
        flat.must_be_up().goes_down()


def test_ctrl_c_ends_a_wait_and_takes_the_claim_away(tmp_path: Path) -> None:
    here = take(tmp_path, "here", FLAT)
    with holder(tmp_path, "waits for 0.5 CPU") as child:
        assert len(claims(tmp_path).taken()) == 2
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=LONG_S)
    assert "KeyboardInterrupt" in told
    assert [path.name for path in (tmp_path / "claims").glob("[0-9]*")] == [str(here.number)]


def test_many_that_come_at_once_never_take_more_than_there_is(tmp_path: Path) -> None:
    """Twelve labs of half the machine each: at most two are up at any moment."""
    lock, up, most = threading.Lock(), 0, 0

    def lab(number: int) -> None:
        nonlocal up, most
        claim = take(tmp_path, f"lab{number}", BUSY, within=LONG_S)
        with lock:
            up += 1
            most = max(most, up)
        assert sum(one.needs.cpus for one in claims(tmp_path).taken()[:2]) <= MACHINE.cpus
        with lock:
            up -= 1
        claim.release()

    threads = [threading.Thread(target=lab, args=(number,), daemon=True) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive()
    assert (most <= 2, up) == (True, 0)


# -- where ---------------------------------------------------------------------------------


def test_a_file_that_is_no_claim_is_named(tmp_path: Path) -> None:
    take(tmp_path, "one", FLAT)
    (tmp_path / "claims" / "1").write_text("{}", encoding="utf-8")
    with pytest.raises(LabError, match=r"claims/1: is in use and not a lab's claim"):
        claims(tmp_path).taken()


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("", encoding="utf-8")
    with pytest.raises(LabError, match=r"claims: labs cannot be counted there: "):
        take(tmp_path, "one", FLAT)


def test_users_do_not_meet_in_one_directory() -> None:
    assert default_directory().name == f"failover-harness-{os.geteuid()}"
