"""The sandbox keeps its promise: nothing in it outlives the harness."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.errors import CleanupError, LabError, ReachError
from harness.reach.deadline import Deadline
from harness.reach.sandbox import SCRATCH, Sandbox

ROOT = Path(__file__).resolve().parents[2]


def inhabitants(inodes: set[str]) -> list[int]:
    """Processes of this machine that are in one of these namespaces."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            for kind in ("net", "mnt", "pid"):
                try:
                    if os.readlink(f"/proc/{name}/ns/{kind}") in inodes:
                        found.append(int(name))
                except OSError:
                    break
    return found


@contextmanager
def pinned(*pids: int) -> Iterator[set[str]]:
    """The namespaces of these processes, held so that their numbers are not given anew."""
    with ExitStack() as stack:
        inodes = set()
        for pid in pids:
            for kind in ("net", "mnt", "pid"):
                handle = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
                stack.callback(os.close, handle)
                inodes.add(os.readlink(f"/proc/self/fd/{handle}"))
        yield inodes


def output(sandbox: Sandbox, space_name: str, *argv: str) -> str:
    process = sandbox.popen(sandbox.namespace(space_name), argv, stdout=subprocess.PIPE)
    text, _ = process.outer.communicate(timeout=10)
    return text.decode()


def test_a_namespace_sees_only_its_own_netdevs() -> None:
    with Sandbox("t") as sandbox:
        assert output(sandbox, "alpha", "ls", "/sys/class/net").split() == ["lo"]


def test_the_loopback_of_a_namespace_is_up() -> None:
    with Sandbox("t") as sandbox:
        space = sandbox.namespace("alpha")
        with (
            sandbox.socket(space, socket.AF_INET, socket.SOCK_STREAM) as server,
            sandbox.socket(space, socket.AF_INET, socket.SOCK_STREAM) as client,
        ):
            server.bind(("127.0.0.1", 0))
            server.listen()
            client.settimeout(5)
            client.connect(server.getsockname())


def test_two_namespaces_are_apart_and_the_same_name_is_the_same() -> None:
    with Sandbox("t") as sandbox:
        alpha, beta = sandbox.namespace("alpha"), sandbox.namespace("beta")
        net = {os.readlink(f"/proc/{s.pid}/ns/net") for s in (alpha, beta, sandbox.root)}
        assert len(net) == 3
        assert sandbox.namespace("alpha") is alpha


def test_a_signal_reaches_the_process_and_not_only_the_nsenter_around_it() -> None:
    with Sandbox("t") as sandbox:
        process = sandbox.popen(sandbox.root, ["sleep", "infinity"])
        assert Path(f"/proc/{process.pid}/comm").read_text() in ("sleep\n", "nsenter\n")
        process.kill()
        assert process.wait(Deadline(5)) in (-9, 137)
        assert not Path(f"/proc/{process.pid}").exists()


def test_close_ends_every_process_and_gives_up_every_namespace() -> None:
    sandbox = Sandbox("t").start()
    space = sandbox.namespace("alpha")
    with pinned(space.pid, sandbox.root.pid) as seen:
        # a process that ignores polite signals, in a session of its own
        sandbox.popen(space, ["sh", "-c", "trap '' TERM HUP; setsid sleep infinity & wait"])
        assert len(inhabitants(seen)) >= 2
        sandbox.close()
        assert inhabitants(seen) == []


def test_close_closes_sockets_left_open_since_they_would_keep_the_namespace() -> None:
    sandbox = Sandbox("t").start()
    left = sandbox.socket(sandbox.root, socket.AF_INET, socket.SOCK_DGRAM)
    sandbox.close()
    assert left.fileno() == -1


def test_a_process_that_does_not_end_is_named() -> None:
    sandbox = Sandbox("t").start()
    process = sandbox.popen(sandbox.root, ["sleep", "4242"])
    pid = process.pid
    outer = sandbox._outer
    assert outer is not None
    assert outer.stdin is not None
    keeper = sandbox.root.pid
    os.kill(keeper, signal.SIGSTOP)  # a keeper that cannot see the end of its input
    with pytest.raises(CleanupError, match="not everything ended") as caught:
        sandbox.close(Deadline(0.3))
    assert f"process {pid} (sleep 4242)" in str(caught.value)
    os.kill(keeper, signal.SIGCONT)
    outer.wait(5)


def test_files_in_the_scratch_space_are_not_seen_outside() -> None:
    with Sandbox("t") as sandbox:
        space = sandbox.namespace("alpha")
        space.path(f"{SCRATCH}/only-inside").write_text("x")
        assert output(sandbox, "beta", "cat", f"{SCRATCH}/only-inside") == "x"
        assert not Path(f"{SCRATCH}/only-inside").exists()


def test_a_sandbox_that_is_closed_says_so() -> None:
    sandbox = Sandbox("t")
    with pytest.raises(LabError, match="not started, or closed"):
        sandbox.namespace("alpha")


def test_a_socket_in_a_namespace_that_is_gone_is_refused_with_its_name() -> None:
    sandbox = Sandbox("t").start()
    space = sandbox.namespace("alpha")
    sandbox.close()
    with pytest.raises(ReachError, match="namespace alpha: cannot open a socket"):
        sandbox.socket(space, socket.AF_INET, socket.SOCK_DGRAM)


VICTIM = """
import os, subprocess, sys
from harness.reach.sandbox import Sandbox
sandbox = Sandbox("victim").start()
space = sandbox.namespace("alpha")
inner = "trap '' TERM HUP INT; setsid sh -c 'echo ready; exec sleep infinity' & wait"
inner = sandbox.popen(space, ["sh", "-c", inner], stdout=subprocess.PIPE)
inner.stdout.readline()
space.path("/dev/shm/scratch").write_text("x")
print(space.pid, sandbox.root.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_when_the_harness_is_killed(how: signal.Signals) -> None:
    harness = subprocess.Popen(
        [sys.executable, "-c", VICTIM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert harness.stdout is not None
    with pinned(*map(int, harness.stdout.readline().split())) as seen:
        pids = {pid: os.pidfd_open(pid) for pid in inhabitants(seen)}
        assert len(pids) >= 4

        harness.send_signal(how)
        harness.wait(5)

        deadline = Deadline(10)
        for pid, handle in pids.items():
            assert select.select([handle], [], [], deadline.left)[0], f"{pid} still runs"
            os.close(handle)
        assert inhabitants(seen) == []
