"""Tools of this machine: what is missing, failing or slow is told, with what to do."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.errors import ImageError, MissingDependency
from harness.images.reporter import Reporter
from harness.images.tools import require, run


def test_all_missing_tools_are_named_with_one_line_to_install_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.images.tools._SBIN", "/nonexistent")
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(MissingDependency) as caught:
        require("mkfs.erofs", "gcc")

    assert caught.value.message == "images: this machine lacks mkfs.erofs, gcc"
    assert caught.value.hint == (
        "apt-get install --no-install-recommends erofs-utils gcc libc6-dev"
    )


def test_a_failure_tells_the_status_and_the_last_lines() -> None:
    with pytest.raises(ImageError) as caught:
        run(["sh", "-c", "seq 100 >&2; exit 3"], what="package p")

    assert caught.value.message == "package p: sh ended with status 3"
    assert caught.value.evidence[-1] == "100"
    assert len(caught.value.evidence) == 12


def test_a_full_disk_is_told_with_what_to_do() -> None:
    with pytest.raises(ImageError) as caught:
        run(["sh", "-c", "cat /proc/version > /dev/full"], what="package p")

    assert "HARNESS_CACHE" in caught.value.hint


def test_a_program_that_does_not_end_is_stopped() -> None:
    with pytest.raises(ImageError, match="sleep was stopped after 0 s"):
        run(["sleep", "60"], what="package p", timeout=0.05)


def test_a_program_does_not_outlive_a_harness_that_is_killed(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"exec 3> {fifo}; echo running >&3; exec sleep 60"
    harness = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from harness.images.tools import run; run(['sh', '-c', {script!r}], what='x')",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with fifo.open() as pipe:
        assert pipe.readline() == "running\n"

        harness.kill()
        harness.wait(20)

        # The pipe ends when its last writer, the program, is gone.
        assert select.select([pipe], [], [], 20)[0]
        assert pipe.read() == ""


def test_input_reaches_the_program_and_output_comes_back() -> None:
    assert run(["cat"], what="cat", stdin=b"\0text") == b"\0text"


def test_a_long_step_is_told_again_with_the_time() -> None:
    again = threading.Event()
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line)
        if "still" in line:
            again.set()

    with Reporter("toolchain qemu", hear, every=0.01).step("downloading"):
        assert again.wait(20)

    assert lines[0] == "images: toolchain qemu: downloading... [0.0 s]"
    assert lines[1].startswith("images: toolchain qemu: still downloading... [")
