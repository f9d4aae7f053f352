"""Who is at which step, for how long: the lab's progress, for a person and for timings.

Not a log of facts: nothing here is judged.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Stage:
    """One finished step. Times are seconds since the progress began."""

    name: str
    begin: float
    end: float
    failed: bool


class Progress:
    """Prints a line when a step ends, and, while steps run long, what is being waited for."""

    def __init__(self, out: TextIO | None = sys.stderr, *, patience: float = 5.0) -> None:
        self._out = out
        self._patience = patience
        self._zero = time.monotonic()
        self._lock = threading.Lock()
        self._running: dict[str, float] = {}
        self._stages: list[Stage] = []
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
    def step(self, name: str) -> Iterator[None]:
        """Marks ``name`` as running; says how long it took, or that it failed."""
        begin = time.monotonic()
        with self._lock:
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
                self._stages.append(Stage(name, begin - self._zero, end - self._zero, failed))
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


def critical_path(stages: tuple[Stage, ...], needs: dict[str, tuple[str, ...]]) -> list[Stage]:
    """The chain of steps that the total time consisted of, first to last.

    From the last step to end, back through the one of its needs that ended last.
    """
    by_name = {stage.name: stage for stage in stages}
    planned = [stage for stage in stages if stage.name in needs]
    if not planned:
        return []
    path = [max(planned, key=lambda stage: stage.end)]
    while True:
        before = [by_name[name] for name in needs[path[-1].name] if name in by_name]
        if not before:
            return path[::-1]
        path.append(max(before, key=lambda stage: stage.end))
