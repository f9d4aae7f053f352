"""Builds the tiny guest that accelerators are tried with (``images/accelerator/tiny.S``)."""

from __future__ import annotations

from pathlib import Path

from harness.images.cache import Made
from harness.images.reporter import Reporter
from harness.images.tools import require, run

BUILDER = "1"
SOURCE = "accelerator/tiny.S"
PROGRAM = "tiny"

# Loaded at 1 MiB, where PVH expects 32-bit code; --build-id=none: nothing but our own note.
_LINK = ("-nostdlib", "-static", "-no-pie", "-Wl,-Ttext=0x100000,--build-id=none,-e,start")


def build_tiny_guest(source: Path, into: Path, report: Reporter) -> Made:
    """Fill ``into`` with the ELF program ``tiny``."""
    require("gcc")
    with report.step("assembling"):
        run(["gcc", *_LINK, "-o", into / PROGRAM, source], what=f"assembling {source.name}")
    return Made(version=BUILDER)
