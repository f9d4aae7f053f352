"""The user's git tree during a bisection: ``git bisect`` driven in it, and put back afterwards.

Neighbours: ``following`` runs what may take long and ends with us; the CLI says what is run
for each revision. What a revision is like is not known here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from harness.bisect.following import follow, unbroken
from harness.errors import CleanupError, HarnessError, InputError, LabError, MissingDependency

_ONLY_SKIPPED = 2
_GIT_S = 600.0


class Ended(Enum):
    """How ``git bisect run`` ended."""

    FOUND = "found"
    ONLY_SKIPPED_LEFT = "only skipped left"
    STOPPED = "stopped"


class Tree:
    """A working tree of git. InputError where ``path`` is none."""

    def __init__(self, path: Path) -> None:
        if shutil.which("git") is None:
            raise MissingDependency("bisect: this machine lacks git", hint="apt-get install git")
        if not path.is_dir():
            raise InputError(f"--tree {path}: there is no such directory")
        self.path = path.absolute()
        done = self._git("rev-parse", "--show-toplevel")
        if done.returncode or not done.stdout.strip():
            raise InputError(
                f"--tree {path}: is not the working tree of a git repository",
                hint="name the directory that holds the sources that are to be bisected",
                evidence=done.stderr.splitlines(),
            )
        self.path = Path(done.stdout.removesuffix("\n"))

    def must_be_free(self) -> None:
        """Raises InputError for changes that are not committed, and during another bisection."""
        if self._bisected():
            raise InputError(
                f"{self.path}: is being bisected already",
                hint=f"git -C {self.path} bisect reset ends that, and puts the tree back",
            )
        changed = self._must("status", "--porcelain", "--untracked-files=no",
                             "--ignore-submodules=all").splitlines()  # fmt: skip
        if changed:
            raise InputError(
                f"{self.path}: has changes that are not committed",
                hint="commit them, or `git stash`: revisions are checked out here one by one",
                evidence=changed[:10],
            )

    def commit_of(self, option: str, revision: str) -> str:
        """The commit that a revision stands for; InputError says which option named none."""
        done = self._git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        )
        if done.returncode:
            raise InputError(f"{option} {revision}: is no commit of {self.path}",
                             hint="wanted a tag, a branch or a commit")  # fmt: skip
        return done.stdout.strip()

    def must_follow(self, good: str, bad: str) -> None:
        """Raises InputError where good and bad are the same, or mistaken for each other."""
        if good == bad:
            raise InputError(f"--good and --bad are the same commit, {good}")
        if self._git("merge-base", "--is-ancestor", bad, good).returncode == 0:
            raise InputError(
                "--good comes after --bad: what is looked for is the first bad commit",
                hint="are the two mistaken for each other?",
            )

    def head(self) -> str:
        return self._must("rev-parse", "HEAD").strip()

    def subject(self, commit: str) -> str:
        return self._must("show", "-s", "--format=%s", commit).strip()

    def parents(self, commit: str) -> tuple[str, ...]:
        return tuple(self._must("show", "-s", "--format=%P", commit).split())

    def check_out(self, commit: str) -> None:
        with unbroken():
            self._must("checkout", "--quiet", "--detach", commit)

    def steps_left(self) -> int | None:
        """Git's estimate of the steps after this one; None before both ends are known."""
        done = self._git("rev-list", "--bisect-vars", "--bisect")
        told = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
        steps = told.get("bisect_steps", "")
        return int(steps) if done.returncode == 0 and steps.isdigit() else None

    @contextmanager
    def bisecting(self) -> Iterator[None]:
        """A bisection is under way inside; afterwards the tree is as it was.

        Raises CleanupError when it cannot be put back, with git's words.
        """
        before = self._place()
        with unbroken():
            self._must("bisect", "start")
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            with unbroken():
                self._put_back(before, failure)

    def run(
        self, good: str, bad: str, script: Path, *, log: Path, say: Callable[[str], None]
    ) -> Ended:
        """``git bisect run script`` between two commits; inside of ``bisecting`` only.

        Raises Interrupted; LabError for what git itself cannot do.
        """
        with unbroken():
            self._must("bisect", "bad", bad)
            marked = self._git("bisect", "good", good)
        if "is the first bad commit" in marked.stdout:
            return Ended.FOUND  # there is nothing between the two
        if marked.returncode:
            raise self._refused("bisect", marked)
        status = follow(["git", "bisect", "run", str(script)], cwd=self.path, log=log, say=say)
        if status == 0:
            return Ended.FOUND
        return Ended.ONLY_SKIPPED_LEFT if status == _ONLY_SKIPPED else Ended.STOPPED

    def suspects(self) -> tuple[str, ...]:
        """What may be the first bad commit, by what is known; that alone, once it is found."""
        bad = self._must("rev-parse", "refs/bisect/bad").strip()
        skipped, good = (
            self._must("for-each-ref", "--format=%(objectname)", f"refs/bisect/{kind}-*").split()
            for kind in ("skip", "good")
        )
        listed = self._must("rev-list", "--reverse", bad, "--not", *good).split()
        return (*(one for one in listed if one in skipped and one != bad), bad)

    def _bisected(self) -> bool:
        where = self._must("rev-parse", "--git-path", "BISECT_START").strip()
        return (self.path / where).exists()

    def _place(self) -> tuple[str, str]:
        """The branch that is checked out (empty: none), and the commit."""
        return self._git("symbolic-ref", "--quiet", "HEAD").stdout.strip(), self.head()

    def _put_back(self, before: tuple[str, str], failure: BaseException | None) -> None:
        done = self._git("bisect", "reset")
        if done.returncode == 0 and not self._bisected() and self._place() == before:
            return
        evidence = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        if isinstance(failure, HarnessError):
            evidence = [*str(failure).splitlines(), *evidence]
        raise CleanupError(
            f"{self.path}: could not be put back to {before[0] or before[1]}",
            hint=f"look at `git -C {self.path} status`; then `git -C {self.path} bisect reset`",
            evidence=evidence,
        )

    def _git(self, *words: str) -> subprocess.CompletedProcess[str]:
        # Not in the terminal's group: Ctrl-C is for us to deal with, and not for a checkout. In
        # the C locale, because some of what it says is read.
        return subprocess.run(
            ["git", "-C", str(self.path), *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_GIT_S, check=False, start_new_session=True, env=os.environ | {"LC_ALL": "C"},
        )  # fmt: skip

    def _must(self, *words: str) -> str:
        done = self._git(*words)
        if done.returncode:
            raise self._refused(words[0], done)
        return done.stdout

    def _refused(self, verb: str, done: subprocess.CompletedProcess[str]) -> LabError:
        said = (done.stderr + done.stdout).splitlines()
        return LabError(f"{self.path}: git {verb} failed", evidence=said[-10:])
