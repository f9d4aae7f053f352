"""The agent as a program: every operation by its name, and the serving of stdin and stdout.

Runs on the machine, under Python 3.9 and newer; imports nothing of the harness.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from harness.reach.agent import fdb, frames, kmsg, links, pci, process
from harness.reach.agent.core import Agent, Args, clocks


def hello(agent: Agent, lease_s: float = 0.0, path: str | None = None) -> Args:
    """Terms of the session: ``lease_s`` of silence ends it (0: never); ``path`` is put on
    ``sys.path`` (a zip with the Python packages that this machine lacks)."""
    agent.lease_s = lease_s
    if path:
        sys.path.insert(0, path)
    try:
        links.load_pyroute2()
        netlink = True
    except ImportError:
        netlink = False
    return {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "kernel": os.uname().release,
        "pid": os.getpid(),
        "uid": os.getuid(),
        "netlink": netlink,
        **clocks(),
    }


OPS: dict[str, Callable[..., Any]] = {
    "hello": hello,
    **process.OPS,
    **links.OPS,
    **pci.OPS,
    **fdb.OPS,
    **kmsg.OPS,
    **frames.OPS,
}


def main() -> None:
    """Serve stdin and stdout; exit status 1 when something could not be undone."""
    # Signals for the terminal or the ssh session must not skip the undoing.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if hasattr(os, "setsid") and os.getsid(0) != os.getpid():
        with contextlib.suppress(PermissionError):
            os.setsid()
    # Where root came by sudo, the search path may be that of a user: modprobe is not on it.
    os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
    agent = Agent(sys.stdout.buffer, OPS, process.STREAM_OPS)
    signal.signal(signal.SIGTERM, lambda _number, _frame: agent.stop())
    # Anything that prints must not land between the protocol's lines.
    sys.stdout = sys.stderr
    threading.Thread(target=agent.read, args=(sys.stdin.buffer,), daemon=True).start()
    threading.Thread(target=agent.watch_lease, daemon=True).start()
    left = agent.run()
    for line in left:
        print("left behind: " + line, file=sys.stderr)
    sys.stderr.flush()
    # Threads blocked in a read or a wait cannot be joined; there is nothing left for them.
    os._exit(1 if left else 0)
