"""A machine at the other end of ssh (paramiko): a real host, or a host VM the lab booted.

The agent is fed to ``python3`` on the machine, so nothing has to be installed there but
Python 3.9; pyroute2 is sent along where it is missing. Files go through commands, not
through SFTP: the agent may be root where the user who logged in is not. Keys are the only
way in: no password, no ssh agent, no user configuration has a say, so a run does not depend
on who runs it. Neighbours: ``machine`` gives the operations.
"""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import shlex
import shutil
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Any, cast

import paramiko
from paramiko.pkey import UnknownKeyType

from harness.errors import InputError, MissingDependency, ReachError
from harness.reach.agent import BOOTSTRAP, source_line
from harness.reach.deadline import Deadline
from harness.reach.machine import Completed, Machine, must_succeed
from harness.reach.wire import Wire

_KEEPALIVE_S = 5
_LEASE_S = 120.0
"""An agent that hears nothing for so long undoes what it made: its harness is gone."""
_STDERR_LINES = 20
_ATTEMPT_S = 5.0
_COPY_S = 600.0
_STALLED_S = 60.0
"""A copy that moves no octet for so long has ended."""
_CHUNK = 1 << 18
_WRITE = 'cat > "$1" && chmod "$2" "$1"'

# Without a handler of anyone's, Python prints paramiko's errors to stderr: a connection that
# ends is told there by a traceback, and once more by an error of ours that says which.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where a machine is and how to get in.

    ``known_hosts``: a file with its host key, or ``host_key``: that key itself (type and
    base64), which must then match; without either any key is accepted. ``dial`` opens the TCP
    connection in another way, e.g. from within a namespace; it gets the seconds it may take
    and raises OSError. ``agent_port``: a port of the machine's loopback where interpreters for
    agents wait (a host VM has them); without it one is started for each.
    """

    host: str
    key: Path
    user: str = "root"
    port: int = 22
    known_hosts: Path | None = None
    host_key: str = ""
    dial: Callable[[float], socket.socket] | None = None
    agent_port: int | None = None

    @property
    def title(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"


class SshMachine(Machine):
    """A machine reached by ssh. ``become_root`` starts the agent by ``sudo -n``.

    The constructor gives up at once when the key is refused. While nobody answers it keeps
    trying until ``deadline`` (a VM that boots), or gives up at once where ``booting`` is
    false: a machine that is up either answers or does not.
    """

    def __init__(
        self,
        name: str,
        target: SshTarget,
        deadline: Deadline,
        *,
        become_root: bool = False,
        booting: bool = True,
    ) -> None:
        self.target = target
        self._become = "sudo -n " if become_root else ""
        self._client = _connect(name, target, deadline, booting=booting)
        self._stderr: list[str] = []
        try:
            wire = self._start_agent(name, deadline)
            super().__init__(name, wire)
            if not self.greet(lease_s=_LEASE_S).netlink:
                self._send_pyroute2()
            self.clock.start()
        except BaseException:
            self._client.close()
            raise

    def put(self, source: Path, target: str) -> None:
        def copy(into: IO[bytes]) -> None:
            with source.open("rb") as file:
                shutil.copyfileobj(file, into, _CHUNK)

        try:
            mode = f"{source.stat().st_mode & 0o777:o}"
        except OSError as error:
            raise ReachError(f"{self.name}: cannot copy {source} there: {error}") from error
        self.pour(["sh", "-c", _WRITE, "sh", target, mode], copy)

    def get(self, source: str, target: Path) -> None:
        argv = ["cat", "--", source]
        with self._session(argv, _COPY_S) as channel, target.open("wb") as file:
            while data := channel.recv(_CHUNK):
                file.write(data)
            done = _completed(self.name, argv, channel, Deadline(_STALLED_S))
        must_succeed(self.name, done)

    def pour(
        self, argv: Sequence[str], write: Callable[[IO[bytes]], None], *, within: float = _COPY_S
    ) -> Completed:
        """Run a command whose standard input is what ``write`` writes; for bulk data.

        CommandFailed when its status is not 0, ReachError when the connection was lost.
        """
        deadline = Deadline(within)
        with self._session(argv, within) as channel:
            try:
                with io.BufferedWriter(_ChannelWriter(channel), _CHUNK) as buffered:
                    write(cast(IO[bytes], buffered))
            except OSError as error:
                # A command that ended before its input did; its status says why.
                if not channel.status_event.wait(_ATTEMPT_S):
                    raise ReachError(f"{self.name}: {argv[0]}: {error}") from error
            done = _completed(self.name, argv, channel, deadline)
        return must_succeed(self.name, done)

    @contextlib.contextmanager
    def _session(self, argv: Sequence[str], within: float) -> Iterator[paramiko.Channel]:
        """A command's channel; what paramiko raises in the block becomes ReachError."""
        try:
            channel = self._execute(self.name, argv, Deadline(min(within, _STALLED_S)))
            with contextlib.closing(channel):
                channel.settimeout(_STALLED_S)
                yield channel
        except (OSError, paramiko.SSHException, EOFError) as error:
            what = str(error) or type(error).__name__
            raise ReachError(f"{self.name}: `{shlex.join(argv)[:80]}`: {what}") from error

    def _execute(self, name: str, argv: Sequence[str], deadline: Deadline) -> paramiko.Channel:
        """Start a command, as root where the agent is. Raises what paramiko does."""
        channel = self._transport(name).open_session(timeout=max(deadline.left, 0.1))
        # exec: no shell stays between sshd and the command.
        channel.exec_command(f"exec {self._become}{shlex.join(argv)}")
        return channel

    def _transport(self, name: str) -> paramiko.Transport:
        transport = self._client.get_transport()
        if transport is None:
            raise ReachError(f"{name}: the ssh connection to {self.target.title} was lost")
        return transport

    def _start_agent(self, name: str, deadline: Deadline) -> Wire:
        try:
            if self.target.agent_port is None:
                channel = self._execute(name, ["python3", "-I", "-c", BOOTSTRAP], deadline)
            else:
                channel = self._transport(name).open_channel(
                    "direct-tcpip",
                    ("127.0.0.1", self.target.agent_port),
                    ("127.0.0.1", 0),
                    timeout=max(deadline.left, 0.1),
                )
            channel.sendall(source_line())
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise ReachError(f"{name}: cannot start the agent: {error}") from error
        self._channel = channel
        threading.Thread(
            target=self._keep_stderr, args=(channel,), name=f"stderr {name}", daemon=True
        ).start()
        reader = cast(IO[bytes], io.BufferedReader(_ChannelReader(channel)))
        return Wire(name, reader, cast(IO[bytes], _ChannelWriter(channel)), self._stderr_tail)

    def _send_pyroute2(self) -> None:
        """Put this machine's pyroute2 (pure Python) on the agent's path, as a zip."""
        path = f"{self.scratch}/pyroute2.zip"
        self.write_file(path, _zipped("pyroute2"))
        if not self.greet(lease_s=_LEASE_S, path=path).netlink:
            raise MissingDependency(
                f"{self.name}: pyroute2 is missing, and the copy sent does not work with its "
                f"Python {self.terms.python}",
                hint="install the package python3-pyroute2 there",
            )

    def _disconnect(self, deadline: Deadline) -> None:
        self.wire.join(deadline)
        self._client.close()

    def _keep_stderr(self, channel: paramiko.Channel) -> None:
        try:
            for line in channel.makefile_stderr("r"):
                self._stderr.append(str(line).rstrip("\n"))
                del self._stderr[:-_STDERR_LINES]
        except (OSError, EOFError):
            return  # the connection ended

    def _stderr_tail(self) -> tuple[str, ...]:
        return tuple(self._stderr)


def _completed(
    name: str, argv: Sequence[str], channel: paramiko.Channel, deadline: Deadline
) -> Completed:
    """How the command of a channel ended, and what it said; its output has been read."""
    output, errors = bytearray(), bytearray()
    while data := channel.recv(_CHUNK):
        output += data
    while data := channel.recv_stderr(_CHUNK):
        errors += data
    if not channel.status_event.wait(max(deadline.left, 0.1)):
        raise deadline.error(f"{name}: end of {argv[0]}", "still running")
    status = channel.recv_exit_status()
    if status == -1:  # no status came: the connection has ended, or a signal the command
        raise ReachError(f"{name}: {argv[0]} was ended before it was done")
    return Completed(tuple(argv), status, output.decode(errors="replace"),
                     errors.decode(errors="replace"))  # fmt: skip


def _lost(error: Exception) -> ConnectionError:
    """What a file says where paramiko says that the connection has ended (no OSErrors)."""
    return ConnectionError(str(error) or "the ssh connection has ended")


class _ChannelReader(io.RawIOBase):
    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._channel.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _ChannelWriter(io.RawIOBase):
    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            self._channel.sendall(data)
        except (EOFError, paramiko.SSHException) as error:
            raise _lost(error) from error
        return len(data)

    def close(self) -> None:
        if not self.closed:
            try:
                self._channel.shutdown_write()
            except (EOFError, paramiko.SSHException) as error:
                raise _lost(error) from error
            finally:
                super().close()


def _zipped(package: str) -> bytes:
    """The Python files of an installed package, zipped."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        waiting = [(resources.files(package), package)]
        while waiting:
            folder, prefix = waiting.pop()
            for item in folder.iterdir():
                if item.is_dir():
                    waiting.append((item, f"{prefix}/{item.name}"))
                elif item.name.endswith(".py"):
                    archive.writestr(f"{prefix}/{item.name}", item.read_bytes())
    return buffer.getvalue()


def _key(name: str, path: Path) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path)
    except FileNotFoundError:
        raise InputError(f"{name}: the ssh key {path} does not exist") from None
    except paramiko.PasswordRequiredException:
        raise InputError(
            f"{name}: the ssh key {path} is encrypted", hint="make a key without a passphrase"
        ) from None
    except (OSError, ValueError, paramiko.SSHException, UnknownKeyType) as error:
        raise InputError(f"{name}: the ssh key {path} cannot be used: {error}") from error


def _connect(
    name: str, target: SshTarget, deadline: Deadline, *, booting: bool
) -> paramiko.SSHClient:
    """An authenticated connection; tries again while nobody answers, if it is ``booting``."""
    key = _key(name, target.key)
    pause = threading.Event()
    wait = 0.05
    while True:
        attempt = deadline.at_most(_ATTEMPT_S) if booting else deadline
        try:
            return _attempt(name, target, key, attempt)
        except (OSError, EOFError, paramiko.SSHException) as error:
            last = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if not booting:
                raise ReachError(
                    f"{name}: no ssh connection to {target.title}: {str(error) or last}",
                    hint="is the machine up, and its ssh server at that address and port?",
                ) from error
        deadline.raise_if_expired(f"{name}: ssh to {target.title}", last)
        # A port that is still closed gives no event; asking again is all there is.
        pause.wait(min(wait, deadline.left))
        wait = min(wait * 1.5, 0.5)


def _attempt(
    name: str, target: SshTarget, key: paramiko.PKey, deadline: Deadline
) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    if target.known_hosts:
        client.load_host_keys(str(target.known_hosts))
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
    elif target.host_key:
        where = target.host if target.port == 22 else f"[{target.host}]:{target.port}"
        kind, data = target.host_key.split()[:2]
        shown = paramiko.PKey.from_type_string(kind, base64.b64decode(data))
        client.get_host_keys().add(where, kind, shown)
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
    else:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    seconds = max(deadline.left, 0.1)
    connection = target.dial(seconds) if target.dial else None
    try:
        client.connect(
            target.host, target.port, target.user, pkey=key, sock=connection,
            timeout=seconds, banner_timeout=seconds, auth_timeout=max(seconds, 10),
            look_for_keys=False, allow_agent=False,
        )  # fmt: skip
    except paramiko.BadHostKeyException as error:
        client.close()
        raise ReachError(
            f"{name}: {target.title} shows another host key than "
            f"{target.known_hosts or 'the one that it was given'}",
            hint="if the machine was installed anew, replace its line there"
            if target.known_hosts
            else "another machine answers at that address",
            evidence=(str(error),),
        ) from error
    except paramiko.AuthenticationException as error:
        client.close()
        raise ReachError(
            f"{name}: {target.title} refuses the key {target.key}",
            hint=f"add the public key to ~{target.user}/.ssh/authorized_keys there",
            evidence=(str(error),),
        ) from error
    except BaseException as error:
        client.close()
        if connection:
            connection.close()
        if "not found in known_hosts" in str(error):
            raise ReachError(
                f"{name}: the host key of {target.title} is not in {target.known_hosts}",
                hint="add it, e.g. from ssh-keyscan, after checking it",
            ) from error
        raise
    transport = client.get_transport()
    if transport:
        transport.set_keepalive(_KEEPALIVE_S)
    return client
