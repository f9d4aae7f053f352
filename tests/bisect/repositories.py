"""Small git repositories to bisect: each commit says in a file how a run of it is to end."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.bisect import standin

ROOT = Path(__file__).parents[2]
CASE = ROOT / "testcases" / "migrate-under-traffic.yaml"
BUILD = "mkdir -p built && cp source built/word && ! grep -q unbuildable source"
_WHO = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org")


@dataclass(frozen=True)
class Repository:
    """A repository on its branch ``main``, and its commits by what they say: ``1-good``."""

    path: Path
    commits: dict[str, str]

    def git(self, *words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(self.path), *_WHO, *words],
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout.strip()  # fmt: skip

    def state(self) -> tuple[str, ...]:
        """All that a bisection could leave behind in it."""
        return (
            self.git("symbolic-ref", "HEAD"), self.git("rev-parse", "HEAD"),
            self.git("for-each-ref"), self.git("status", "--porcelain", "--ignored=no"),
            *sorted(p.name for p in (self.path / ".git").glob("BISECT*")),
            *sorted(p.name for p in (self.path / ".git").glob("*.lock")),
        )  # fmt: skip


def repository(folder: Path, *words: str) -> Repository:
    """A repository with a commit for each word, the first one the oldest."""
    path = folder / "tree"
    path.mkdir()
    made = Repository(path, {})
    made.git("init", "--quiet", "--initial-branch=main")
    (path / ".gitignore").write_text("built\n", encoding="utf-8")
    for number, word in enumerate(words, 1):
        (path / "source").write_text(f"{word}\n", encoding="utf-8")
        (path / "number").write_text(f"{number}\n", encoding="utf-8")
        made.git("add", ".")
        made.git("commit", "--quiet", "-m", f"{number}-{word}")
        made.commits[f"{number}-{word}"] = made.git("rev-parse", "HEAD")
    return made


def command(*words: object) -> list[str]:
    """``harness bisect`` of the stand-in."""
    return [sys.executable, "-P", standin.__file__, "bisect", str(CASE), *map(str, words)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def over(tree: Repository, folder: Path, *words: object) -> list[str]:
    """``harness bisect`` over a tree; later words count."""
    return command(
        "--variant", "flat", "--tree", tree.path, "--build", BUILD, "--result", "built",
        "--good", tree.git("rev-list", "--max-parents=0", "main"), "--bad", "main",
        "--bisect-dir", folder / "bisect", *words,
    )  # fmt: skip


def bisect(tree: Repository, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        over(tree, folder, *words),
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
