"""A namespace that plays the guest: labprobe in it, its port a unix socket of the test."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.observe import FactLog, LinkEvent
from harness.traffic.guestlink import GuestLink
from tests.traffic.namespaces import Side


@dataclass
class Guest:
    """One running labprobe and the session with it."""

    side: Side
    listener: socket.socket
    process: subprocess.Popen[bytes]
    link: GuestLink
    log: FactLog
    sockets: list[socket.socket] = field(default_factory=list)

    def accept(self) -> socket.socket:
        """The next connection of labprobe."""
        connection, _ = self.listener.accept()
        self.sockets.append(connection)
        return connection

    def events(self, name: str) -> list[LinkEvent]:
        """The link events of one netdev so far."""
        return [f for f in self.log.facts if isinstance(f, LinkEvent) and f.link.name == name]

    def wait_event(self, name: str, event: str, timeout: float = 10.0) -> LinkEvent:
        fact = self.log.wait(
            lambda f: isinstance(f, LinkEvent) and (f.link.name, f.event) == (name, event),
            timeout=timeout,
        )
        seen = [(f.link.name, f.event) for f in self.log.facts if isinstance(f, LinkEvent)]
        assert isinstance(fact, LinkEvent), f"no {event} of {name}; seen: {seen}"
        return fact


@contextmanager
def guest(labprobe: Path, side: Side, path: Path, *, kmsg: Path | str = "-") -> Iterator[Guest]:
    """labprobe in a namespace, and a session with it; without the kernel's messages, which are
    those of this whole machine, unless ``kmsg`` is a place to read some."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(10)
    process = subprocess.Popen(side.enter([str(labprobe), "daemon", str(path), str(kmsg)]))
    log = FactLog(None)
    one = Guest(side, listener, process, GuestLink("g1", log.add, ping_interval=0.05), log)
    try:
        one.link.attach(one.accept())
        one.link.wait_monitoring(10)
        yield one
    finally:
        one.link.close()
        process.kill()
        process.wait(10)
        listener.close()
