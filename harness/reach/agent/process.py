"""Processes, files and byte streams on the agent's machine.

Runs on the machine, under Python 3.9 and newer; see ``core`` for the protocol.
"""

from __future__ import annotations

import base64
import contextlib
import os
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from typing import Any

from harness.reach.agent.core import Agent, Args, Failure

_CHUNK = 1 << 16
_spawned: dict[int, subprocess.Popen[bytes]] = {}
_streams: dict[int, Stream] = {}
_reaping = threading.Lock()


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def _find(program: str) -> None:
    if shutil.which(program) is None:
        raise Failure(f"{program}: no such program on this machine", "missing")


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the process and all it started (each has a session of its own)."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def run(
    agent: Agent,
    argv: list[str],
    timeout: float,
    input: str = "",
    env: dict[str, str] | None = None,
    cwd: str | None = None,
) -> Args:
    """Run to the end. ``rc`` is None when the time-out killed it."""
    _find(argv[0])
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **env} if env else None,
        cwd=cwd,
        start_new_session=True,
    )
    key = f"command {process.pid} {argv[0]}"
    agent.on_undo(key, lambda: _kill_group(process))
    try:
        stdout, stderr = process.communicate(base64.b64decode(input), timeout)
        status: int | None = process.returncode
    except subprocess.TimeoutExpired:
        _kill_group(process)
        try:
            stdout, stderr = process.communicate(timeout=2)
        except subprocess.TimeoutExpired as error:
            # A grandchild in a session of its own holds the pipes; leave it to its owner.
            stdout, stderr = error.stdout or b"", error.stderr or b""
        status = None
    finally:
        agent.forget(key)
    return {
        "rc": status,
        "stdout": base64.b64encode(stdout).decode(),
        "stderr": base64.b64encode(stderr).decode(),
    }


def spawn(
    agent: Agent,
    handle: int,
    argv: list[str],
    log: str,
    env: dict[str, str] | None = None,
    cwd: str | None = None,
) -> Args:
    """Start a process whose output goes to ``log``; an ``exit`` event tells its end.

    setpriv sets the parent-death signal: the process cannot outlive this agent, however the
    agent ends. (A preexec function would run Python in a fork of a threaded process.)
    """
    _find("setpriv")
    _find(argv[0])

    def start() -> subprocess.Popen[bytes]:
        with open(log, "ab") as output:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "SIGKILL", "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env} if env else None,
                cwd=cwd,
                start_new_session=True,
            )

    process = agent.on_main(start)
    _spawned[handle] = process
    key = f"process {process.pid} {argv[0]}"

    def end() -> None:
        _kill_group(process)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            raise Failure("does not end after SIGKILL") from None

    def wait() -> None:
        # Only this thread reaps (poll() would too): until then the numbers of the process
        # and its group can name no one else.
        with contextlib.suppress(ChildProcessError):  # reaped by its undo, which killed all
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            _kill_group(process)  # what it started and left behind
        at = _now()
        with _reaping:
            status = process.wait()
        agent.forget(key)
        agent.event("exit", handle=handle, status=status, monotonic_ns=at)

    agent.on_undo(key, end)
    threading.Thread(target=wait, daemon=True, name=key).start()
    return {"pid": process.pid, "monotonic_ns": _now()}


def kill(agent: Agent, handle: int, number: int) -> None:
    process = _spawned.get(handle)
    if process is None:
        raise Failure(f"process {handle}: never started here")
    with _reaping:
        if process.returncode is None:
            os.kill(process.pid, number)


def read_file(agent: Agent, path: str, limit: int = 1 << 24, tail: bool = False) -> str:
    """The first (or last, ``tail``) ``limit`` octets of a file, base64."""
    with open(path, "rb") as file:
        if tail:
            file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
        return base64.b64encode(file.read(limit)).decode()


def write_file(
    agent: Agent, path: str, data: str, mode: int | None = None, append: bool = False
) -> None:
    with open(path, "ab" if append else "wb") as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.write(base64.b64decode(data))


def stat(agent: Agent, path: str) -> Args | None:
    """None when there is nothing."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return {"size": status.st_size, "mode": status.st_mode, "mtime_ns": status.st_mtime_ns}


def listdir(agent: Agent, path: str) -> list[str]:
    return sorted(os.listdir(path))


def readlink(agent: Agent, path: str) -> str:
    return os.readlink(path)


def remove(agent: Agent, path: str) -> None:
    """Remove a file; one that is not there is no error."""
    try:
        os.remove(path)
    except FileNotFoundError:
        return


def make_scratch(agent: Agent, base: str | None = None) -> str:
    """The session's scratch directory, removed with all in it at the end."""
    if agent.scratch is None:
        path = tempfile.mkdtemp(prefix="lab-", dir=base)
        agent.scratch = path
        agent.on_undo("directory " + path, lambda: shutil.rmtree(path))
    return agent.scratch


def make_directory(agent: Agent, path: str) -> None:
    """A directory and its parents; undone only as part of the scratch directory."""
    os.makedirs(path, exist_ok=True)


def load_module(agent: Agent, name: str) -> None:
    """Load a kernel module; one that is built in, or loaded, is no error."""
    _find("modprobe")
    done = subprocess.run(
        ["modprobe", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
    )
    if done.returncode:
        text = done.stdout.decode(errors="replace").strip()
        raise Failure(f"modprobe {name}: {text}")


class Stream:
    """A connected socket whose bytes travel as events; one thread reads, one writes."""

    def __init__(self, agent: Agent, handle: int, connection: socket.socket) -> None:
        self.agent, self.handle, self.connection = agent, handle, connection
        self.outbox: queue.Queue[bytes | None] = queue.Queue()
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True, name=f"stream {handle}").start()

    def _read(self) -> None:
        problem = ""
        try:
            while True:
                data = self.connection.recv(_CHUNK)
                if not data:
                    break
                text = base64.b64encode(data).decode()
                self.agent.event("data", handle=self.handle, data=text)
        except OSError as error:
            problem = str(error)
        self.agent.event("eof", handle=self.handle, problem=problem)

    def _write(self) -> None:
        while True:
            data = self.outbox.get()
            try:
                if data is None:
                    self.connection.shutdown(socket.SHUT_WR)
                    return
                self.connection.sendall(data)
            except OSError:
                return  # the reading side sees the same and reports it

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()


def connect(agent: Agent, handle: int, address: Any, timeout: float) -> None:
    """Open a stream to a unix socket (a path) or to TCP (``[host, port]``)."""
    try:
        if isinstance(address, str):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(timeout)
            connection.connect(address)
        else:
            connection = socket.create_connection((address[0], address[1]), timeout)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise Failure(f"{address}: cannot connect: {error}", "os", error.errno or 0) from error
    connection.settimeout(None)
    _streams[handle] = Stream(agent, handle, connection)


def stream_data(agent: Agent, args: Args) -> None:
    stream = _streams.get(args["handle"])
    if stream:
        stream.outbox.put(base64.b64decode(args["data"]))


def stream_end(agent: Agent, args: Args) -> None:
    stream = _streams.get(args["handle"])
    if stream:
        stream.outbox.put(None)


def stream_close(agent: Agent, args: Args) -> None:
    stream = _streams.pop(args["handle"], None)
    if stream:
        stream.close()


OPS = {
    action.__name__: action
    for action in (
        run, spawn, kill, read_file, write_file, stat, listdir, readlink, remove,
        make_scratch, make_directory, load_module, connect,
    )
}  # fmt: skip
STREAM_OPS = {action.__name__: action for action in (stream_data, stream_end, stream_close)}
