"""The user's build command for one revision, with its log; it ends when the harness is told to.

Not ``harness.images``: nothing is known here of what is built.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

_TERM_S = 10.0


def carry_out_build(command: str, tree: Path, log: Path) -> int:
    """Run ``command`` with ``sh -c`` in ``tree``; its exit status. All it says goes to ``log``.

    Whatever interrupts the wait ends the command's whole process group first.
    """
    with log.open("wb") as out:
        out.write(f"$ {command}\n".encode())
        out.flush()
        child = subprocess.Popen(
            ["sh", "-c", command],
            cwd=tree, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            return child.wait()
        except BaseException:
            _end(child)
            raise


def _end(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(_TERM_S)
    # The shell may be gone, and a compiler of its group not.
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
