"""A machine at the other end of ssh (paramiko): a real host, or a host VM the lab booted.

The agent is fed to ``python3`` on the machine, so nothing has to be installed there but
Python 3.9; pyroute2 is sent along where it is missing. Keys are the only way in: no
password, no ssh agent, no user configuration has a say, so a run does not depend on who
runs it. Neighbours: ``machine`` gives the operations.
"""

from __future__ import annotations

import io
import shlex
import socket
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Any, cast

import paramiko
from paramiko.pkey import UnknownKeyType

from harness.errors import InputError, MissingDependency, ReachError
from harness.reach.agent import BOOTSTRAP, source_line
from harness.reach.deadline import Deadline
from harness.reach.machine import Machine
from harness.reach.wire import Wire

_KEEPALIVE_S = 5
_LEASE_S = 120.0
"""An agent that hears nothing for so long undoes what it made: its harness is gone."""
_STDERR_LINES = 20
_ATTEMPT_S = 5.0


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where a machine is and how to get in.

    ``known_hosts``: a file with its host key, which must then match; without one any key is
    accepted (a VM that the lab has just booted has a key that nobody can know).
    ``dial`` opens the TCP connection in another way, e.g. from within a namespace; it gets
    the seconds it may take and raises OSError.
    """

    host: str
    key: Path
    user: str = "root"
    port: int = 22
    known_hosts: Path | None = None
    dial: Callable[[float], socket.socket] | None = None

    @property
    def title(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"


class SshMachine(Machine):
    """A machine reached by ssh. ``become_root`` starts the agent by ``sudo -n``.

    The constructor keeps trying until ``deadline`` while nobody answers (a VM that boots),
    and gives up at once when the key is refused.
    """

    def __init__(
        self,
        name: str,
        target: SshTarget,
        deadline: Deadline,
        *,
        become_root: bool = False,
    ) -> None:
        self.target = target
        self._client = _connect(name, target, deadline)
        self._sftp: paramiko.SFTPClient | None = None
        self._sftp_lock = threading.Lock()
        self._stderr: list[str] = []
        try:
            wire = self._start_agent(name, become_root, deadline)
            super().__init__(name, wire)
            if not self.greet(lease_s=_LEASE_S).netlink:
                self._send_pyroute2()
            self.clock.start()
        except BaseException:
            self._client.close()
            raise

    def put(self, source: Path, target: str) -> None:
        with self._sftp_lock:
            try:
                self._files().put(str(source), target)
                self._files().chmod(target, source.stat().st_mode & 0o777)
            except (OSError, paramiko.SSHException, EOFError) as error:
                message = f"{self.name}: cannot copy {source} to {target}: {error}"
                raise ReachError(message) from error

    def get(self, source: str, target: Path) -> None:
        with self._sftp_lock:
            try:
                self._files().get(source, str(target))
            except (OSError, paramiko.SSHException, EOFError) as error:
                message = f"{self.name}: cannot copy {source} to {target}: {error}"
                raise ReachError(message) from error

    def _files(self) -> paramiko.SFTPClient:
        if self._sftp is None:
            self._sftp = self._client.open_sftp()
        return self._sftp

    def _start_agent(self, name: str, become_root: bool, deadline: Deadline) -> Wire:
        transport = self._client.get_transport()
        if transport is None:
            raise ReachError(f"{name}: the ssh connection to {self.target.title} was lost")
        try:
            channel = transport.open_session(timeout=deadline.left)
            sudo = "sudo -n " if become_root else ""
            # exec: no shell stays between sshd and the agent.
            channel.exec_command(f"exec {sudo}python3 -I -c {shlex.quote(BOOTSTRAP)}")
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
        self._channel.sendall(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._channel.shutdown_write()
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


def _connect(name: str, target: SshTarget, deadline: Deadline) -> paramiko.SSHClient:
    """An authenticated connection; tries again while nobody answers."""
    key = _key(name, target.key)
    pause = threading.Event()
    wait, last = 0.05, "not tried"
    while True:
        attempt = deadline.at_most(_ATTEMPT_S)
        try:
            return _attempt(name, target, key, attempt)
        except (OSError, EOFError, paramiko.SSHException) as error:
            last = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
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
            f"{name}: {target.title} shows another host key than {target.known_hosts}",
            hint="if the machine was installed anew, replace its line there",
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
