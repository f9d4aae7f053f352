"""The harness's end of an agent's JSON lines: calls, events, streams.

Knows lines, not machines: ``machine`` gives the operations their types. A lost connection
ends every waiting call and every stream with a ReachError that names the machine.
"""

from __future__ import annotations

import base64
import itertools
import json
import queue
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from harness.errors import ReachError
from harness.reach.deadline import Deadline

EventSink = Callable[[Mapping[str, Any]], None]
_CHUNK = 1 << 16


class AgentRefused(ReachError):
    """The agent could not do what was asked. ``kind``: missing, os, netlink, failed, bug."""

    def __init__(self, message: str, *, kind: str, number: int) -> None:
        super().__init__(message)
        self.kind = kind
        self.number = number


@dataclass(slots=True)
class _Waiting:
    done: threading.Event
    reply: Mapping[str, Any] | None = None
    received_ns: int = 0


class Wire:
    """One connection to one agent. ``stderr_tail`` gives the lines for an error's evidence."""

    def __init__(
        self,
        machine: str,
        reader: IO[bytes],
        writer: IO[bytes],
        stderr_tail: Callable[[], tuple[str, ...]],
    ) -> None:
        self._machine = machine
        self._reader, self._writer = reader, writer
        self._stderr_tail = stderr_tail
        self._write_lock = threading.Lock()
        self._state_lock = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._sinks: dict[int, EventSink] = {}
        self._numbers = itertools.count(1)
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"wire {machine}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        return self._lost.is_set()

    def handle(self, sink: EventSink) -> int:
        """A number for a process, stream or watch; ``sink`` gets its events, in their order,
        and ``{"event": "lost"}`` when the connection ends. It runs on the reading thread: it
        must be quick and must not call the agent."""
        number = next(self._numbers)
        with self._state_lock:
            self._sinks[number] = sink
        return number

    def release(self, handle: int) -> None:
        with self._state_lock:
            self._sinks.pop(handle, None)

    def call(self, op: str, args: Mapping[str, Any], deadline: Deadline) -> Any:
        """The result of an operation; AgentRefused, ReachError or DeadlineExceeded."""
        return self.timed_call(op, args, deadline)[0]

    def timed_call(
        self, op: str, args: Mapping[str, Any], deadline: Deadline
    ) -> tuple[Any, int, int]:
        """The result, and CLOCK_MONOTONIC (ns) just before sending and just after receiving."""
        number = next(self._numbers)
        waiting = _Waiting(threading.Event())
        with self._state_lock:
            self._waiting[number] = waiting
        try:
            if self.lost:
                raise self._gone(op)
            given = {key: value for key, value in args.items() if value is not None}
            sent_ns = time.monotonic_ns()
            self._send({"id": number, "op": op, "args": given}, op)
            if not waiting.done.wait(deadline.left):
                raise deadline.error(f"{self._machine}: {op}", "the agent has not answered")
        finally:
            with self._state_lock:
                self._waiting.pop(number, None)
        if waiting.reply is None:
            raise self._gone(op)
        error = waiting.reply.get("error")
        if error:
            raise AgentRefused(
                f"{self._machine}: {error['message']}",
                kind=error["kind"],
                number=error.get("errno", 0),
            )
        return waiting.reply["ok"], sent_ns, waiting.received_ns

    def post(self, op: str, args: Mapping[str, Any]) -> None:
        """Send without waiting for an answer (stream data)."""
        self._send({"op": op, "args": args}, op)

    def close(self) -> None:
        """Give the agent its end of input; it undoes what is left and exits."""
        with self._write_lock:
            try:
                self._writer.close()
            except OSError:
                return  # it was gone before

    def join(self, deadline: Deadline) -> bool:
        """Wait for the agent's end of output; False when it did not come in time."""
        self._thread.join(deadline.left)
        return not self._thread.is_alive()

    def stream(self, address: str | tuple[str, int], deadline: Deadline) -> socket.socket:
        """A socket whose bytes go to ``address`` as seen from the agent's machine.

        Both directions are queued without bound between here and there: meant for control
        channels (QMP, guest agent), not for bulk data.
        """
        near, far = socket.socketpair()
        pump = _Pump(self, far)
        try:
            args = {"handle": pump.handle, "address": address, "timeout": deadline.left}
            self.call("connect", args, deadline)
        except BaseException:
            pump.abandon()
            near.close()
            raise
        pump.start()
        return near

    def _send(self, message: Mapping[str, Any], op: str) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._write_lock:
            try:
                self._writer.write(line)
                self._writer.flush()
            except (OSError, ValueError) as error:
                raise self._gone(op) from error

    def _read(self) -> None:
        try:
            for line in self._reader:
                received = time.monotonic_ns()
                self._dispatch(json.loads(line), received)
        except (OSError, ValueError, KeyError):
            # A cut connection, or a line cut off by it: both mean the same to the waiters.
            pass
        finally:
            self._lost.set()
            with self._state_lock:
                waiting, sinks = list(self._waiting.values()), list(self._sinks.values())
            for one in waiting:
                one.done.set()
            for sink in sinks:
                sink({"event": "lost"})

    def _dispatch(self, message: Mapping[str, Any], received_ns: int) -> None:
        if "event" in message:
            with self._state_lock:
                sink = self._sinks.get(message["handle"])
            if sink:
                sink(message)
            return
        with self._state_lock:
            waiting = self._waiting.get(message["id"])
        if waiting:
            waiting.reply, waiting.received_ns = message, received_ns
            waiting.done.set()

    def _gone(self, op: str) -> ReachError:
        self._thread.join(0.5)  # the last lines on stderr come with the end of stdout
        return ReachError(
            f"{self._machine}: the connection to its agent was lost (during {op})",
            hint="the machine went down, or its agent was killed",
            evidence=self._stderr_tail(),
        )


class _Pump:
    """Moves the bytes of one stream between a socketpair and the wire."""

    def __init__(self, wire: Wire, far: socket.socket) -> None:
        self._wire, self._far = wire, far
        self._inbox: queue.Queue[bytes | None] = queue.Queue()
        self.handle = wire.handle(self._on_event)

    def start(self) -> None:
        for work in (self._to_agent, self._from_agent):
            threading.Thread(target=work, name=f"stream {self.handle}", daemon=True).start()

    def abandon(self) -> None:
        self._wire.release(self.handle)
        self._far.close()

    def _on_event(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "data":
            self._inbox.put(base64.b64decode(event["data"]))
        else:  # eof or lost
            self._inbox.put(None)

    def _from_agent(self) -> None:
        while (data := self._inbox.get()) is not None:
            try:
                self._far.sendall(data)
            except OSError:
                return  # the user closed its end; the other thread tells the agent
        try:
            self._far.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def _to_agent(self) -> None:
        try:
            while data := self._far.recv(_CHUNK):
                text = base64.b64encode(data).decode()
                self._wire.post("stream_data", {"handle": self.handle, "data": text})
            self._wire.post("stream_end", {"handle": self.handle})
            # The user closed, or only shut down its writing side: POLLHUP tells when the other
            # direction has ended too.
            hangup = select.poll()
            hangup.register(self._far, 0)
            hangup.poll()
            self._wire.post("stream_close", {"handle": self.handle})
        except (OSError, ReachError):
            pass  # reset by the user, or the connection is lost: there is nobody to tell
        finally:
            self._wire.release(self.handle)
            self._inbox.put(None)
            self._far.close()
