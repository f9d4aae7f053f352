"""What a host VM is told, and what its answers mean."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from harness.errors import DeadlineExceeded, LabError, VmExited
from harness.lab.identity import Identity, IdentityChannel, make_key_pair
from harness.plan import make_plan
from harness.reach.deadline import Deadline
from tests.plan.test_make import topology


class Peer:
    """The other end: answers each request with the next of ``answers``; keeps what it was told."""

    def __init__(self, end: socket.socket, *answers: str) -> None:
        self.told: list[Mapping[str, Any]] = []
        self._end = end
        self._answers = answers
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._end, self._end.makefile("rb") as lines:
            for answer in self._answers:
                self.told.append(json.loads(lines.readline()))
                # In two pieces: a port carries octets, and no lines.
                self._end.sendall(answer[:3].encode())
                self._end.sendall(answer[3:].encode() + b"\n")
            lines.read()

    def join(self) -> None:
        self._thread.join(10)


def runs() -> None:
    """A QEMU that has not ended."""


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def identity(host: str = "alpha") -> Identity:
    return Identity(make_plan(topology("vm")).hosts[host], "ssh-ed25519 AAAA")


def test_a_host_is_told_all_that_tells_it_from_others(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    here, there = pair
    peer = Peer(there, '{"ready": true}')
    alpha = identity()
    with IdentityChannel("alpha", here, runs) as channel:
        channel.identify(alpha, Deadline(10))
    peer.join()
    (told,) = peer.told
    assert told["do"] == "identify"
    assert told["hostname"] == "alpha"
    assert told["host_key"] == alpha.host_key.private
    assert told["admitted"] == "ssh-ed25519 AAAA"
    assert told["machine_id"] == alpha.machine_id
    assert len(bytes.fromhex(told["seed"])) >= 32
    links = alpha.plan.links
    assert [nic["mac"] for nic in told["nics"]] == [link.mac for link in links]
    assert [nic["boot_mac"] for nic in told["nics"]] == [link.boot_mac for link in links]
    assert told["nics"][1]["addresses"] == ["10.78.0.2/24"]


def test_nothing_of_an_identity_is_used_twice() -> None:
    one, other = identity(), identity()
    assert one.machine_id != other.machine_id
    assert one.seed != other.seed
    assert one.host_key != other.host_key


def test_an_identity_does_not_print_its_secrets() -> None:
    one = identity()
    assert one.seed.hex() not in repr(one)
    assert repr(one.seed) not in repr(one)
    assert "PRIVATE" not in repr(one)
    assert "PRIVATE" in make_key_pair().private


def test_the_hosts_reason_is_the_labs_error(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    peer = Peer(there, '{"error": "identify: NIC pf: no netdev"}')
    with (
        IdentityChannel("alpha", here, runs) as channel,
        pytest.raises(LabError, match="alpha: this host VM cannot be made ready: identify: NIC pf"),
    ):
        channel.identify(identity(), Deadline(10))
    peer.join()


def test_another_answer_than_the_expected_is_an_error(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    here, there = pair
    there.sendall(b'{"up": true}\n')
    with (
        IdentityChannel("alpha", here, runs) as channel,
        pytest.raises(LabError, match=r"alpha: said .*'up': True.* not 'ready'"),
    ):
        channel.identify(identity(), Deadline(10))


def test_a_host_that_says_nothing_runs_into_the_deadline(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    with (
        IdentityChannel("alpha", pair[0], runs) as channel,
        pytest.raises(DeadlineExceeded, match="alpha: 'up' on its identity channel"),
    ):
        channel.wait_up(Deadline(0.1))


def test_a_qemu_that_has_ended_says_more_than_its_closed_channel(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    def ended() -> None:
        raise VmExited("alpha: QEMU ended with status 1")

    pair[1].close()
    with (
        IdentityChannel("alpha", pair[0], ended) as channel,
        pytest.raises(VmExited, match="status 1"),
    ):
        channel.identify(identity(), Deadline(10))
