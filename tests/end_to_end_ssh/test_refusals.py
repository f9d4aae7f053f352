"""What is wrong with a machine, or with the way to it, is told in one message."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from harness.errors import EXIT_INPUT, EXIT_LAB, LabError
from harness.reach.deadline import Deadline
from tests.end_to_end_ssh.standin import Found, StandIn, lab_of

pytestmark = pytest.mark.nested


def command(topology: Path, place: Path) -> subprocess.CompletedProcess[str]:
    """``harness up``, which is not going to stay."""
    argv = [sys.executable, "-m", "harness.cli", "up", str(topology), "--foreground"]
    argv += ["--name", "refused", "--run-dir", str(place / "run")]
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


def told(stderr: str) -> str:
    """What a user is told, without the lines of the progress."""
    return "\n".join(line for line in stderr.splitlines() if not line.startswith("["))


def test_a_key_that_is_refused(standin: StandIn, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True, timeout=20
    )
    done = command(standin.topology(tmp_path, key=str(stranger)), tmp_path)

    assert done.returncode == EXIT_LAB
    title = f"root@127.0.0.1:{standin.port}"
    assert told(done.stderr).startswith(f"metal: {title} refuses the key {stranger}\n")
    assert "hint: add the public key to ~root/.ssh/authorized_keys there" in told(done.stderr)
    assert len(told(done.stderr).splitlines()) <= 3


def test_a_key_that_is_not_there_is_wrong_input(standin: StandIn, tmp_path: Path) -> None:
    done = command(standin.topology(tmp_path, key="nokey"), tmp_path)

    assert done.returncode == EXIT_INPUT
    assert told(done.stderr) == f"metal: the ssh key {tmp_path / 'nokey'} does not exist"


def test_a_port_that_is_closed_is_told_at_once(standin: StandIn, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    limit = Deadline(15)
    done = command(standin.topology(tmp_path, port=port), tmp_path)

    assert not limit.expired
    assert done.returncode == EXIT_LAB
    assert told(done.stderr).startswith(f"metal: no ssh connection to root@127.0.0.1:{port}: ")
    assert "hint: is the machine up" in told(done.stderr)
    assert len(told(done.stderr).splitlines()) == 2


@contextmanager
def without_vfio(standin: StandIn) -> Iterator[None]:
    eye = standin.eye
    module = eye.run(["modinfo", "-n", "vfio-pci"]).stdout.strip()
    eye.run(["modprobe", "-r", "vfio-pci"])
    eye.run(["mv", module, f"{module}.away"])
    try:
        yield
    finally:
        eye.run(["mv", f"{module}.away", module])
        eye.run(["modprobe", "vfio-pci"])


@contextmanager
def without_igb(standin: StandIn) -> Iterator[None]:
    standin.eye.write_file("/sys/bus/pci/drivers/igb/unbind", standin.pci.encode())
    try:
        yield
    finally:
        standin.eye.write_file("/sys/bus/pci/drivers/igb/bind", standin.pci.encode())


@contextmanager
def with_a_bridge(standin: StandIn) -> Iterator[None]:
    standin.eye.links.create_bridge("br0")
    try:
        yield
    finally:
        standin.eye.links.delete("br0")


@contextmanager
def in_a_bridge(standin: StandIn) -> Iterator[None]:
    standin.eye.links.create_bridge("owners")
    standin.eye.links.set(standin.pf, master="owners")
    try:
        yield
    finally:
        standin.eye.links.set(standin.pf, master="")
        standin.eye.links.delete("owners")


@contextmanager
def without_sudo(standin: StandIn) -> Iterator[None]:
    refusal = b"#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n"
    standin.eye.write_file("/usr/bin/sudo", refusal, mode=0o755)
    standin.eye.write_file("/etc/passwd", b"guest:x:1001:1001::/tmp:/bin/sh\n", append=True)
    standin.eye.write_file("/etc/shadow", b"guest:*:::::::\n", append=True)
    try:
        yield
    finally:
        standin.eye.remove("/usr/bin/sudo")


@pytest.mark.parametrize(
    ("lacking", "changes", "message", "hint"),
    [
        (without_vfio, {}, r"metal: cannot give virtual functions to guests: .*vfio-pci",
         "its kernel needs the module vfio-pci"),
        (without_igb, {}, r"metal: no netdev '\w+' for NIC pf", r"netdevs there: lo, "),
        (with_a_bridge, {}, r"metal: cannot make bridge br0: a netdev of that name is there",
         "another name"),
        (in_a_bridge, {}, r"metal: NIC pf \(\w+\) is a port of owners already",
         "only NICs that nobody uses"),
        (without_sudo, {"user": "guest"}, r"metal: cannot become root: sudo: a password is req",
         "allow guest to use sudo there without a password"),
    ],
    ids=["no vfio-pci", "no driver", "name of the bridge", "NIC in use", "no sudo"],
)  # fmt: skip
def test_a_machine_that_lacks_something_is_told_of_and_left_as_it_was(
    standin: StandIn,
    tmp_path: Path,
    lacking: Callable[[StandIn], AbstractContextManager[None]],
    changes: dict[str, str],
    message: str,
    hint: str,
) -> None:
    topology = standin.topology(tmp_path, **changes)
    with lacking(standin):
        former: Found = standin.found()
        with (
            lab_of(topology, tmp_path, last="wire metal") as lab,
            pytest.raises(LabError, match=message) as caught,
        ):
            lab.up()
        standin.await_found(former, Deadline(3))

    assert caught.value.exit_code == EXIT_LAB
    assert hint in str(caught.value)
