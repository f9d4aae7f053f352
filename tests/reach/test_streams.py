"""Streams through the agent, to real servers in the namespace."""

from __future__ import annotations

import socket
import threading

import pytest

from harness.reach.deadline import Deadline
from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import Sandbox
from harness.reach.wire import AgentRefused

ECHO = """
import socket, sys, os
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("listening", flush=True)
while True:
    peer, _ = server.accept()
    if os.fork() == 0:
        while data := peer.recv(65536):
            peer.sendall(data)
        peer.sendall(b"<end>")
        os._exit(0)
    peer.close()
"""


@pytest.fixture
def echo(machine: NamespaceMachine) -> str:
    """Path of a unix socket on the machine that echoes, and says so at the end of input."""
    path = f"{machine.scratch}/echo"
    log = f"{machine.scratch}/echo.log"
    machine.spawn(["python3", "-c", ECHO, path], log=log)
    deadline = Deadline(10)
    while b"listening" not in (machine.read_bytes(log) if machine.exists(log) else b""):
        deadline.raise_if_expired("echo server", "not listening")
    return path


def read_all(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := end.recv(65536)):
        data += more
    return data


def test_bytes_go_both_ways_unchanged_and_in_order(machine: NamespaceMachine, echo: str) -> None:
    sent = bytes(range(256)) * 4096
    with machine.connect(echo) as end:
        end.settimeout(20)
        writer = threading.Thread(target=end.sendall, args=(sent,))
        writer.start()
        assert read_all(end, len(sent)) == sent
        writer.join(10)


def test_a_half_closed_stream_still_delivers_the_answer(
    machine: NamespaceMachine, echo: str
) -> None:
    with machine.connect(echo) as end:
        end.settimeout(10)
        end.sendall(b"hello")
        end.shutdown(socket.SHUT_WR)
        assert read_all(end, 100) == b"hello<end>"


def test_the_end_of_the_server_is_the_end_of_the_stream(machine: NamespaceMachine) -> None:
    path = f"{machine.scratch}/quiet"
    program = "import socket, sys, signal; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])"
    program += "; s.listen(); print('listening', flush=True); p = s.accept(); signal.pause()"
    server = machine.spawn(["python3", "-c", program, path], log=f"{path}.log")
    deadline = Deadline(10)
    while not (machine.exists(f"{path}.log") and machine.read_bytes(f"{path}.log")):
        deadline.raise_if_expired("quiet server", "not listening")
    with machine.connect(path) as end:
        end.settimeout(10)
        server.signal(9)
        assert end.recv(1) == b""


def test_several_streams_do_not_mix(machine: NamespaceMachine, echo: str) -> None:
    ends = [machine.connect(echo) for _ in range(5)]
    for number, end in enumerate(ends):
        end.settimeout(10)
        end.sendall(bytes([number]) * 1000)
    assert [read_all(end, 1000) for end in ends] == [bytes([n]) * 1000 for n in range(5)]
    for end in ends:
        end.close()


def test_tcp_is_reached_from_within_the_namespace(
    sandbox: Sandbox, machine: NamespaceMachine
) -> None:
    with sandbox.socket(machine.space, socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(10)
        with machine.connect(("127.0.0.1", server.getsockname()[1])) as end:
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"x")
                end.settimeout(10)
                assert end.recv(1) == b"x"
                end.close()
                peer.settimeout(10)
                assert peer.recv(1) == b""  # closing here closes there


def test_a_refused_connection_names_the_socket(machine: NamespaceMachine) -> None:
    with pytest.raises(AgentRefused, match="alpha: /no/such/socket: cannot connect"):
        machine.connect("/no/such/socket")
    with pytest.raises(AgentRefused, match=r"127\.0\.0\.1.*Connection refused"):
        machine.connect(("127.0.0.1", 9))


def test_a_lost_connection_ends_its_streams(machine: NamespaceMachine, echo: str) -> None:
    end = machine.connect(echo)
    end.settimeout(10)
    machine.wire.close()
    assert read_all(end, 100) in (b"", b"<end>")
    machine._closed = True
