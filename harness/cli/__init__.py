"""The command line: wires the rooms and maps errors to exit codes; no logic of its own.

0 passed   1 an expectation failed   2 the input is wrong
3 the lab could not be built or broke   4 cannot tell   130 interrupted
"""

# What it is not: nothing here decides or measures. Neighbours: ``parser`` has the options;
# ``inputs`` the commands that touch nothing, ``cases`` those that run and report, ``labs``
# those for labs that stay up, ``here`` those about this machine.

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType

from harness.cli.parser import command_of, make_parser
from harness.errors import EXIT_INTERRUPTED, EXIT_LAB, HarnessError

__all__ = ["main"]

_STDOUT = 1
_EXIT_SIGPIPE = 141
"""What a shell reports for a program that SIGPIPE ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Never shows a traceback for an expected error."""
    words = list(sys.argv[1:] if argv is None else argv)
    command: list[str] = []
    if words[:1] == ["exec"] and "--" in words:
        # argparse would look for options of its own in what follows `--`.
        cut = words.index("--")
        words, command = words[:cut], words[cut + 1 :]
    options = make_parser(__doc__ or "").parse_args(words)
    options.argv = [*getattr(options, "argv", []), *command]
    try:
        with _terminable():
            status = command_of(options)
            sys.stdout.flush()  # here, where a reader that went away is dealt with
            return status
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - shown; Python itself would exit with 1, "failed"
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            return _EXIT_SIGPIPE
        traceback.print_exc()
        print("harness: this is a bug in the harness, and says nothing of the guest; please "
              "report it with the lines above", file=sys.stderr)  # fmt: skip
        return EXIT_LAB


def _reader_has_gone() -> bool:
    """Whether nobody reads standard output any more (a pager or `head` that has ended)."""
    waiting = select.poll()
    waiting.register(_STDOUT, 0)
    if not any(event & select.POLLERR for _, event in waiting.poll(0)):
        return False
    # Or Python would complain once more when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    return True


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: the lab goes down first, whoever asks again."""
    asked = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
