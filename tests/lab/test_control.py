"""A lab that is up can be found and used from another process, and vanishes with its own."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from harness.errors import InputError, LabError, VmError
from harness.lab.control import Answer, ControlClient, ControlServer, Say, running_labs


@pytest.fixture
def name() -> str:
    return f"test-{os.getpid()}"


def handle(verb: str, args: Mapping[str, object], say: Say) -> Answer | socket.socket:
    if verb == "echo":
        say("working on it")
        return {"text": args["text"]}
    if verb == "stream":
        ours, theirs = socket.socketpair()
        theirs.sendall(b"login: ")
        theirs.shutdown(socket.SHUT_WR)
        return ours
    raise VmError(f"{verb}: no")


@pytest.fixture
def server(name: str) -> Iterator[ControlServer]:
    server = ControlServer(name, handle)
    yield server
    server.close()


def test_a_request_is_answered_and_progress_is_heard(server: ControlServer) -> None:
    heard: list[str] = []
    with ControlClient(server.name) as client:
        assert client.ask("echo", heard.append, text="hello") == {"text": "hello"}
    assert heard == ["working on it"]


def test_an_error_keeps_its_text_and_exit_code(server: ControlServer) -> None:
    with ControlClient(server.name) as client, pytest.raises(LabError, match="kill: no") as raised:
        client.ask("kill", print)
    assert raised.value.exit_code == 3


def test_a_stream_carries_raw_bytes(server: ControlServer) -> None:
    with ControlClient(server.name) as client:
        assert client.stream("stream", print).recv(100) == b"login: "


def test_a_lab_is_listed_while_it_is_up(server: ControlServer) -> None:
    assert server.name in running_labs()
    server.close()
    assert server.name not in running_labs()


def test_two_labs_cannot_have_one_name(server: ControlServer) -> None:
    with pytest.raises(InputError, match="already up"):
        ControlServer(server.name, handle)


def test_an_absent_lab_is_named_and_the_others_are_listed(server: ControlServer) -> None:
    with pytest.raises(InputError, match="no lab called 'elsewhere'") as raised:
        ControlClient("elsewhere")
    assert server.name in raised.value.hint


@pytest.mark.parametrize("bad", ["", "a/b", "-x", "x" * 70])
def test_a_name_that_is_no_name_is_refused(bad: str) -> None:
    with pytest.raises(InputError, match="lab name"):
        ControlClient(bad)


def test_a_killed_lab_is_not_listed(name: str) -> None:
    program = (
        "import sys, time\n"
        "from harness.lab.control import ControlServer\n"
        "ControlServer(sys.argv[1], None)\n"
        "print('up', flush=True)\n"
        "time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, name + "k"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    assert name + "k" in running_labs()
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=10)
    assert name + "k" not in running_labs()
