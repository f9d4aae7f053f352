"""How a lab that is up is seen and used from another process: a socket with no file.

Each lab listens on an abstract Unix socket named after it. The kernel removes such a socket
with the process that made it, so a lab that died is not listed and leaves nothing behind;
the name also keeps two labs from being called the same. Only the same user and root may
talk to it.

One JSON object a line: a request ``{"verb": ..., "args": {...}}``, then any number of
``{"say": text}`` and one ``{"done": {...}}`` or ``{"error": {...}}``. After ``{"stream":
true}`` the rest of the connection is raw bytes both ways (a console).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.errors import HarnessError, InputError, LabError, ReachError

_PREFIX = "failover-harness/"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")

Say = Callable[[str], None]
Answer = Mapping[str, object]
Handler = Callable[[str, Mapping[str, object], Say], "Answer | socket.socket"]
"""(verb, arguments, say) -> the answer, or a socket to be joined to the caller's."""


def check_name(name: str) -> str:
    """``name``, where a lab may be called so; InputError otherwise."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"lab name {name!r}: letters, digits, '.', '_' and '-' only, at most 61 of them"
        )
    return name


def lab_name(*parts: str) -> str:
    """A name for a lab, made of file names and the like; the last parts survive a cut."""
    words = [re.sub("[^A-Za-z0-9._-]+", "-", part).strip("-._") for part in parts]
    tail = "".join(f"-{word}" for word in words[1:] if word)[-50:]
    return check_name((words[0] or "lab")[: 61 - len(tail)] + tail)


def _address(name: str) -> str:
    return "\0" + _PREFIX + check_name(name)


def running_labs() -> list[str]:
    """Names of the labs that are up on this machine, this user's and others'."""
    names = []
    for line in Path("/proc/net/unix").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        # The flags column of a listening socket has __SO_ACCEPTCON (0x10000).
        if len(fields) == 8 and fields[7].startswith("@" + _PREFIX) and fields[3] == "00010000":
            names.append(fields[7][len(_PREFIX) + 1 :])
    return sorted(names)


class ControlServer:
    """Answers requests about one lab until closed; each connection in a thread of its own."""

    def __init__(self, name: str, handler: Handler) -> None:
        self.name = name
        self._handler = handler
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(_address(name))
        except OSError as error:
            self._socket.close()
            raise InputError(
                f"a lab called {name!r} is already up",
                hint=f"harness down --lab {name}, or choose another --name",
            ) from error
        self._socket.listen(16)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; connections that are open finish their request."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        # A thread inside accept() keeps the socket, and with it the name, alive.
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            credentials = connection.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
            )
            _, uid, _ = struct.unpack("3i", credentials)
            if uid not in (0, os.getuid()):
                _send(connection, {"error": {"message": "this lab is another user's"}})
                return
            line = _read_line(connection)
            if not line:
                return
            request = json.loads(line)
            try:
                answer = self._handler(
                    str(request["verb"]),
                    request.get("args", {}),
                    lambda text: _send(connection, {"say": text}),
                )
            except HarnessError as error:
                _send(connection, {"error": {"message": str(error), "exit_code": error.exit_code}})
                return
            if isinstance(answer, socket.socket):
                _send(connection, {"stream": True})
                with answer:
                    join(connection, answer)
            else:
                _send(connection, {"done": dict(answer)})


class ControlClient:
    """One request to a lab that is up."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(_address(name))
        except OSError as error:
            self._socket.close()
            up = running_labs()
            raise InputError(
                f"no lab called {name!r} is up",
                hint=f"labs that are up: {', '.join(up)}" if up else "no lab is up at all",
            ) from error

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()

    def ask(self, verb: str, say: Say, **args: object) -> dict[str, object]:
        """The answer to ``verb``; what the lab says meanwhile goes to ``say``."""
        message = self._request(verb, say, args)
        done = message.get("done")
        if not isinstance(done, dict):
            raise LabError(f"lab {self._name}: unexpected answer to {verb!r}: {message}")
        return done

    def stream(self, verb: str, say: Say, **args: object) -> socket.socket:
        """A raw connection (a console); close the client to end it."""
        message = self._request(verb, say, args)
        if not message.get("stream"):
            raise LabError(f"lab {self._name}: unexpected answer to {verb!r}: {message}")
        return self._socket

    def _request(self, verb: str, say: Say, args: Mapping[str, object]) -> dict[str, object]:
        _send(self._socket, {"verb": verb, "args": dict(args)})
        while True:
            line = _read_line(self._socket)
            if not line:
                raise ReachError(f"lab {self._name}: it ended while it was doing {verb!r}")
            message: dict[str, object] = json.loads(line)
            if "say" in message:
                say(str(message["say"]))
            elif isinstance(error := message.get("error"), dict):
                failure = LabError(str(error.get("message")))
                failure.exit_code = int(error.get("exit_code", failure.exit_code))
                raise failure
            else:
                return message


def _read_line(connection: socket.socket) -> bytes:
    """One line, and not a byte more: what follows may be a console's."""
    # Unbuffered, readline() takes single bytes from the socket; lines are short and few.
    with connection.makefile("rb", buffering=0) as reader:
        line = reader.readline()
    return line or b""


def _send(connection: socket.socket, message: Mapping[str, object]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def join(left: socket.socket, right: socket.socket) -> None:
    """Copy bytes both ways until either side ends."""
    peer = {left: right, right: left}
    while True:
        readable, _, _ = select.select([left, right], [], [])
        for source in readable:
            try:
                data = source.recv(65536)
                if not data:
                    return
                peer[source].sendall(data)
            except OSError:
                return
