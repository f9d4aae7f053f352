"""The cache: what looks finished is finished, and is made once."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.images.cache import Cache, Key, Made, digest_of
from harness.images.reporter import Reporter

KEY = Key("thing", "a", "0123456789abcdef" * 4)
OTHER = Key("thing", "b", "fedcba9876543210" * 4)
DEADLINE_S = 20.0

# A builder that says where it is and then never ends; the test kills it.
ENDLESS = """
import sys, time
from pathlib import Path
from harness.images.cache import Cache, Key

def build(into, report):
    (into / "half").write_text("half")
    print("building", flush=True)
    sys.stdin.read()

Cache(Path(sys.argv[1])).obtain(Key("thing", "a", sys.argv[2]), build, lambda line: None)
"""


class Builder:
    """Writes one file, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, into: Path, report: Reporter) -> Made:
        self.calls += 1
        (into / "content").write_text("whole")
        return Made(version="1.0", packages={"p": "2"})


def endless_builder(root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(root), KEY.digest],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout
    assert process.stdout.readline() == "building\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)


def test_a_second_build_is_a_no_op(tmp_path: Path) -> None:
    cache, build, lines = Cache(tmp_path), Builder(), list[str]()
    first = cache.obtain(KEY, build, lines.append)
    told = len(lines)

    second = cache.obtain(KEY, build, lines.append)

    assert (build.calls, first) == (1, second)
    assert len(lines) == told
    assert (second.path / "content").read_text() == "whole"
    assert second.manifest.made.packages == {"p": "2"}
    assert second.manifest.size == len("whole")
    assert second.path == tmp_path / "thing" / "0123456789abcdef-a"


def test_the_same_thing_under_another_name_is_not_built_again(tmp_path: Path) -> None:
    cache, build = Cache(tmp_path), Builder()
    first = cache.obtain(KEY, build, lambda line: None)

    second = cache.obtain(replace(KEY, name="another"), build, lambda line: None)

    assert (build.calls, second) == (1, first)


def test_a_build_that_fails_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    def build(into: Path, report: Reporter) -> Made:
        (into / "content").write_text("half")
        raise ImageError("no network")

    with pytest.raises(ImageError, match="no network"):
        Cache(tmp_path).obtain(KEY, build, lambda line: None)

    assert Cache(tmp_path).entries() == ()
    assert Cache(tmp_path).find(KEY) is None
    assert list((tmp_path / "thing").iterdir()) == []


def test_a_killed_build_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    kill(endless_builder(tmp_path))
    cache, lines = Cache(tmp_path), list[str]()

    assert (cache.find(KEY), cache.entries()) == (None, ())
    entry = cache.obtain(KEY, Builder(), lines.append)

    assert sorted(p.name for p in entry.path.iterdir()) == [
        "content",
        "contents.json",
        "manifest.json",
    ]
    assert any("interrupted build left" in line for line in lines)


def test_remains_of_a_killed_build_are_swept_by_the_next_build_of_anything(tmp_path: Path) -> None:
    kill(endless_builder(tmp_path))

    Cache(tmp_path).obtain(OTHER, Builder(), lambda line: None)

    assert [p.name for p in (tmp_path / "thing").iterdir()] == [OTHER.directory]


def test_a_build_that_is_going_on_is_not_swept(tmp_path: Path) -> None:
    alive = endless_builder(tmp_path)
    try:
        Cache(tmp_path).obtain(OTHER, Builder(), lambda line: None)

        assert (tmp_path / "thing" / f".building-{KEY.directory}" / "half").exists()
    finally:
        kill(alive)


def test_parallel_builders_build_once_and_the_waiting_one_says_so(tmp_path: Path) -> None:
    building, waiting = threading.Event(), threading.Event()
    second_build = Builder()
    ended = []

    def slow(into: Path, report: Reporter) -> Made:
        building.set()
        assert waiting.wait(DEADLINE_S)
        return Builder()(into, report)

    def hear(line: str) -> None:
        if "waiting for process" in line:
            waiting.set()

    def obtain_second() -> None:
        ended.append(Cache(tmp_path).obtain(KEY, second_build, hear))

    first = threading.Thread(
        target=lambda: ended.append(Cache(tmp_path).obtain(KEY, slow, lambda line: None))
    )
    first.start()
    assert building.wait(DEADLINE_S)
    second = threading.Thread(target=obtain_second)
    second.start()
    first.join(DEADLINE_S)
    second.join(DEADLINE_S)

    assert waiting.is_set()
    assert second_build.calls == 0
    assert len(ended) == 2
    assert ended[0] == ended[1]


@pytest.mark.parametrize("damage", ["missing", "shorter", "manifest"])
def test_what_is_damaged_is_built_again(tmp_path: Path, damage: str) -> None:
    cache, build, lines = Cache(tmp_path), Builder(), list[str]()
    entry = cache.obtain(KEY, build, lines.append)
    match damage:
        case "missing":
            (entry.path / "content").unlink()
        case "shorter":
            (entry.path / "content").write_text("who")
        case "manifest":
            (entry.path / "manifest.json").write_text('{"kind": "thing", "na')

    again = cache.obtain(KEY, build, lines.append)

    assert build.calls == 2
    assert (again.path / "content").read_text() == "whole"
    assert any("damaged" in line for line in lines)


def test_what_is_removed_is_gone_and_can_be_built_again(tmp_path: Path) -> None:
    cache, build = Cache(tmp_path), Builder()
    entry = cache.obtain(KEY, build, lambda line: None)

    cache.remove(entry)

    assert cache.entries() == ()
    assert not entry.path.exists()
    cache.obtain(KEY, build, lambda line: None)
    assert build.calls == 2


def test_entries_lists_every_finished_thing_by_kind_and_name(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for key in (OTHER, KEY, Key("another", "z", "aa" * 32)):
        cache.obtain(key, Builder(), lambda line: None)

    names = [(e.manifest.kind, e.manifest.name) for e in cache.entries()]

    assert names == [("another", "z"), ("thing", "a"), ("thing", "b")]


def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path) -> None:
    def build(into: Path, report: Reporter) -> Made:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(into / "content"))

    with pytest.raises(ImageError) as caught:
        Cache(tmp_path).obtain(KEY, build, lambda line: None)

    assert "thing a: " in str(caught.value)
    assert "No space left on device" in str(caught.value)
    assert "HARNESS_CACHE" in caught.value.hint


def test_a_root_that_cannot_be_made_is_an_image_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ImageError, match="Not a directory"):
        Cache(tmp_path / "file" / "cache").obtain(KEY, Builder(), lambda line: None)


def test_a_digest_depends_on_every_part_and_on_where_it_ends() -> None:
    base = digest_of({"a": "1", "b": b"2"})

    assert base == digest_of({"b": "2", "a": b"1"})
    others = [{"a": "1"}, {"a": "12", "b": ""}, {"a": "1", "c": "2"}, {"a": "1", "b": "3"}]
    assert len({base, *(digest_of(parts) for parts in others)}) == 1 + len(others)
