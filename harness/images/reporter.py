"""Progress lines of a build: which image is at which step, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.images.tools import Progress


class Reporter:
    """Puts a title and the seconds since the build began on every line.

    A step that lasts is told again ``every`` seconds.
    """

    def __init__(self, title: str, progress: Progress, *, every: float = 5.0) -> None:
        self._title = title
        self._progress = progress
        self._every = every
        self._began = time.monotonic()

    @property
    def progress(self) -> Progress:
        """Where the lines go, for a build that is part of this one."""
        return self._progress

    def say(self, text: str) -> None:
        """One line: ``images: toolchain qemu: done [12.3 s]``."""
        elapsed = time.monotonic() - self._began
        self._progress(f"images: {self._title}: {text} [{elapsed:.1f} s]")

    @contextmanager
    def step(self, text: str, state: Callable[[], str] | None = None) -> Iterator[None]:
        """Say ``text``, and say it again, with the ``state`` of then, until the step ends."""
        self.say(f"{text}...")
        over = threading.Event()

        def repeat() -> None:
            while not over.wait(self._every):
                self.say(f"still {text}{f': {state()}' if state else '...'}")

        thread = threading.Thread(target=repeat, name="images-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
