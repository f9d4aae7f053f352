"""``avocado`` as a user runs it, with this checkout's plugin, installed or not.

avocado finds plugins by the entry points of installed distributions; a directory on the path
with the metadata of one is what an editable installation comes down to.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.images.store import default_root

ROOT = Path(__file__).parents[2]
AVOCADO = (sys.executable, "-m", "avocado")
_IMAGES = default_root()


def entry_points() -> str:
    """This checkout's entry points as an installation would write them down."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    lines = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items()), ""]
    return "\n".join(lines)


def make_metadata(folder: Path) -> Path:
    """A directory for PYTHONPATH with the entry points of this checkout."""
    site = folder / "site"
    info = site / "failover_harness-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: failover-harness\nVersion: 0\n")
    (info / "entry_points.txt").write_text(entry_points(), encoding="utf-8")
    return site


@dataclass(frozen=True)
class Job:
    """A job of avocado that has ended."""

    code: int
    out: str
    folder: Path

    @property
    def tests(self) -> dict[str, dict[str, Any]]:
        """Each test's entry in results.json, by its name without the number."""
        (results,) = self.folder.glob("job-results/job-*/results.json")
        tests = json.loads(results.read_text(encoding="utf-8"))["tests"]
        return {test["id"].partition("-")[2]: test for test in tests}


class Avocado:
    """Runs avocado in ``folder``, with nothing of the user's configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "PYTHONPATH": f"{make_metadata(folder)}:{ROOT}",
            "HARNESS_CACHE": str(_IMAGES),
            "HOME": str(folder),
            "PYTHONWARNINGS": "ignore",
        }

    def command(self, *words: str) -> list[str]:
        return [*AVOCADO, *words]

    def call(self, *words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def run(self, *words: str, timeout: float = 120.0) -> Job:
        results = self.folder / "job-results"
        options = ("--job-results-dir", str(results), "--disable-sysinfo")
        done = self.call("run", *options, *words, timeout=timeout)
        return Job(done.returncode, done.stdout + done.stderr, self.folder)
