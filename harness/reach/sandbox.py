"""The private corner of this machine that a lab lives in, gone when the harness is gone.

One PID, one mount and one network namespace around a keeper process that is the init of
the PID namespace. The keeper reads a pipe whose only other end the harness holds: when the
harness ends, even by ``kill -9``, the keeper reads end-of-file and exits, and the kernel
kills every process of the PID namespace. The namespaces have no names, so they, their
netdevs and their mounts go with the last process. Nothing has to be swept up afterwards.

Files that must not outlive the lab go to ``SCRATCH``, a tmpfs mounted in the sandbox only.

Not here: what is made inside (``machine``, ``agent``). Neighbours: ``local`` puts a
machine into a namespace, ``traffic`` opens its packet sockets in one.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.errors import CleanupError, LabError, MissingDependency, ReachError
from harness.reach.deadline import Deadline

SCRATCH = "/dev/shm"
"""Where a sandbox has a tmpfs of its own. A path that exists on every Linux machine and
that no image, key or run directory lies in, so hiding it inside hides nothing needed."""

_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_MOUNT_SYS = "mount -t sysfs sysfs /sys"
# An ignored SIGCHLD survives exec and makes the kernel reap the orphans that init inherits.
_KEEPER = (
    f"{_MOUNT_SYS} && mount -t tmpfs -o mode=0755 tmpfs {SCRATCH} && trap '' CHLD && "
    "echo ready && exec cat >/dev/null"
)
_HOLDER = f"{_MOUNT_SYS} && echo ready && exec sleep infinity"


@dataclass(frozen=True, slots=True)
class NetNamespace:
    """A network and mount namespace, held by one process of the sandbox.

    ``pid`` is that process seen from here, ``pid_inside`` seen from within the sandbox (what
    netlink calls of an agent need to move a netdev here).
    """

    name: str
    pid: int
    pid_inside: int

    def path(self, path: str) -> Path:
        """``path`` as a process in this namespace sees it, for file access from here."""
        return Path(f"/proc/{self.pid}/root") / path.lstrip("/")


class NamespacedProcess:
    """A process in a sandbox. Signals reach the process itself, not the nsenter around it."""

    def __init__(self, outer: subprocess.Popen[bytes], title: str) -> None:
        self.outer = outer
        self._title = title
        self._pid: int | None = None

    @property
    def stdin(self) -> IO[bytes] | None:
        return self.outer.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        return self.outer.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        return self.outer.stderr

    @property
    def pid(self) -> int:
        """The pid of the process itself in this machine's numbering; waits at most 5 s for it."""
        if self._pid is None:
            self._pid = _only_child(self.outer, Deadline(5), self._title)
        return self._pid

    def poll(self) -> int | None:
        return self.outer.poll()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended already."""
        if self.outer.poll() is not None:
            return
        try:
            os.kill(self.pid, number)
        except (ProcessLookupError, ReachError):
            return  # ended in between: there is nobody left to signal

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, deadline: Deadline) -> int:
        """The exit status (negative: the signal that ended it)."""
        try:
            return self.outer.wait(deadline.left)
        except subprocess.TimeoutExpired:
            raise deadline.error(f"end of {self._title}", "still running") from None


class Sandbox:
    """Everything that one lab runs on this machine. A context manager; ``start`` then ``close``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._outer: subprocess.Popen[bytes] | None = None
        self._root: NetNamespace | None = None
        self._spaces: dict[str, NetNamespace] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        # Held open, so that no other namespace can get the same inode number meanwhile.
        self._handles: list[int] = []
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def start(self) -> Sandbox:
        """Make the namespaces. MissingDependency when a tool lacks, LabError when refused."""
        for tool in ("unshare", "nsenter", "mount"):
            if shutil.which(tool) is None:
                raise MissingDependency(
                    f"sandbox {self.name}: `{tool}` is not installed",
                    hint="install the packages util-linux and mount",
                )
        argv = ["unshare", "--fork", "--pid", "--kill-child", "--mount-proc", "--mount"]
        argv += ["--net", "--propagation", "private", "--", "sh", "-c", _KEEPER]
        outer = _popen(argv)
        try:
            _await_ready(outer, f"sandbox {self.name}", Deadline(10))
            self._outer = outer
            self._root = self._space("lab", _only_child(outer, Deadline(5), "the keeper"))
        except BaseException:
            _abandon(outer)
            raise
        return self

    @property
    def root(self) -> NetNamespace:
        """The sandbox's first namespace."""
        if self._root is None:
            raise LabError(f"sandbox {self.name}: not started, or closed")
        return self._root

    def namespace(self, name: str) -> NetNamespace:
        """A further network and mount namespace; the same name gives the same namespace."""
        root = self.root
        with self._lock:
            if name in self._spaces:
                return self._spaces[name]
            argv = [*_enter(root), "unshare", "--net", "--mount", "--propagation", "private"]
            outer = _popen([*argv, "--", "sh", "-c", _HOLDER])
            try:
                _await_ready(outer, f"namespace {name}", Deadline(10))
                space = self._space(name, _only_child(outer, Deadline(5), f"namespace {name}"))
            except BaseException:
                _abandon(outer)
                raise
            self._children.append(outer)
            self._spaces[name] = space
            return space

    def popen(
        self,
        space: NetNamespace,
        argv: Sequence[str],
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> NamespacedProcess:
        """Start ``argv`` in ``space``, in a session of its own (Ctrl-C does not reach it)."""
        try:
            outer = subprocess.Popen(
                [*_enter(space), *argv],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=env,
                start_new_session=True,
            )
        except OSError as error:
            raise ReachError(f"namespace {space.name}: cannot start {argv[0]}: {error}") from error
        with self._lock:
            self._children.append(outer)
        return NamespacedProcess(outer, f"{argv[0]} in namespace {space.name}")

    def socket(self, space: NetNamespace, family: int, kind: int, proto: int = 0) -> socket.socket:
        """A socket that lives in ``space`` and is used from this process.

        An open socket keeps its network namespace alive, so ``close`` closes those left open.
        """
        made = _in_namespace(space, family, kind, proto)
        with self._lock:
            self._sockets.add(made)
        return made

    def close(self, deadline: Deadline | None = None) -> None:
        """End everything inside; CleanupError names what was still there at the deadline."""
        outer, self._outer, self._root = self._outer, None, None
        if outer is None:
            return
        deadline = deadline or Deadline(20)
        with self._lock:
            children, self._children = self._children, []
            spaces, self._spaces = list(self._spaces.values()), {}
            for open_socket in list(self._sockets):
                open_socket.close()
        if outer.stdin:
            outer.stdin.close()
        left: list[str] = []
        for process in (outer, *children):
            try:
                process.wait(deadline.left)
            except subprocess.TimeoutExpired:
                left.append(f"process {process.pid} ({_title(process.pid)}) has not ended")
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe and process is outer:
                    pipe.close()
        left += self._inhabitants()
        for handle in self._handles:
            os.close(handle)
        self._handles = []
        if left:
            names = ", ".join(space.name for space in spaces) or "none"
            raise CleanupError(
                f"sandbox {self.name}: not everything ended within {deadline.seconds:g} s",
                hint="look at these processes; one in state D waits for the kernel",
                evidence=(*left, f"namespaces it had: {names}"),
            )

    def _space(self, name: str, pid: int) -> NetNamespace:
        for kind in ("net", "mnt"):
            self._handles.append(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY))
        inside = next(
            line.split()[-1]
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("NSpid:")
        )
        space = NetNamespace(name, pid, int(inside))
        # A new namespace has its loopback down; everything here expects 127.0.0.1 to answer.
        with _in_namespace(space, socket.AF_INET, socket.SOCK_DGRAM, 0) as control:
            request = struct.pack("16sH14x", b"lo", 0)
            (flags,) = struct.unpack("16xH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
        return space

    def _inhabitants(self) -> list[str]:
        """Processes that are still in one of our namespaces."""
        found = []
        ours = {os.readlink(f"/proc/self/fd/{handle}") for handle in self._handles}
        for pid in _pids():
            for kind in ("net", "mnt"):
                try:
                    inode = os.readlink(f"/proc/{pid}/ns/{kind}")
                except OSError:
                    continue  # it ended while we looked, or is a zombie
                if inode in ours:
                    found.append(f"process {pid} ({_title(pid)}) is still in {inode}")
                    break
        return found


def _enter(space: NetNamespace) -> list[str]:
    # --root: entering a mount namespace leads to its root, which is not ours in a chroot.
    return ["nsenter", "--target", str(space.pid), "--pid", "--mount", "--root", "--net", "--"]


def _popen(argv: list[str]) -> subprocess.Popen[bytes]:
    # Pipes made by subprocess are close-on-exec: no other child can hold the keeper's stdin.
    return subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _await_ready(outer: subprocess.Popen[bytes], what: str, deadline: Deadline) -> None:
    """Wait for the line that says the namespaces stand; LabError with stderr otherwise."""
    if outer.stdout is None or outer.stderr is None:
        raise LabError(f"{what}: started without pipes")
    readable, _, _ = select.select([outer.stdout], [], [], deadline.left)
    if not readable:
        raise deadline.error(f"{what}: mounting its /sys")
    if outer.stdout.readline().strip() == b"ready":
        return
    stderr = outer.stderr.read().decode(errors="replace").splitlines()
    raise LabError(
        f"{what}: this machine refuses to make namespaces",
        hint="run as root; in a container, with the capability SYS_ADMIN",
        evidence=stderr[-5:],
    )


def _abandon(outer: subprocess.Popen[bytes]) -> None:
    outer.kill()
    outer.communicate(timeout=10)


def _only_child(outer: subprocess.Popen[bytes], deadline: Deadline, what: str) -> int:
    """The pid of the one child of ``outer`` (unshare and nsenter fork into a PID namespace)."""
    pause = threading.Event()
    while True:
        for pid in _pids():
            if _parent(pid) == outer.pid:
                return pid
        if outer.poll() is not None:
            raise ReachError(f"{what}: ended with status {outer.returncode} before it was seen")
        deadline.raise_if_expired(what, "the process has not been forked")
        # The kernel offers no event for "that process has forked"; it takes a millisecond.
        pause.wait(0.001)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The command name, in brackets, may itself hold brackets and blanks.
    return int(stat[stat.rindex(b")") + 2 :].split()[1])


def _title(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return "gone by now"
    return command.decode(errors="replace").strip()[:120] or "zombie or kernel thread"


def _in_namespace(space: NetNamespace, family: int, kind: int, proto: int) -> socket.socket:
    """Make a socket from a thread that enters the namespace and ends.

    setns() moves one thread; the others, and all their sockets, stay where they are.
    """
    result: list[Any] = []

    def enter_and_open() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/proc/{space.pid}/ns/net", "rb") as handle:
                if libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, f"setns: {errno.errorcode.get(number, number)}")
            result.append(socket.socket(family, kind, proto))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=enter_and_open, name=f"socket in {space.name}")
    thread.start()
    thread.join()
    made = result[0]
    if isinstance(made, socket.socket):
        return made
    raise ReachError(f"namespace {space.name}: cannot open a socket there: {made}")
