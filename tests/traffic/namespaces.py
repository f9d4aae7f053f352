"""Two anonymous network namespaces joined by a veth pair, for the tests of this room.

They live as long as the processes that hold them, whose stdin is a pipe from here: whatever
happens to the tests, nothing is left.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

Spawn = Callable[[Sequence[str]], "subprocess.Popen[bytes]"]


@dataclass(frozen=True)
class Side:
    """One namespace with one netdev: ``va`` in the first, ``vb`` in the second."""

    pid: int
    interface: str
    mac: str
    address: str
    address6: str

    def enter(self, argv: Sequence[str]) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-n", "--", *argv]

    def run(self, *argv: str, stdin: str = "") -> str:
        done = subprocess.run(
            self.enter(argv), input=stdin, capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def ip(self, command: str) -> None:
        self.run("ip", *command.split())

    def wait_up(self) -> None:
        """Until the link is operational: IPv6 sends nothing before."""
        end = time.monotonic() + 10
        while "state UP" not in (seen := self.run("ip", "-o", "link", "show", self.interface)):
            assert time.monotonic() < end, f"not up within 10 s: {seen}"

    def spawn(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.enter(argv),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


@contextmanager
def namespace() -> Iterator[int]:
    """A new network namespace; the pid of the process that holds it."""
    argv = ["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec cat"]
    holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"up\n"
        yield holder.pid
    finally:
        holder.stdin.close()
        holder.wait(10)
        holder.stdout.close()


@contextmanager
def veth_pair() -> Iterator[tuple[Side, Side]]:
    """Two namespaces, 10.9.0.1 and fd00:9::1 in the one, .2 and ::2 in the other."""
    with namespace() as one, namespace() as other:
        left = Side(one, "va", "02:00:00:00:00:01", "10.9.0.1", "fd00:9::1")
        right = Side(other, "vb", "02:00:00:00:00:02", "10.9.0.2", "fd00:9::2")
        left.ip(
            f"link add va address {left.mac} type veth peer name vb address {right.mac} "
            f"netns {other}"
        )
        for side in (left, right):
            side.ip(f"address add {side.address}/24 dev {side.interface}")
            side.ip(f"address add {side.address6}/64 dev {side.interface} nodad")
            side.ip(f"link set {side.interface} up")
        for side in (left, right):
            side.wait_up()
        yield left, right


def through_bridge(side: Side) -> Side:
    """The side with a bridge before its netdev: ``vd`` is where to send, ``vc`` its port."""
    side.ip("link add br0 type bridge")
    side.ip("link add vc type veth peer name vd")
    side.ip("address flush dev va")
    for name in ("va", "vc"):
        side.ip(f"link set {name} master br0")
    for name in ("br0", "vc", "vd"):
        side.ip(f"link set {name} up")
    return replace(side, interface="vd")
