"""A child that takes long: followed line by line, told to end by a pipe, never left behind.

The child leads a session of its own, so that Ctrl-C in the terminal reaches only us. What it
runs ends when its standard input does (``end_with_parent``): when we are interrupted, and
just as well when we are killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.errors import Interrupted

MARK = "bisect: "
"""What lines for the user begin with; all others are only logged."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def unbroken() -> Iterator[None]:
    """SIGINT and SIGTERM wait until this is over: a git that is killed leaves its locks."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def follow(argv: Sequence[str], *, cwd: Path, log: Path, say: Callable[[str], None]) -> int:
    """The exit status of ``argv``; its marked lines to ``say``, all its lines to ``log``.

    When we are interrupted it is told to end and waited for, and Interrupted is raised.
    """
    with (
        log.open("a", encoding="utf-8") as kept,
        subprocess.Popen(
            argv, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        ) as child,
    ):  # fmt: skip
        try:
            _read(child, kept.write, say)
            return child.wait()
        except KeyboardInterrupt:
            with unbroken():
                if child.stdin is not None:
                    child.stdin.close()
                say("interrupted: what is under way is taken down")
                _read(child, kept.write, say)
                child.wait()
    raise Interrupted(f"interrupted; what was done until then is in {log.parent}")


def _read(
    child: subprocess.Popen[str], keep: Callable[[str], object], say: Callable[[str], None]
) -> None:
    for line in child.stdout or ():
        keep(line)
        if line.startswith(MARK):
            say(line.removeprefix(MARK).rstrip("\n"))


def end_with_parent() -> None:
    """From now on the end of standard input is as good as SIGTERM; for what ``follow`` runs."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
