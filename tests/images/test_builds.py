"""Whole builds of a small guest image: killed, raced, out of disk. apt, dpkg-deb and the archive
are real."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.images import Kernel, Store, mirror
from tests.images.archive import Archive

DEADLINE_S = 60.0
KILLS = 20

# A process of its own that builds the guest: prints what it says and where the result is.
BUILD = """
import sys
from pathlib import Path
from harness.errors import HarnessError
from harness.images import Kernel, Store, mirror

cache, recipes, modules, mirror.KEYRING = map(Path, sys.argv[1:5])
no = modules / "vmlinux"
kernel = Kernel("kernel", "11" * 32, "6.12-1", "6.12.0", no, no, modules)
try:
    image = Store(cache, recipes=recipes).guest(
        "guest", kernel, progress=lambda line: print(line, flush=True))
except HarnessError as error:
    print(error)
    sys.exit(error.exit_code)
print("made", image.initramfs, flush=True)
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    modules = tmp_path / "modules"
    modules.mkdir()
    for name in ("modules.dep", "modules.builtin", "modules.order"):
        (modules / name).write_text("")
    return Kernel("kernel", "11" * 32, "6.12-1", "6.12.0", modules / "v", modules / "v", modules)


def start(tmp_path: Path, recipes: Path, cache: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-c", BUILD, cache or tmp_path / "cache", recipes),
            *(tmp_path / "modules", mirror.KEYRING),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_a_build_killed_at_any_moment_leaves_nothing_that_the_next_one_trips_over(
    tmp_path: Path, small_guest: Path, kernel: Kernel
) -> None:
    store = Store(tmp_path / "cache", recipes=small_guest)
    began = time.monotonic()
    whole = start(tmp_path, small_guest)
    said, _ = whole.communicate(timeout=DEADLINE_S)
    takes = time.monotonic() - began
    assert "made " in said
    content = store.guest("guest", kernel).initramfs.read_bytes()
    random.seed(4)
    interrupted = 0
    for moment in sorted(random.uniform(0.1, 0.98) for _ in range(KILLS)):
        shutil.rmtree(store.root / "guest")
        # Every other time, downloads and index are there already.
        if interrupted % 2:
            shutil.rmtree(store.root / "packages")
        victim = start(tmp_path, small_guest)
        try:
            victim.wait(moment * takes)
        except subprocess.TimeoutExpired:
            victim.send_signal(signal.SIGKILL)
            interrupted += 1
        victim.communicate(timeout=DEADLINE_S)

        image = store.guest("guest", kernel)

        assert image.initramfs.read_bytes() == content, f"killed at {moment:.0%}"
        assert [entry.path.parent.name for entry in store.list()] == ["guest"]
        assert store.damage(store.list()[0]) == ()
        assert len(list((store.root / "guest").iterdir())) == 1, f"killed at {moment:.0%}"
    assert interrupted > KILLS / 2


def test_two_processes_at_once_download_and_build_once_and_the_second_says_who_builds(
    tmp_path: Path, small_guest: Path, kernel: Kernel, archive: Archive
) -> None:
    archive.slow.set()
    first = start(tmp_path, small_guest)
    assert first.stdout
    for line in first.stdout:
        if "downloading" in line:
            break
    second = start(tmp_path, small_guest)
    assert second.stdout
    waiting = second.stdout.readline()
    archive.slow.clear()
    archive.go_on.release(100)
    said = [process.communicate(timeout=DEADLINE_S)[0] for process in (first, second)]

    assert re.search(
        rf"waiting for process {first.pid} \(\S+\), which has been building it since \d\d:\d\d:",
        waiting,
    )
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert [text.splitlines()[-1] for text in said] == [said[0].splitlines()[-1]] * 2
    assert "putting the initramfs together" in said[0]
    assert "putting the initramfs together" not in said[1]
    assert archive.fetched["busybox-static_1.0-1_amd64.deb"] == 1


@pytest.mark.parametrize("size", ["32k", "120k", "400k", "700k"])
def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, small_guest: Path, kernel: Kernel, size: str
) -> None:
    # No room for the index, for the package, for what is in it, for the image.
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=$7 tmpfs "$1"; "$2" -c "$3" "$1" "$4" "$5" "$6"; ' \
        'status=$?; echo left: $(ls -A "$1"/guest/ 2>/dev/null); exit $status'  # fmt: skip
    namespaces = ["--mount"] if os.geteuid() == 0 else ["--mount", "--user", "--map-root-user"]
    done = subprocess.run(
        [
            *("unshare", *namespaces, "sh", "-c", script, "sh", disk, sys.executable, BUILD),
            *(small_guest, tmp_path / "modules", mirror.KEYRING, size),
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert done.returncode == 3, done.stdout + done.stderr
    assert "No space left on device" in done.stdout or "enough free space" in done.stdout
    assert (
        "hint: the disk is full: free some space, or set HARNESS_CACHE to a larger disk"
        in done.stdout
    )
    assert done.stdout.splitlines()[-1] == "left:"


def test_a_build_that_fails_says_the_last_lines_and_leaves_nothing(
    tmp_path: Path, small_guest: Path, kernel: Kernel
) -> None:
    recipe = small_guest / "guest.yaml"
    recipe.write_text(recipe.read_text() + "compile: {usr/bin/broken: broken.c}\n")
    (small_guest / "broken.c").write_text("int main(void) { return nothing; }\n")
    store = Store(tmp_path / "cache", recipes=small_guest)

    with pytest.raises(ImageError) as caught:
        store.guest("guest", kernel)

    assert caught.value.message == "compiling broken.c: gcc ended with status 1"
    assert any("nothing" in line and "undeclared" in line for line in caught.value.evidence)
    assert list((store.root / "guest").iterdir()) == []


def test_a_finished_image_is_given_without_network(
    tmp_path: Path, small_guest: Path, kernel: Kernel, archive: Archive
) -> None:
    store = Store(tmp_path / "cache", recipes=small_guest)
    first = store.guest("guest", kernel)
    archive.close()
    lines: list[str] = []

    assert store.guest("guest", kernel, progress=lines.append) == first
    assert lines == []


def test_a_second_thread_of_the_same_process_waits_too(
    tmp_path: Path, small_guest: Path, kernel: Kernel, archive: Archive
) -> None:
    store = Store(tmp_path / "cache", recipes=small_guest)
    made: list[Path] = []

    def build() -> None:
        made.append(store.guest("guest", kernel).initramfs)

    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert len(made) == 3
    assert len(set(made)) == 1
    assert archive.fetched["busybox-static_1.0-1_amd64.deb"] == 1
