"""A guest reached through its virtio-serial channel: qemu-guest-agent's protocol.

The channel is a byte pipe that survives the guest's agent, a migration and our own
time-outs, so what comes out of it may belong to an earlier request: every use begins with
``guest-sync-delimited`` where that is possible. Source: docs/interop/qemu-ga-ref and
qga/qapi-schema.json of QEMU.

Not here: how the channel's socket is found (``Machine.connect``). Neighbours: ``probe`` runs
its questions through ``GuestMachine``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import ReachError
from harness.reach.deadline import Deadline
from harness.reach.machine import Completed, must_succeed

_DELIMITER = b"\xff"
_FILE_CHUNK = 1 << 15
_SYNC_EVERY = 1.0
"""Seconds after which an unanswered sync is sent again: an agent that was not yet running
(the guest boots) may never see the bytes that were sent before."""


class GuestRefused(ReachError):
    """The guest's agent answered with an error."""


@dataclass(frozen=True, slots=True)
class GuestAgentInfo:
    """Version and the names of the commands that are enabled."""

    version: str
    commands: tuple[str, ...]


class GuestAgent:
    """A client of one guest's agent. Calls are one at a time: the protocol has no ids.

    ``attach`` gives it a socket (again after a migration: the channel is another QEMU's then).
    """

    def __init__(self, guest: str, connection: socket.socket | None = None) -> None:
        self.guest = guest
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._in_step = False
        self._used: socket.socket | None = None
        self._lock = threading.Lock()
        self._attach_lock = threading.Lock()
        if connection is not None:
            self.attach(connection)

    def attach(self, connection: socket.socket) -> None:
        """Use ``connection`` from now on; the one before is closed, and a call that waits on
        it ends with ReachError."""
        with self._attach_lock:
            former, self._socket = self._socket, connection
        if former is not None:
            _hang_up(former)

    def detach(self) -> None:
        """Close the channel; calls raise ReachError until the next ``attach``."""
        with self._attach_lock:
            former, self._socket = self._socket, None
        if former is not None:
            _hang_up(former)

    def wait_ready(self, deadline: Deadline) -> None:
        """Wait until the agent answers: the guest has booted so far."""
        with self._lock:
            self._in_step = False
            self._sync(self._take(), deadline)

    def info(self, deadline: Deadline) -> GuestAgentInfo:
        answer = self.call("guest-info", {}, deadline)
        enabled = (c["name"] for c in answer["supported_commands"] if c["enabled"])
        return GuestAgentInfo(str(answer["version"]), tuple(sorted(enabled)))

    def call(self, command: str, args: Mapping[str, Any], deadline: Deadline) -> Any:
        """The value that ``command`` returns. GuestRefused, ReachError or DeadlineExceeded."""
        with self._lock:
            connection = self._take()
            if not self._in_step:
                self._sync(connection, deadline)
            self._in_step = False  # until the whole answer is here
            self._send(connection, {"execute": command, "arguments": dict(args)})
            line = self._line(connection, b"\n", deadline, f"answer to {command}")
            answer = self._parsed(line, command)
            self._in_step = True
        if "error" in answer:
            error = answer["error"]
            raise GuestRefused(
                f"guest {self.guest}: its agent refused {command}: {error.get('desc', error)}"
            )
        return answer.get("return")

    # -- inside ----------------------------------------------------------------------------

    def _take(self) -> socket.socket:
        with self._attach_lock:
            connection = self._socket
        if connection is None:
            raise ReachError(f"guest {self.guest}: its channel is not connected")
        if connection is not self._used:
            self._buffer, self._in_step = b"", False
            self._used = connection
        return connection

    def _sync(self, connection: socket.socket, deadline: Deadline) -> None:
        """Make the agent drop half a request, and drop what is left of old answers."""
        said = "nothing"
        while True:
            number = secrets.randbelow(1 << 31)
            # The delimiter first: the agent's parser then forgets any half of a request.
            request = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
            self._send(connection, request, before=_DELIMITER)
            attempt = deadline.at_most(_SYNC_EVERY)
            while not attempt.expired:
                try:
                    line = self._line(connection, b"\n", attempt, "sync")
                except TimeoutError:
                    break
                text = line.rsplit(_DELIMITER, 1)[-1].strip()
                said = text[:200].decode(errors="replace") or said
                if self._is_sync_answer(text, number):
                    self._in_step = True
                    return
            if deadline.expired:
                raise deadline.error(
                    f"guest {self.guest}: answer of its agent (is qemu-guest-agent running "
                    "there, and its channel connected?)",
                    said,
                )

    @staticmethod
    def _is_sync_answer(text: bytes, number: int) -> bool:
        try:
            answer = json.loads(text)
        except ValueError:
            return False
        return isinstance(answer, dict) and answer.get("return") == number

    def _send(
        self, connection: socket.socket, message: Mapping[str, Any], *, before: bytes = b""
    ) -> None:
        try:
            connection.sendall(before + json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise self._lost(error) from error

    def _line(self, connection: socket.socket, end: bytes, deadline: Deadline, what: str) -> bytes:
        """Up to ``end``. TimeoutError inside a sync, DeadlineExceeded elsewhere."""
        while end not in self._buffer:
            try:
                connection.settimeout(max(deadline.left, 0.001))
                data = connection.recv(1 << 16)
            except TimeoutError:
                if what == "sync":
                    raise
                raise deadline.error(f"guest {self.guest}: {what}", "its agent is silent") from None
            except OSError as error:
                raise self._lost(error) from error
            if not data:
                raise self._lost(None)
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(end)
        return line

    def _parsed(self, line: bytes, command: str) -> dict[str, Any]:
        try:
            answer = json.loads(line.lstrip(_DELIMITER))
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ReachError(
                f"guest {self.guest}: its agent's answer to {command} is not JSON",
                evidence=(line[:200].decode(errors="replace"),),
            )
        return answer

    def _lost(self, error: OSError | None) -> ReachError:
        return ReachError(
            f"guest {self.guest}: its channel was closed" + (f" ({error})" if error else ""),
            hint="its QEMU ended, or the guest has moved to another host",
        )


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other end may be gone already
        # close() alone would not wake a thread that is in recv().
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class GuestMachine:
    """Commands and files in a guest, with the interface of a machine's ``run``."""

    def __init__(self, agent: GuestAgent) -> None:
        self.agent = agent
        self.name = agent.guest

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60.0,
        check: bool = True,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run to the end. CommandFailed when ``check`` and the status is not 0;
        DeadlineExceeded after ``timeout`` s (the command goes on in the guest then)."""
        deadline = Deadline(timeout)
        args: dict[str, Any] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        if input:
            args["input-data"] = base64.b64encode(input).decode()
        if env:
            args["env"] = [f"{key}={value}" for key, value in env.items()]
        pid = int(self.agent.call("guest-exec", args, deadline)["pid"])
        # qemu-ga sends no event at the end of a command; short ones are seen soon, long ones
        # are not asked after ten times more often than matters.
        pause, waiting = 0.01, threading.Event()
        while True:
            got = self.agent.call("guest-exec-status", {"pid": pid}, deadline)
            if got["exited"]:
                break
            if deadline.expired:
                raise deadline.error(
                    f"guest {self.name}: end of `{' '.join(argv)}`", f"pid {pid} still runs"
                )
            waiting.wait(min(pause, deadline.left))
            pause = min(pause * 1.5, 0.1)
        status = int(got["exitcode"]) if "exitcode" in got else -int(got.get("signal", 0))
        done = Completed(tuple(argv), status, _text(got, "out-data"), _text(got, "err-data"))
        return must_succeed(f"guest {self.name}", done) if check else done

    def read_bytes(self, path: str, *, timeout: float = 30.0) -> bytes:
        deadline = Deadline(timeout)
        handle = self.agent.call("guest-file-open", {"path": path, "mode": "r"}, deadline)
        data = b""
        try:
            while True:
                args = {"handle": handle, "count": _FILE_CHUNK}
                got = self.agent.call("guest-file-read", args, deadline)
                data += base64.b64decode(got["buf-b64"])
                if got["eof"]:
                    return data
        finally:
            self.agent.call("guest-file-close", {"handle": handle}, Deadline(10))

    def write_file(self, path: str, data: bytes, *, timeout: float = 30.0) -> None:
        deadline = Deadline(timeout)
        handle = self.agent.call("guest-file-open", {"path": path, "mode": "w"}, deadline)
        try:
            while data:
                text = base64.b64encode(data[:_FILE_CHUNK]).decode()
                args = {"handle": handle, "buf-b64": text}
                got = self.agent.call("guest-file-write", args, deadline)
                data = data[int(got["count"]) :]
        finally:
            self.agent.call("guest-file-close", {"handle": handle}, Deadline(10))


def _text(answer: Mapping[str, Any], key: str) -> str:
    return base64.b64decode(answer.get(key, "")).decode(errors="replace")
