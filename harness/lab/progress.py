"""Who is at which step, for how long: the lab's progress, for a person and for timings.

Not a log of facts: nothing here is judged. Neighbours: ``harness.scenario`` keeps the stages in
the run directory, ``harness.report`` finds the critical path.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Stage:
    """One finished step. Times are seconds since the progress began."""

    name: str
    begin: float
    end: float
    failed: bool
    after: tuple[str, ...] = ()
    """The steps that had to end before it could begin."""


class Progress:
    """Prints a line when a step ends, and, while steps run long, what is being waited for."""

    def __init__(
        self,
        out: TextIO | None = sys.stderr,
        *,
        patience: float = 5.0,
        began: float | None = None,
    ) -> None:
        """``began``: when the program did (``process_began``), which is then the first step."""
        now = time.monotonic()
        self._out = out
        self._patience = patience
        self._zero = now if began is None else began
        self._lock = threading.Lock()
        self._running: dict[str, float] = {}
        self._stages: list[Stage] = []
        if began is not None:
            self._stages.append(Stage("program loaded", 0.0, now - began, False))
        self._stop = threading.Event()
        self._ticker: threading.Thread | None = None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The steps that have ended, in the order in which they ended."""
        with self._lock:
            return tuple(self._stages)

    def say(self, text: str) -> None:
        """One line for the person who watches, with the seconds since the beginning."""
        if self._out is not None:
            print(f"[{time.monotonic() - self._zero:6.1f} s] {text}", file=self._out, flush=True)

    @contextmanager
    def step(self, name: str, *, after: Sequence[str] = ()) -> Iterator[None]:
        """Marks ``name`` as running; says how long it took, or that it failed.

        ``after`` are the steps that it had to wait for; where nobody says, that is the one
        that has ended last, as for steps that are carried out one by one.
        """
        begin = time.monotonic()
        with self._lock:
            needs = tuple(after) or tuple(stage.name for stage in self._stages[-1:])
            self._running[name] = begin
            if self._ticker is None and self._out is not None:
                self._ticker = threading.Thread(target=self._tick, daemon=True)
                self._ticker.start()
        failed = True
        try:
            yield
            failed = False
        finally:
            end = time.monotonic()
            with self._lock:
                del self._running[name]
                self._stages.append(
                    Stage(name, begin - self._zero, end - self._zero, failed, needs)
                )
            self.say(f"{name}: {'FAILED after' if failed else 'done in'} {end - begin:.1f} s")

    def _tick(self) -> None:
        while not self._stop.wait(self._patience):
            now = time.monotonic()
            with self._lock:
                slow = [
                    f"{name} ({now - begin:.0f} s)"
                    for name, begin in self._running.items()
                    if now - begin >= self._patience
                ]
            if slow:
                self.say("still at: " + ", ".join(slow))

    def close(self) -> None:
        self._stop.set()


def process_began() -> float:
    """When this process did, on CLOCK_MONOTONIC, to a hundredth of a second."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot
    return time.monotonic() - age
