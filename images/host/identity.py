"""Tells a host VM who it is, once, when the lab has said so. Runs in the VM, from its init.

A host VM boots without a name, an address or a key, and its netdevs are down: until now it is
like every other with the same command, and may be saved and loaded as any of them. Lines of
JSON on a virtio-serial port, each answered by one:

    (from here, when standard input has ended)    {"up": true}
    {"do": "warm", "agent": [[NAME, TEXT], ...]}  {"warm": true}
    {"do": "identify", "hostname": ..., ...}      {"ready": true}

or {"error": REASON}. ``warm`` reads what a lab will need of this host into memory, which is
worth its time only in a host that is saved then. ``identify`` gives name, machine id, random
numbers, clock, keys, MAC addresses, MTUs and addresses, and starts sshd.

From then on it makes agents (``harness/reach/agent``): whoever connects to AGENT_PORT of
loopback, which sshd lets only the lab do, speaks to a copy of this process, which has all that
an agent imports, where a new interpreter takes a second of an emulated processor.

Its standard input is a pipe that ends when drivers are loaded and disks are mounted: so this
interpreter starts beside them. The other end is ``harness/lab/identity.py``.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

PORT = "org.failover-harness.identity.0"
LAB = Path("/run/lab")
PORT_S = 10.0
AGENT_PORT = 722
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207
_TO_READ = (
    "/usr/sbin/sshd",
    "/usr/lib/openssh/sshd-*",
    "/usr/bin/bash",
    "/usr/bin/tcpdump",
    "/usr/bin/cat",
    "/lab/qemu*/usr/bin/qemu-system-*",
    "/lab/qemu*/lib64/*",
    "/lab/qemu*/usr/lib/x86_64-linux-gnu/*.so*",
    "/lab/qemu*/usr/share/*/*.bin",
)
COMPILED: dict[str, CodeType] = {}
"""Texts of the agent's modules."""


class Refused(Exception):
    """What was asked for cannot be done; the text says why."""


def open_port() -> int:
    """The identity port; the kernel makes it some time after its driver was loaded."""
    deadline = time.monotonic() + PORT_S
    while time.monotonic() < deadline:
        for each in Path("/sys/class/virtio-ports").glob("*/name"):
            if each.read_text().strip() == PORT:
                return os.open(f"/dev/{each.parent.name}", os.O_RDWR | os.O_NONBLOCK)
        time.sleep(0.02)
    raise Refused(f"no virtio-serial port {PORT} after {PORT_S:g} s")


class Lines:
    """The port, line by line. A port whose other end nobody has opened is waited for."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._rest = b""
        # poll() answers at once while the other end is closed; the driver sends SIGIO when
        # that changes. (Not blocked: what this starts would have it blocked, too.)
        self._signalled, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGIO, lambda _number, _frame: None)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        fcntl.fcntl(port, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(port, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        self._wakeup = wakeup
        self._poll = select.poll()
        self._poll.register(port, select.POLLIN)

    def read(self) -> Mapping[str, Any]:
        while b"\n" not in self._rest:
            events = self._poll.poll()[0][1]
            data = b""
            if events & select.POLLIN:
                with contextlib.suppress(BlockingIOError):
                    data = os.read(self._port, 1 << 16)
            if not data:
                self._await_signal()
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        told: Mapping[str, Any] = json.loads(line)
        return told

    def say(self, **words: object) -> None:
        line = json.dumps(words).encode() + b"\n"
        while line:
            # What is said before the other end was opened would be lost.
            if any(events & select.POLLHUP for _, events in self._poll.poll(0)):
                self._await_signal()
                continue
            with contextlib.suppress(BlockingIOError):
                line = line[os.write(self._port, line) :]

    def close(self) -> None:
        # The port first: its other end goes any moment now, and SIGIO would end this process.
        os.close(self._port)
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.close(self._signalled)
        os.close(self._wakeup)

    def _await_signal(self) -> None:
        select.select([self._signalled], [], [], 1.0)
        with contextlib.suppress(BlockingIOError):
            os.read(self._signalled, 4096)


def run(*argv: str, given: str = "") -> None:
    done = subprocess.run(argv, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise Refused(f"{argv[0]} ended with status {done.returncode}: {said}")


def warm(told: Mapping[str, Any]) -> None:
    """Read once what a lab will need; it stays in memory."""
    for name, text in told["agent"]:
        COMPILED[text] = compile(text, name, "exec")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("harness"):
                importlib.import_module(str(node.module))
    for pattern in _TO_READ:
        for path in Path("/").glob(pattern[1:]):
            if path.is_file():
                path.read_bytes()
    run("/usr/sbin/sshd", "-V")
    run("/usr/bin/ip", "-batch", "-")


def reseed(seed: bytes) -> None:
    """New random numbers, whatever the kernel had: another VM may have the same."""
    with open("/dev/random", "wb", buffering=0) as device:
        fcntl.ioctl(device, RNDADDENTROPY, struct.pack("ii", 8 * len(seed), len(seed)) + seed)
        fcntl.ioctl(device, RNDRESEEDCRNG)


def netdevs() -> dict[str, str]:
    """MAC address -> netdev."""
    found = Path("/sys/class/net").glob("*/address")
    return {path.read_text().strip(): path.parent.name for path in found}


def give_addresses(nics: list[Mapping[str, Any]]) -> None:
    there, lines = netdevs(), []
    for nic in nics:
        name = there.get(nic["boot_mac"])
        if name is None:
            seen = ", ".join(f"{name} {mac}" for mac, name in there.items())
            raise Refused(
                f"NIC {nic['nic']}: no netdev with the MAC address {nic['boot_mac']}: its driver "
                f"is missing, or was not loaded; there are: {seen}"
            )
        lines.append(f"link set dev {name} address {nic['mac']} mtu {nic['mtu']}")
        lines += [f"address add {address} dev {name}" for address in nic["addresses"]]
        if nic["addresses"]:
            lines.append(f"link set dev {name} up")
    run("/usr/bin/ip", "-batch", "-", given="".join(f"{line}\n" for line in lines))


def write(path: Path, text: str, mode: int) -> None:
    path.touch(mode)
    path.write_text(text)


def identify(told: Mapping[str, Any]) -> None:
    """Become the host that ``told`` describes."""
    time.clock_settime_ns(time.CLOCK_REALTIME, told["time_ns"])
    reseed(bytes.fromhex(told["seed"]))
    socket.sethostname(told["hostname"])
    write(Path("/etc/machine-id"), told["machine_id"] + "\n", 0o444)
    write(LAB / "host_key", told["host_key"], 0o600)
    write(LAB / "authorized_keys", told["admitted"] + "\n", 0o644)
    give_addresses(told["nics"])
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    run("/usr/sbin/sshd")


def serve_agents(server: socket.socket) -> None:
    """An agent for every connection, whose first line holds the agent's modules."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # reaps them
    while True:
        connection, _ = server.accept()
        if os.fork() == 0:
            try:
                become_agent(server, connection)
            finally:
                os._exit(1)
        connection.close()


def become_agent(server: socket.socket, connection: socket.socket) -> None:
    server.close()
    for number in (signal.SIGCHLD, signal.SIGIO):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(connection.fileno(), 0)
    os.dup2(connection.fileno(), 1)
    connection.close()
    log = os.open(LAB / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    os.close(log)
    # The files of this interpreter stand for the new descriptors; the end that its standard
    # input had is not for ever.
    for name, text in json.loads(sys.stdin.buffer.readline()):
        module = sys.modules[name] = ModuleType(name)
        exec(COMPILED.get(text) or compile(text, name, "exec"), module.__dict__)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
    sys.modules["harness.reach.agent.program"].main()


DO: Mapping[str, Callable[[Mapping[str, Any]], None]] = {"warm": warm, "identify": identify}


def main() -> None:
    lines = Lines(open_port())
    sys.stdin.buffer.read()
    lines.say(up=True)
    while True:
        told = lines.read()
        try:
            DO[told["do"]](told)
        except (Refused, OSError, KeyError, ValueError) as error:
            lines.say(error=f"{told.get('do')}: {error}")
            continue
        if told["do"] == "identify":
            Path("/dev/console").write_text(f"LAB-HOST-READY {told['hostname']}\n")
            with socket.create_server(("127.0.0.1", AGENT_PORT)) as server:
                lines.say(ready=True)
                lines.close()
                serve_agents(server)
        lines.say(warm=True)


main()
