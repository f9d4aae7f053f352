"""A saved state that does not fit, or is not as it was made, is never used; the reason is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import ImageError, StateError
from harness.images import Reporter, State, StateKey, States
from harness.images.cache import Cache

KEY = StateKey(
    "g1",
    {"QEMU": "10.0.13 aaaa", "kernel": "6.12 bbbb", "arguments": "-m 256M -append quiet"},
    ("aaaa", "bbbb"),
)
CONTENT = b"state" * 100_000

# Another process that makes the state, and is killed when half of it is written.
ENDLESS = """
import sys
from pathlib import Path
from harness.images import StateKey, States
from harness.images.cache import Cache

def make(into, report):
    (into / "state").write_bytes(b"half")
    print("saving", flush=True)
    sys.stdin.read()

key = StateKey("g1", eval(sys.argv[2]), ("aaaa", "bbbb"))
States(Cache(Path(sys.argv[1]))).obtain(key, make, lambda line: None, lambda line: None)
"""


class Maker:
    """Makes a state, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0
        self.notes: list[str] = []

    def make(self, into: Path, report: Reporter) -> None:
        self.calls += 1
        (into / "state").write_bytes(CONTENT)

    def obtain(self, states: States, key: StateKey = KEY) -> State:
        return states.obtain(key, self.make, lambda line: None, self.notes.append)


@pytest.fixture
def states(tmp_path: Path) -> States:
    return States(Cache(tmp_path))


@pytest.fixture
def maker() -> Maker:
    return Maker()


def test_a_state_is_made_once_and_then_found(states: States, maker: Maker) -> None:
    first, second = maker.obtain(states), maker.obtain(states)
    assert (maker.calls, maker.notes) == (1, [])
    assert first == second
    assert second.file("state").read_bytes() == CONTENT
    assert abs(second.made_at - time.time()) < 600
    assert second.made.startswith(time.strftime("%Y-", time.gmtime()))


@pytest.mark.parametrize("part", KEY.parts)
def test_every_part_of_the_key_counts(states: States, maker: Maker, part: str) -> None:
    maker.obtain(states)
    maker.obtain(states, replace(KEY, parts={**KEY.parts, part: "other"}))
    assert maker.calls == 2


def test_the_reason_for_a_new_state_names_what_differs_from_the_nearest(
    states: States, maker: Maker
) -> None:
    maker.obtain(states, replace(KEY, parts=dict.fromkeys(KEY.parts, "all else")))
    maker.notes.clear()
    maker.obtain(states)
    maker.notes.clear()
    maker.obtain(states, replace(KEY, parts={**KEY.parts, "QEMU": "11.1.3 cccc"}))
    maker.obtain(
        states, replace(KEY, parts={**KEY.parts, "arguments": "-m 256M -append quiet debug"})
    )
    qemu, arguments = (note.partition(" does not fit: ")[2] for note in maker.notes)
    assert qemu == "QEMU: was 10.0.13 aaaa, is 11.1.3 cccc"
    assert arguments == "arguments: was without, is debug"


def test_a_state_that_is_used_is_not_to_go_soon(states: States, maker: Maker) -> None:
    manifest = maker.obtain(states).file("manifest.json")
    os.utime(manifest, (0, 0))
    maker.obtain(states)
    assert time.time() - manifest.stat().st_mtime < 600


def test_a_state_says_of_what_versions_it_is(states: States, maker: Maker, tmp_path: Path) -> None:
    parts = {"QEMU": f"10.0.13 {'a' * 64}", "kernel": f"6.12 {'b' * 64}", "accelerator": "tcg"}
    maker.obtain(states, replace(KEY, parts=parts))
    (entry,) = Cache(tmp_path).entries()
    assert entry.manifest.origin == "saved state of g1, QEMU 10.0.13, kernel 6.12"


def test_the_state_of_another_machine_is_no_near_one(states: States, maker: Maker) -> None:
    maker.obtain(states, replace(KEY, name="g2", parts={**KEY.parts, "QEMU": "x"}))
    maker.obtain(states)
    assert maker.notes == []


def test_a_flipped_bit_is_found_and_the_state_made_again(states: States, maker: Maker) -> None:
    file = maker.obtain(states).file("state")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    again = maker.obtain(states)
    assert maker.calls == 2
    assert again.file("state").read_bytes() == CONTENT
    (note,) = maker.notes
    assert note.startswith("the state ")
    assert note.endswith("of g1 is damaged and is not used: state: is not what it was")


def test_a_state_that_was_cut_off_is_refused_and_made_again(states: States, maker: Maker) -> None:
    file = maker.obtain(states).file("state")
    os.truncate(file, len(CONTENT) - 1)
    assert maker.obtain(states).file("state").read_bytes() == CONTENT
    (note,) = maker.notes
    assert f"state: has {len(CONTENT) - 1} bytes, had {len(CONTENT)}" in note


def test_a_flipped_bit_in_a_file_of_holes_is_found(states: States) -> None:
    def make(into: Path, report: Reporter) -> None:
        with (into / "ram").open("wb") as file:
            file.truncate(1 << 30)
            for at in (0, 70_000, (1 << 29) + 5, (1 << 30) - 3):
                file.seek(at)
                file.write(b"ram")

    notes: list[str] = []
    began = time.monotonic()
    state = states.obtain(KEY, make, lambda line: None, notes.append)
    assert states.find(KEY, notes.append) == state
    print(f"a sparse gigabyte, made and read twice: {time.monotonic() - began:.2f} s")
    with state.file("ram").open("r+b") as file:
        file.seek((1 << 29) + 5)
        file.write(b"rom")
    assert states.find(KEY, notes.append) is None
    assert "ram: is not what it was" in notes[0]


def test_a_file_of_holes_has_the_same_digest_without_its_holes(states: States) -> None:
    def make(into: Path, report: Reporter) -> None:
        with (into / "ram").open("wb") as file:
            file.truncate(4 << 20)
            file.write(b"ram")

    notes: list[str] = []
    file = states.obtain(KEY, make, lambda line: None, notes.append).file("ram")
    before = file.stat().st_blocks
    file.write_bytes(file.read_bytes())
    assert file.stat().st_blocks > before
    assert states.find(KEY, notes.append) is not None, notes


def test_a_maker_that_fails_leaves_nothing(states: States, maker: Maker, tmp_path: Path) -> None:
    def make(into: Path, report: Reporter) -> None:
        (into / "state").write_bytes(b"half")
        raise StateError("it cannot be saved")

    with pytest.raises(StateError, match="it cannot be saved"):
        states.obtain(KEY, make, lambda line: None, maker.notes.append)
    assert states.find(KEY, maker.notes.append) is None
    assert list((tmp_path / "state").iterdir()) == []
    assert maker.obtain(states).file("state").read_bytes() == CONTENT


def test_what_a_killed_maker_left_is_never_used(
    states: States, maker: Maker, tmp_path: Path
) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path), repr(dict(KEY.parts))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert other.stdout
    assert other.stdout.readline() == "saving\n"
    assert states.find(KEY, maker.notes.append) is None  # half of it is there
    other.send_signal(signal.SIGKILL)
    other.communicate(timeout=20)
    assert maker.obtain(states).file("state").read_bytes() == CONTENT
    assert maker.notes == []
    assert [path.name[:1] for path in (tmp_path / "state").iterdir()] != ["."]


def test_two_makers_at_once_make_it_once(states: States, maker: Maker) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(into: Path, report: Reporter) -> None:
        begun.set()
        assert go_on.wait(20)
        maker.make(into, report)

    waits = threading.Event()

    def told(line: str) -> None:
        if "waiting for process" in line:
            waits.set()

    got: list[State] = []
    note = maker.notes.append
    one = threading.Thread(
        target=lambda: got.append(states.obtain(KEY, slow, lambda line: None, note))
    )
    two = threading.Thread(target=lambda: got.append(states.obtain(KEY, slow, told, note)))
    one.start()
    assert begun.wait(20)
    two.start()
    assert waits.wait(20)
    go_on.set()
    one.join(20)
    two.join(20)
    assert maker.calls == 1
    assert got[0] == got[1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=True, timeout=20
    )
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True, timeout=20)


def test_a_full_disk_while_saving_is_told_and_leaves_nothing(
    small_disk: Path, maker: Maker
) -> None:
    states = States(Cache(small_disk))
    with pytest.raises(ImageError, match="No space left on device") as caught:
        maker.obtain(states)
    assert "HARNESS_CACHE" in caught.value.hint
    assert states.find(KEY, maker.notes.append) is None
    assert list((small_disk / "state").iterdir()) == []
