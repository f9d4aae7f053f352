"""The command line in a network namespace of its own: other labs of the machine are not seen.

Labs are found by abstract Unix sockets, which belong to a network namespace. The place lives
as long as the process that holds it, whose stdin is a pipe from here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Place:
    """A network namespace, and a working directory for the commands in it."""

    pid: int
    folder: Path

    def enter(self, argv: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *argv]

    @property
    def temporary(self) -> Path:
        """Where the commands make their temporary files."""
        return self.folder / "tmp"

    def environment(self) -> dict[str, str]:
        self.temporary.mkdir(exist_ok=True)
        return os.environ | {
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(ROOT),
            "HARNESS_RUNS": str(self.folder / "runs"),
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, *argv: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.enter(argv),
            cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def harness(self, *args: object, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """One command of the harness, to its end."""
        return self.run(*HARNESS, *map(str, args), timeout=timeout)

    def start(self, *args: object) -> subprocess.Popen[str]:
        """A command of the harness in the background."""
        return self.spawn(*HARNESS, *map(str, args))

    def spawn(self, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.enter(argv),
            cwd=self.folder, env=self.environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


HARNESS = (sys.executable, "-m", "harness.cli")


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """A new network namespace with nothing but a loopback in it."""
    argv = ["unshare", "--net", "sh", "-c", "echo there; exec cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"there\n"
        try:
            yield Place(holder.pid, folder)
        finally:
            holder.stdin.close()
            holder.wait(10)
