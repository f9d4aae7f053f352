"""The agent's frame: requests in, replies and events out, and the stack of undos.

One JSON object a line. In: ``{"id": 1, "op": "link_set", "args": {...}}``. Out: ``{"id": 1,
"ok": ...}`` or ``{"id": 1, "error": {"kind": ..., "message": ...}}``, and events
``{"event": "exit", ...}``. Requests run in threads of their own, so a slow one delays no
other; ``ping`` and stream data are handled at once, in order.

Runs on the machine, under Python 3.9 and newer; imports nothing of the harness.
"""

from __future__ import annotations

import json
import queue
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

Args = dict[str, Any]


class Failure(Exception):
    """An operation that did not work; the message says where and what."""

    def __init__(self, message: str, kind: str = "failed", number: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.number = number


class Agent:
    """State of the one agent process.

    ``ops`` are the operations by name; each takes the agent and its arguments. ``stream_ops``
    are those on stream data, which have no answer.
    """

    def __init__(
        self,
        output: Any,
        ops: Mapping[str, Callable[..., Any]],
        stream_ops: Mapping[str, Callable[[Agent, Args], None]],
    ) -> None:
        self._output = output
        self._ops = ops
        self._stream_ops = stream_ops
        self._output_lock = threading.Lock()
        self._undo_lock = threading.RLock()
        self._undos: dict[str, Callable[[], None]] = {}
        self._closing = False
        self._main: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._teardown_id: int | None = None
        self.lease_s = 0.0
        self.last_heard = time.monotonic()
        self.scratch: str | None = None

    # -- out ---------------------------------------------------------------------------

    def send(self, message: Args) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._output_lock:
            try:
                self._output.write(line)
                self._output.flush()
            except (OSError, ValueError):
                # Nobody listens any more: the end of stdin follows and undoes everything.
                return

    def event(self, name: str, **data: Any) -> None:
        self.send({"event": name, **data})

    # -- undo --------------------------------------------------------------------------

    def on_undo(self, key: str, action: Callable[[], None]) -> None:
        """Register the undo of something just made. A key already there keeps its first undo
        (what was there before the first change is what has to come back)."""
        with self._undo_lock:
            if not self._closing:
                self._undos.setdefault(key, action)
                return
        action()  # made while everything is being undone: undo it now
        raise Failure(f"{key}: the agent is shutting down")

    def undo(self, key: str) -> bool:
        """Undo one thing now; False when it was not made here."""
        with self._undo_lock:
            action = self._undos.pop(key, None)
        if action is None:
            return False
        try:
            action()
        except BaseException:
            with self._undo_lock:
                self._undos.setdefault(key, action)  # still to be undone at the end
            raise
        return True

    @property
    def closing(self) -> bool:
        """Whether everything is being undone."""
        return self._closing

    def owns(self, key: str) -> bool:
        """Whether ``key`` was made here and will be undone."""
        with self._undo_lock:
            return key in self._undos

    def forget(self, key: str) -> None:
        """What ``key`` names has gone by itself."""
        with self._undo_lock:
            self._undos.pop(key, None)

    def undo_all(self) -> list[str]:
        """Undo everything, newest first, and return what could not be undone."""
        left: list[str] = []
        with self._undo_lock:
            self._closing = True
        while True:
            with self._undo_lock:
                if not self._undos:
                    return left
                key, action = self._undos.popitem()
            try:
                action()
            except Exception as error:  # noqa: BLE001 - one failed undo must not stop the rest
                left.append(f"{key}: {error}")

    # -- the main thread ---------------------------------------------------------------

    def on_main(self, work: Callable[[], Any]) -> Any:
        """Do ``work`` on the main thread. The death signal of a child is bound to the thread
        that forked it, so only the thread that lives longest may fork."""
        done: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()

        def task() -> None:
            try:
                done.put((work(), None))
            except Exception as error:  # noqa: BLE001 - handed to the thread that asked
                done.put((None, error))

        self._main.put(task)
        result, error = done.get()
        if error is not None:
            raise error
        return result

    def stop(self, request: int | None = None) -> None:
        if request is not None:
            self._teardown_id = request
        self._main.put(None)

    def run(self) -> list[str]:
        """Serve until told to stop; returns what could not be undone."""
        while True:
            task = self._main.get()
            if task is None:
                break
            task()
        left = self.undo_all()
        if self._teardown_id is not None:
            self.send({"id": self._teardown_id, "ok": {"left": left}})
        return left

    # -- in ----------------------------------------------------------------------------

    def read(self, stream: Any) -> None:
        """Read requests until the end of the input, then stop."""
        for line in stream:
            self.last_heard = time.monotonic()
            message = json.loads(line)
            op, request, args = message["op"], message.get("id"), message.get("args", {})
            if op == "ping":
                self.send({"id": request, "ok": clocks()})
            elif op in self._stream_ops:
                self._stream_ops[op](self, args)
            elif op == "teardown":
                self.stop(request)
            else:
                threading.Thread(
                    target=self._serve, args=(op, request, args), daemon=True, name=op
                ).start()
        self.stop()

    def _serve(self, op: str, request: int, args: Args) -> None:
        try:
            result = self.perform(op, args)
        except Failure as error:
            failure = {"kind": error.kind, "message": str(error), "errno": error.number}
            self.send({"id": request, "error": failure})
        except Exception:  # noqa: BLE001 - reported to the harness with its traceback
            text = traceback.format_exc()
            failure = {"kind": "bug", "message": f"{op}: the agent failed: {text}"}
            self.send({"id": request, "error": failure})
        else:
            self.send({"id": request, "ok": result})

    def perform(self, op: str, args: Args) -> Any:
        """One operation by name. Raises Failure."""
        action = self._ops.get(op)
        if action is None:
            raise Failure(f"{op}: no such operation")
        try:
            return action(self, **args)
        except OSError as error:
            where = error.filename or op
            raise Failure(f"{where}: {error.strerror or error}", "os", error.errno or 0) from error

    def watch_lease(self) -> None:
        """Stop when nothing was heard for the length of the lease: the harness is gone but the
        connection does not know it yet (a machine that lost power sends no end-of-file)."""
        pause = threading.Event()
        while not pause.wait(1.0):
            if self.lease_s and time.monotonic() - self.last_heard > self.lease_s:
                self.stop()
                return


def clocks() -> Args:
    return {
        "monotonic_ns": time.clock_gettime_ns(time.CLOCK_MONOTONIC),
        "realtime_ns": time.clock_gettime_ns(time.CLOCK_REALTIME),
    }
