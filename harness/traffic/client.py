"""The harness's end of ``sender`` and ``capture``: start, wait for, stop, with deadlines.

``Spawn`` starts a program inside a namespace with pipes for stdin, stdout and stderr; the
lab gives it. A program whose stdin ends stops by itself, so a killed harness leaves none.

Neighbours: ``scenario`` uses it; ``programs`` holds what is said over the pipes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from harness import __version__
from harness.errors import DeadlineExceeded, LabError
from harness.traffic.programs import (
    EVENT_FLOWING,
    EVENT_PROBLEM,
    EVENT_READY,
    EVENT_SUMMARY,
    CaptureOrder,
    CaptureSummary,
    SendOrder,
    SendSummary,
    order_line,
)
from harness.traffic.stream import StreamSpec

Spawn = Callable[[Sequence[str]], subprocess.Popen[bytes]]
"""Starts a program in a namespace; stdin, stdout and stderr are pipes."""

START_TIMEOUT = 20.0
_ROOT = Path(__file__).resolve().parents[2]


def program(module: str) -> list[str]:
    """The command that runs a module of this harness, installed or not, wherever it is run."""
    return ["env", f"PYTHONPATH={_ROOT}", sys.executable, "-m", f"harness.traffic.{module}"]


class Program:
    """A running program: its events by name, and its end."""

    def __init__(self, what: str, spawn: Spawn, module: str, order: bytes) -> None:
        self.what = what
        self._events: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._stderr: deque[str] = deque(maxlen=20)
        self._process = spawn(program(module))
        self._threads = [
            threading.Thread(target=run, name=f"{what} {name}", daemon=True)
            for name, run in (("stdout", self._read_events), ("stderr", self._read_stderr))
        ]
        for thread in self._threads:
            thread.start()
        self._write(order)
        try:
            self.wait_event(EVENT_READY, START_TIMEOUT)
        except LabError:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def problem(self) -> str:
        """What the program complained of; empty when of nothing."""
        return str(self._events.get(EVENT_PROBLEM, {}).get("text", ""))

    @property
    def running(self) -> bool:
        return not self._ended

    def wait_event(self, event: str, timeout: float) -> dict[str, Any]:
        """The event's data. LabError when the program ends before it, DeadlineExceeded."""
        end = time.monotonic() + timeout
        with self._changed:
            while event not in self._events:
                if self._ended:
                    raise LabError(
                        f"{self.what} ended before its {event}"
                        + (f": {self.problem}" if self.problem else ""),
                        evidence=tuple(self._stderr),
                    )
                left = end - time.monotonic()
                if left <= 0:
                    raise DeadlineExceeded(
                        f"{self.what}: no {event} within {timeout:g} s; last seen: "
                        f"{', '.join(self._events) or 'nothing'}",
                        evidence=tuple(self._stderr),
                    )
                self._changed.wait(left)
            return self._events[event]

    def stop(self, timeout: float) -> dict[str, Any]:
        """Tell it to stop, and its summary. The process is gone afterwards in any case."""
        self._write(b"stop\n")
        return self.join(timeout)

    def join(self, timeout: float) -> dict[str, Any]:
        """Its summary, when it has ended by itself. It is killed when it has not by then."""
        try:
            return self.wait_event(EVENT_SUMMARY, timeout)
        finally:
            self.kill(grace=5.0)

    def kill(self, grace: float = 2.0) -> None:
        """End the process and close the pipes: it has ``grace`` seconds to end by itself.

        The end of its stdin tells it to. A signal reaches only what was started here, which
        may be nsenter with the program as its child in the sandbox.
        """
        self._close(self._process.stdin)
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        for thread in self._threads:
            thread.join(5)
        # A pipe must not be closed under a thread that still reads from it.
        if not any(thread.is_alive() for thread in self._threads):
            self._close(self._process.stdout)
            self._close(self._process.stderr)

    def _close(self, pipe: IO[bytes] | None) -> None:
        with suppress(BrokenPipeError):  # an order that nobody read any more
            if pipe is not None:
                pipe.close()

    def _write(self, data: bytes) -> None:
        if self._process.stdin is None:
            raise LabError(f"{self.what}: it was started without a pipe on stdin")
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            return  # it has ended; whoever waits for it is told so

    def _read_events(self) -> None:
        for line in self._process.stdout or ():
            try:
                said = json.loads(line)
                event = said.pop("event")
            except (ValueError, KeyError, AttributeError):
                self._stderr.append(line.decode(errors="replace").rstrip())
                continue
            with self._changed:
                self._events[event] = said
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read_stderr(self) -> None:
        for line in self._process.stderr or ():
            self._stderr.append(line.decode(errors="replace").rstrip())


class Sender:
    """One stream being sent; ``start`` returns when its first packet is due.

    ``stop`` or ``join`` ends it and gives its summary; ``kill`` without one.
    """

    def __init__(self, spec: StreamSpec, sends: Path, running: Program) -> None:
        self.spec = spec
        self.sends = sends
        self._program = running

    @classmethod
    def start(
        cls, spawn: Spawn, spec: StreamSpec, *, interface: str, sends: Path, first_seq: int = 0
    ) -> Sender:
        """Send ``spec`` out of ``interface``; the record of the sends goes to ``sends``."""
        from harness.traffic import frames  # scapy takes long to load, and a capture needs none

        made = frames.template(spec)
        order = SendOrder(
            interface=interface, frame=made.frame.hex(), head_at=made.head_at,
            checksum_at=made.checksum_at, base=made.base, echo_seq_at=made.echo_seq_at,
            stream_id=spec.stream_id, rate=spec.rate, count=spec.packets or 0,
            first_seq=first_seq, sends=str(sends.absolute()),
        )  # fmt: skip
        what = f"sender of stream {spec.name}"
        return cls(spec, sends, Program(what, spawn, "sender", order_line(order)))

    @property
    def pid(self) -> int:
        return self._program.pid

    def wait_flowing(self, timeout: float) -> None:
        """Until ten packets went out. LabError when it ends before."""
        self._program.wait_event(EVENT_FLOWING, timeout)

    def stop(self, timeout: float = 10.0) -> SendSummary:
        return SendSummary(**self._program.stop(timeout))

    def join(self, timeout: float) -> SendSummary:
        return SendSummary(**self._program.join(timeout))

    def kill(self) -> None:
        self._program.kill()


class Capture:
    """One interface being captured; ``start`` returns when every later frame is kept."""

    def __init__(self, path: Path, running: Program) -> None:
        self.path = path
        self._program = running

    @classmethod
    def start(
        cls,
        spawn: Spawn,
        *,
        interface: str,
        path: Path,
        snaplen: int = 256,
        promiscuous: bool = False,
        outgoing: bool = False,
    ) -> Capture:
        """Capture ``interface`` to the pcapng file ``path``: what comes in, or both ways."""
        order = CaptureOrder(
            interface=interface, path=str(path.absolute()), snaplen=snaplen,
            promiscuous=promiscuous, outgoing=outgoing,
            harness=f"failover-harness {__version__}",
        )  # fmt: skip
        what = f"capture of {interface}"
        return cls(path, Program(what, spawn, "capture", order_line(order)))

    @property
    def pid(self) -> int:
        return self._program.pid

    @property
    def problem(self) -> str:
        """What went wrong that did not end the capture (the interface went down)."""
        return self._program.problem

    def stop(self, timeout: float = 10.0) -> CaptureSummary:
        return CaptureSummary(**self._program.stop(timeout))

    def kill(self) -> None:
        self._program.kill()
