"""Whatever ends a command, its exit code does not say "passed" or "failed" by accident."""

import os
import signal
import subprocess
import sys

import pytest

import harness.cli
from harness.errors import LabError


def ending(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """The exit code of a command that raises ``error``."""

    def fail(_options: object) -> int:
        raise error

    monkeypatch.setattr(harness.cli, "command_of", fail)
    return harness.cli.main(["status"])


def test_a_bug_of_the_harness_is_a_broken_lab_not_a_failed_test(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(monkeypatch, KeyError("surprise")) == 3
    assert "this is a bug in the harness" in capsys.readouterr().err


def test_a_broken_pipe_inside_the_lab_is_not_a_reader_that_went_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(monkeypatch, BrokenPipeError(32, "Broken pipe")) == 3
    assert "BrokenPipeError" in capsys.readouterr().err


def test_ctrl_c_and_expected_errors_have_codes_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ending(monkeypatch, KeyboardInterrupt()) == 130
    assert ending(monkeypatch, LabError("alpha: gone")) == 3


def test_a_second_sigterm_does_not_disturb_the_way_down(monkeypatch: pytest.MonkeyPatch) -> None:
    down: list[str] = []

    def command(_options: object) -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            down.append("the lab")
        return 0

    monkeypatch.setattr(harness.cli, "command_of", command)
    assert harness.cli.main(["status"]) == 130
    assert down == ["the lab"]


def test_a_reader_that_went_away_ends_the_command_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "harness.cli", "schema"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")
