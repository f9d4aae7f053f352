"""Runs a case for avocado: ``harness run`` in a process of its own, its end told as avocado's.

========================  ===========  =====================================================
end of ``harness run``    avocado      why
========================  ===========  =====================================================
0 passed                  PASS
1 failed                  FAIL         an expectation did not hold
2, 3, 4                   ERROR        wrong input, a lab that broke, cannot tell: not one of
                                       them says that the case holds, and SKIP, CANCEL and
                                       WARN would leave the job green
130 interrupted           INTERRUPTED  Ctrl-C, or avocado's time-out; the lab went down first
known failure (matrix)    WARN         in order, and still to be seen
\\(not run)                CANCEL       the variant is for another topology of the case
========================  ===========  =====================================================

The run directory is ``run`` in the test's own directory of the job. A process of its own,
because avocado asks a runner to end by SIGTERM and then kills it: the lab hangs on a process
that takes its time, and is told by the kernel when the runner is gone.

Neighbours: ``resolver`` makes the tests, ``variant`` reads their parameters.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any, ClassVar

from avocado.core.nrunner.app import BaseRunnerApp
from avocado.core.nrunner.runner import BaseRunner
from avocado.core.references import reference_split

from harness.avocado_plugin.variant import Wanted, wanted_of
from harness.errors import (
    EXIT_CANNOT_TELL,
    EXIT_FAILED,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_LAB,
    EXIT_PASSED,
)

KIND = "harness-case"
"""The kind of avocado's runnables that are cases."""

Status = dict[str, Any]
"""A message of avocado's nrunner protocol."""

_RESULT = {EXIT_PASSED: "pass", EXIT_FAILED: "fail", EXIT_INTERRUPTED: "interrupted"}
_WORDS = {
    EXIT_FAILED: "FAILED",
    EXIT_INPUT: "THE INPUT IS WRONG",
    EXIT_LAB: "LAB BROKE",
    EXIT_CANNOT_TELL: "CANNOT TELL",
    EXIT_INTERRUPTED: "INTERRUPTED",
}
_POLL_S = 0.2
_LAST_LINES = 20
_AS_IT_IS = ("setpriv", "--pdeathsig", "TERM", "--")
"""The harness takes its lab down when avocado has killed the runner."""


class HarnessCaseRunner(BaseRunner):  # type: ignore[misc]  # avocado has no types
    """The entry point ``harness-case`` of ``avocado.plugins.runnable.runner``.

    ``uri`` is ``FILE`` or ``FILE:TOPOLOGY``.
    """

    name = KIND
    description = "Runner for cases of the failover harness"
    CONFIGURATION_USED: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        self._stopping = False

    def run(self, runnable: Any) -> Iterator[Status]:
        yield self.prepare_status("started")
        wanted = wanted_of(runnable.variant)
        file, topology = reference_split(runnable.uri)
        if wanted.topology is not None and topology not in (None, wanted.topology):
            reason = f"the variant is for topology '{wanted.topology}'"
            yield self._finished("cancel", reason)
            return
        output = runnable.output_dir or tempfile.mkdtemp(prefix="harness-case-")
        run_dir = Path(output, "run")
        argv = [sys.executable, "-m", "harness.cli", "run", file, "--run-dir", str(run_dir)]
        on = topology or wanted.topology
        argv += [*(["--variant", on] if on else []), *wanted.options]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            # A session of its own: Ctrl-C comes to the runner, and from there once.
            process = subprocess.Popen(
                [*_AS_IT_IS, *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            yield self._finished("error", f"harness run cannot be started: {error}")
            return
        tail = yield from self._follow(process)
        yield from self._tell(process.wait(), wanted, run_dir, tail)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _follow(self, process: subprocess.Popen[bytes]) -> Generator[Status, None, str]:
        """Pass on what the harness says until it ends; returns its last messages."""
        asked = False
        tail = b""
        with selectors.DefaultSelector() as waiting:
            for pipe, kind in ((process.stdout, "stdout"), (process.stderr, "stderr")):
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
                    waiting.register(pipe, selectors.EVENT_READ, kind)
            while waiting.get_map():
                if self._stopping and not asked:
                    asked = True
                    process.send_signal(signal.SIGTERM)
                ready = waiting.select(_POLL_S)
                ended = process.poll() is not None
                for key, _ in ready:
                    data = _read(key.fileobj)
                    if data is None:
                        continue
                    if not data:
                        waiting.unregister(key.fileobj)
                        continue
                    if key.data == "stderr":
                        tail = (tail + data)[-1 << 16 :]
                    yield self.prepare_status("running", {"type": key.data, "log": data})
                if not ready:
                    if ended:
                        break  # something of it still holds the pipes, and says nothing
                    yield self.prepare_status("running")
        return tail.decode(errors="replace")

    def _tell(self, code: int, wanted: Wanted, run_dir: Path, tail: str) -> Iterator[Status]:
        """The verdict: the whiteboard, and the message that ends the test."""
        from harness.matrix import Known, known_failure
        from harness.report import Result, reasons
        from harness.verdict import Outcome

        result = _RESULT.get(code, "error")
        words = f"{_WORDS.get(code, 'harness run ended in an odd way')} ({code}): "
        reason = "\n".join(tail.strip().splitlines()[-_LAST_LINES:])
        board: Status = {"exit_code": code, "run_directory": str(run_dir)}
        judged: Result | None = None
        if code in (EXIT_PASSED, EXIT_FAILED, EXIT_CANNOT_TELL):
            try:
                judged = Result.model_validate_json((run_dir / "result.json").read_bytes())
            except (OSError, ValueError) as error:
                if code != EXIT_CANNOT_TELL:  # a damaged record gives no result
                    result, reason = "error", f"the result cannot be read: {error}"
        if judged is not None:
            board |= {"claim": judged.claim, "outcome": judged.outcome.value}
            board |= {"choices": judged.choices, "versions": judged.versions.model_dump()}
            reason = reasons(judged).strip().partition(": ")[2]
            if wanted.known and judged.outcome is not Outcome.CANNOT_TELL:
                different = known_failure(judged, Known(wanted.known, wanted.finding))
                result = "fail" if different else "warn"
                words, reason = "", different or f"failed as known: {wanted.known}"
        log = json.dumps(board).encode()
        yield self.prepare_status(
            "running", {"type": "whiteboard", "log": log, "encoding": "utf-8"}
        )
        if result == "pass":
            yield self._finished("pass")
        else:
            where = f"; run directory: {run_dir}" if run_dir.is_dir() else ""
            yield self._finished(result, words + _one_line(reason) + where, code)

    def _finished(self, result: str, reason: str = "", code: int | None = None) -> Status:
        told: Status = {"result": result}
        if reason:
            told["fail_reason"] = reason
        if code is not None:
            told["returncode"] = code
        return dict(self.prepare_status("finished", told))


def _one_line(text: str) -> str:
    """avocado shows the reason of a test in one line."""
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def _read(pipe: Any) -> bytes | None:
    """What there is to read: nothing at its end, None where there is nothing yet."""
    file: IO[bytes] = pipe
    try:
        return os.read(file.fileno(), 1 << 16)
    except BlockingIOError:
        return None


class RunnerApp(BaseRunnerApp):  # type: ignore[misc]  # avocado has no types
    """The program ``avocado-runner-harness-case``."""

    PROG_NAME = "avocado-runner-harness-case"
    PROG_DESCRIPTION = "nrunner application for cases of the failover harness"
    RUNNABLE_KINDS_CAPABLE: Sequence[str] = (KIND,)


def main() -> None:
    RunnerApp(print).run()


if __name__ == "__main__":
    main()
