"""Guests are loaded from saved states, and what a state cannot give them they get."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.images import Entry, Store
from harness.images.cache import Cache
from harness.observe import GuestStart, read_facts
from tests.cli.places import HARNESS, Place
from tests.end_to_end.runs import FLAT, left, wait_for

pytestmark = pytest.mark.lab

CLOCK = "date +%s; cat /proc/uptime; head -c 16 /dev/urandom | od -An -tx1"


@dataclass(frozen=True)
class Guest:
    """What a guest that has just come up said of itself, and how it came up."""

    start: GuestStart
    messages: str
    ahead_s: float
    uptime_s: float
    random: str


@pytest.fixture
def topology(tmp_path: Path) -> Iterator[Path]:
    """The flat pair with a kernel argument of its own, so that nobody has a state of its guest."""
    own = f"lab.test={uuid.uuid4().hex}"
    path = tmp_path / "topology.yaml"
    text = FLAT.read_text(encoding="utf-8")
    path.write_text(text.replace("memory: 256M", f"memory: 256M\n    kernel_args: [{own}]"))
    yield path
    store = Store()
    for entry in states(store.root):
        if own in json.dumps(entry.manifest.made.facts):
            store.remove(entry)


def states(root: Path) -> list[Entry]:
    return [entry for entry in Cache(root).entries() if entry.manifest.kind == "state"]


@contextmanager
def up(here: Place, topology: Path, run: str, *options: str) -> Iterator[Guest]:
    """A lab that is up, and what its guest says."""

    def harness(*args: object) -> subprocess.CompletedProcess[str]:
        done = here.harness(*args, timeout=120)
        assert done.returncode == 0, done.stderr
        return done

    messages = harness("up", topology, "--run-dir", here.folder / run, *options).stderr
    try:
        before = time.time()
        said = harness("exec", "g1", "--", "sh", "-c", CLOCK).stdout.splitlines()
        middle = (before + time.time()) / 2
        facts = read_facts(here.folder / run / "facts.jsonl")
        (start,) = [fact for fact in facts if isinstance(fact, GuestStart)]
        ahead = float(said[0]) + 0.5 - middle  # it said whole seconds
        yield Guest(start, messages, ahead, float(said[1].split()[0]), said[2])
    finally:
        harness("down")


def test_a_state_is_made_once_and_loaded_from_then_on(here: Place, topology: Path) -> None:
    made = here.harness("images", "build", "--warm", topology, timeout=120)
    assert made.returncode == 0, made.stderr
    assert "booting it to save it" in made.stderr
    before = left(here)
    with up(here, topology, "first") as first:
        assert "booting it to save it" not in first.messages
        assert first.start.how == "loaded"
    with up(here, topology, "second") as second:
        assert "booting it to save it" not in second.messages
        assert (second.start.how, second.start.state) == ("loaded", first.start.state)

        (state,) = [e for e in states(Store().root) if e.manifest.digest == second.start.state]
        age = time.time() - state.manifest.made_at
        # Its own clock would be behind by the time since the save.
        assert abs(second.ahead_s) < age / 2
        assert second.uptime_s < 60
        assert second.random != first.random

    with up(here, topology, "cold", "--boot", "cold") as cold:
        assert (cold.start.how, cold.start.why) == ("booted", "it was to boot")
    assert left(here) == before

    # One bit of it changes: it is not used, and made again.
    file = state.path / "state"
    with file.open("r+b") as content:
        content.seek(file.stat().st_size // 2)
        octet = content.read(1)
        content.seek(-1, os.SEEK_CUR)
        content.write(bytes([octet[0] ^ 1]))
    with up(here, topology, "third") as third:
        assert "is damaged and is not used: state: is not what it was" in third.messages
        assert "booting it to save it" in third.messages
        assert third.start.how == "loaded"
    assert left(here) == before


@pytest.fixture
def small_store(tmp_path: Path) -> Iterator[Path]:
    """A store with the images of the real one, and little room for states."""
    store = tmp_path / "store"
    states = store / "state"
    states.mkdir(parents=True)
    for kind in Store().root.iterdir():
        if kind.is_dir() and kind.name != "state":
            (store / kind.name).symlink_to(kind)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(states)], check=True, timeout=20
    )
    try:
        yield store
    finally:
        subprocess.run(["umount", str(states)], check=True, timeout=20)


def test_with_a_full_disk_the_guest_boots_and_the_run_says_why(
    here: Place, topology: Path, small_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(small_store))
    with up(here, topology, "full") as guest:
        assert guest.start.how == "booted"
        assert "its state cannot be written" in guest.start.why
        assert "No space left on device" in guest.messages
    assert list((small_store / "state").iterdir()) == []


def test_what_a_run_that_was_killed_while_saving_left_is_not_used(
    here: Place, topology: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "own-store"
    store.mkdir()
    for kind in Store().root.iterdir():
        if kind.is_dir() and kind.name != "state":
            (store / kind.name).symlink_to(kind)
    monkeypatch.setenv("HARNESS_CACHE", str(store))

    child = here.spawn(*HARNESS, "up", str(topology), "--foreground")
    half = wait_for("the save", lambda: [*store.glob("state/.building-*/state")])[0]
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=30)
    assert half.parent.exists()
    assert states(store) == []

    with up(here, topology, "next") as guest:
        assert "removing what an interrupted build left" in guest.messages
        assert guest.start.how == "loaded"
    (entry,) = states(store)
    assert Cache(store).damage(entry) == ()
    assert re.fullmatch("[0-9a-f]{16}-g1", entry.path.name)
    assert not half.parent.exists()
