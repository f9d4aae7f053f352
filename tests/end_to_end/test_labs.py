"""A lab that stays up is used from other processes, and goes when it is told to."""

from __future__ import annotations

import subprocess

import pytest

from tests.cli.places import Place
from tests.end_to_end.runs import FLAT, left

pytestmark = pytest.mark.lab


def test_a_lab_is_brought_up_used_and_taken_down(here: Place) -> None:
    before = left(here)

    def harness(*args: object) -> subprocess.CompletedProcess[str]:
        return here.harness(*args, timeout=120)

    # Captured output: `up` must not hold on to the pipe after it has returned.
    up = harness("up", FLAT, "--timings", "--run-dir", here.folder / "run")
    assert up.returncode == 0, up.stderr
    assert "lab flat-pair is up" in up.stdout
    assert "Critical path: " in up.stderr
    try:
        status = harness("status").stdout
        assert status.startswith("flat-pair: up for ")
        assert "g1           guest          running on alpha" in status

        assert harness("exec", "g1", "--", "uname", "-s").stdout == "Linux\n"
        assert "eth0" in harness("exec", "client", "--", "ip", "-o", "link").stdout
        assert "br0" in harness("exec", "alpha", "--", "ip", "link", "show", "br0").stdout
        assert harness("exec", "client", "--", "echo", "a", "--", "-b").stdout == "a -- -b\n"
        assert harness("exec", "g1", "--", "sh", "-c", "exit 7").returncode == 7

        for words, told in (
            (("exec", "g2", "--", "true"), "no machine 'g2'"),
            (("migrate", "g2", "--to", "beta"), "no guest 'g2'"),
            (("migrate", "g1", "--to", "gamma"), "no host 'gamma'"),
            (("migrate", "g1", "--to", "alpha"), "is on alpha already"),
            (("up", FLAT), "already up"),
        ):
            done = harness(*words)
            assert done.returncode == 2, done.stderr
            assert told in done.stderr
            assert "Traceback" not in done.stderr

        moved = harness("migrate", "g1", "--to", "beta")
        assert moved.returncode == 0, moved.stderr
        assert moved.stdout.startswith("g1 is on beta: completed, downtime ")
        assert "running on beta" in harness("status").stdout
        assert harness("exec", "g1", "--", "uname", "-s").stdout == "Linux\n"
    finally:
        down = harness("down")
    assert (down.returncode, down.stdout) == (0, "lab flat-pair is down\n"), down.stderr
    assert left(here) == before
