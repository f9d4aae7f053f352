"""A stand-in for a real machine: a host VM as it is after booting, behind a port of loopback.

The machine is booted by the project's own code, from the plan of ``MACHINE`` as far as
``reach``: nobody has enabled a virtual function there, made a bridge or loaded an image. A
relay carries its ssh port from the sandbox to loopback, so that labs reach it like any
machine that has an address.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harness.images import Store
from harness.lab import Lab, LabImages, Progress
from harness.observe import FactLog
from harness.plan import make_plan
from harness.plan.model import Plan
from harness.reach.machine import Machine
from harness.reach.sandbox import Sandbox
from harness.topology import load

MACHINE = """\
networks:
  data: {}
  mgmt: {subnet: 10.78.0.0/24, management: true}
hosts:
  machine:
    kind: vm
    iommu: intel
    memory: 1536M
    nics:
      pf: {model: igb, network: data}
      mg: {model: virtio-net-pci, network: mgmt}
guests:
  unused: {host: machine}
"""
"""A topology has a guest; this one is never started."""


@dataclass(frozen=True)
class Place:
    """Where the machine is, and who looks at it: ``eye`` is a session of its own."""

    port: int
    key: Path
    lab: Lab
    eye: Machine


def up_to(plan: Plan, last: str) -> Plan:
    """The plan with only the step ``last`` and what it needs."""
    needs = {step.id: step.needs for step in plan.steps}
    wanted: set[str] = set()
    waiting = [last]
    while waiting:
        step = waiting.pop()
        wanted.add(step)
        waiting += needs[step]
    return replace(plan, steps=tuple(step for step in plan.steps if step.id in wanted))


class Relay:
    """Carries every connection to a port of loopback on to an address in a sandbox."""

    def __init__(self, sandbox: Sandbox, address: str, port: int) -> None:
        self._sandbox = sandbox
        self._to = (address, port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return  # closed
            far = self._sandbox.socket(self._sandbox.root, socket.AF_INET, socket.SOCK_STREAM)
            far.connect(self._to)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(source, sink), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 18):
            sink.sendall(data)
    # The end of one direction is the end of both: a harness that was killed says no more.
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def booted(place: Path) -> Iterator[Place]:
    """The machine, up; ``place`` is a directory for its files here."""
    topology = place / "machine.yaml"
    topology.write_text(MACHINE)
    plan = up_to(make_plan(load(topology)), "reach machine")
    facts = FactLog(place / "facts.jsonl")
    progress = Progress(sys.stderr)
    images = LabImages(Store(), progress.say)
    with contextlib.ExitStack() as ending:
        ending.callback(facts.close)
        lab = Lab(plan, images, facts, logs=place / "logs", progress=progress, name="machine")
        ending.enter_context(lab)
        lab.up()
        address = plan.hosts["machine"].management_address or ""
        relay = Relay(lab.sandbox, address, 22)
        ending.callback(relay.close)
        key = place / "key"
        key.touch(0o600)
        key.write_bytes(lab._key.path.read_bytes())
        yield Place(relay.port, key, lab, lab.hosts["machine"].machine)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as made, booted(Path(made)) as where:
        print(where.port, where.key, os.getpid(), flush=True)
        sys.stdin.readline()
