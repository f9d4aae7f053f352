"""The one asyncio loop of the package, on a thread of its own, shared by all QMP sessions.

Every other room is plain synchronous code; it enters here by ``run`` and nowhere else.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from harness.errors import VmError
from harness.reach.deadline import Deadline

T = TypeVar("T")


class LoopThread:
    """An event loop that runs until the process ends (its thread is a daemon)."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="qmp loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], deadline: Deadline, what: str) -> T:
        """Run ``work`` on the loop and wait for it; it is cancelled at the deadline."""
        if threading.current_thread() is self._thread:
            work.close()
            raise VmError(f"{what}: waited for on the QMP loop itself; an event sink must not wait")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(deadline.left)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise deadline.error(what) from None


_shared: LoopThread | None = None
_lock = threading.Lock()


def shared_loop() -> LoopThread:
    """The loop thread, started at the first use."""
    global _shared
    with _lock:
        if _shared is None:
            _shared = LoopThread()
        return _shared
