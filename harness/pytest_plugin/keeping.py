"""``--lab-keep``: a lab stays up until Enter, to be looked at from another terminal."""

from __future__ import annotations

import sys

import pytest

from harness.lab import Lab


def hold(config: pytest.Config, lab: Lab, why: str) -> None:
    """Show ``why`` and wait for Enter (or the end of the input), past pytest's capturing."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    try:
        print(
            f"\n{why}\nlab {lab.name} is kept up; in another terminal: harness exec --lab "
            f"{lab.name} MACHINE -- COMMAND\npress Enter to take it down",
            file=sys.stderr,
            flush=True,
        )
        sys.stdin.readline()
    finally:
        if capture is not None:
            capture.resume_global_capture()
