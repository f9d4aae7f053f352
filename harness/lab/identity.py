"""Which host a host VM is: told to it on a virtio-serial port, and all made here.

A host VM boots, or is loaded from a saved state, as a host without a name; what it is told
then is the same either way. Its ssh host key is made on this machine (the emulated one would
take longer, and hosts from one state would share theirs), so that ``sshhost`` knows it.

The other end is ``images/host/identity.py``. Neighbours: ``sshhost`` starts and reaches hosts,
``hoststate`` has them saved and loaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from harness.errors import LabError
from harness.plan.model import HostPlan
from harness.reach.agent import source
from harness.reach.deadline import Deadline

AGENT_PORT = 722
"""TCP port of a host VM's loopback where an agent waits for its modules."""
_SEED_OCTETS = 64
_LOOK_S = 0.5
"""How often it is looked whether QEMU is still there."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An ed25519 key pair of ssh: ``private`` as OpenSSH writes it, ``public`` as one line."""

    private: str = field(repr=False)
    public: str


@dataclass(frozen=True, slots=True)
class LabKey:
    """The key pair with which a lab gets into the VMs that it boots. It is in no file system:
    ``path`` leads to memory of this process."""

    path: Path
    public: str


def make_key_pair() -> KeyPair:
    """A fresh key pair."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return KeyPair(private.decode(), public.decode())


def make_lab_key() -> LabKey:
    """A fresh key for one lab."""
    pair = make_key_pair()
    handle = os.memfd_create("lab-ssh-key", os.MFD_CLOEXEC)
    os.write(handle, pair.private.encode())
    return LabKey(Path(f"/proc/self/fd/{handle}"), pair.public)


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a host VM the host of one lab. Nothing of it is ever used twice."""

    plan: HostPlan
    admitted: str
    """The public key that may log in."""
    host_key: KeyPair = field(default_factory=make_key_pair)
    machine_id: str = field(default_factory=lambda: secrets.token_hex(16))
    seed: bytes = field(default_factory=lambda: secrets.token_bytes(_SEED_OCTETS), repr=False)

    def told(self, time_ns: int) -> Mapping[str, object]:
        """The request that gives it; ``time_ns`` is since 1970, when it is sent."""
        return {
            "do": "identify",
            "hostname": self.plan.name,
            "machine_id": self.machine_id,
            "seed": self.seed.hex(),
            "admitted": self.admitted,
            "host_key": self.host_key.private,
            "nics": [
                {
                    "nic": link.nic,
                    "boot_mac": link.boot_mac,
                    "mac": link.mac,
                    "mtu": link.mtu,
                    "addresses": link.addresses,
                }
                for link in self.plan.links
            ],
            "time_ns": time_ns,
        }


class IdentityChannel:
    """The port of one host VM, ``connection``; ``must_run`` raises when its QEMU has ended."""

    def __init__(self, name: str, connection: socket.socket, must_run: Callable[[], None]) -> None:
        self._name = name
        self._connection = connection
        self._must_run = must_run
        self._rest = b""

    def __enter__(self) -> IdentityChannel:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._connection.close()

    def wait_up(self, deadline: Deadline) -> None:
        """Wait until a host that boots has its drivers and disks."""
        self._expect("up", deadline)

    def warm(self, deadline: Deadline) -> None:
        """Have the host read into memory what a lab will need, before it is saved."""
        self._ask({"do": "warm", "agent": source()})
        self._expect("warm", deadline)

    def identify(self, identity: Identity, deadline: Deadline) -> None:
        """Make the host what ``identity`` says; LabError with the host's reason if it cannot."""
        self._ask(identity.told(time.time_ns()))
        self._expect("ready", deadline)

    def _ask(self, request: Mapping[str, object]) -> None:
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            self._must_run()
            raise LabError(f"{self._name}: its identity channel was closed: {error}") from error

    def _expect(self, word: str, deadline: Deadline) -> None:
        while b"\n" not in self._rest:
            self._must_run()
            deadline.raise_if_expired(f"{self._name}: {word!r} on its identity channel", "nothing")
            self._connection.settimeout(max(deadline.at_most(_LOOK_S).left, 0.01))
            with contextlib.suppress(TimeoutError):
                data = self._connection.recv(1 << 16)
                if not data:
                    self._must_run()
                    raise LabError(f"{self._name}: its identity channel was closed")
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise LabError(f"{self._name}: this host VM cannot be made ready: {answer['error']}")
        if word not in answer:
            raise LabError(f"{self._name}: said {answer} on its identity channel, not {word!r}")
