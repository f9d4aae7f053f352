"""SshMachine against a real sshd on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import pytest

from harness.errors import CommandFailed, DeadlineExceeded, InputError, ReachError
from harness.reach.deadline import Deadline
from harness.reach.sandbox import Sandbox
from harness.reach.ssh import SshMachine, SshTarget

pytestmark = pytest.mark.skipif(
    shutil.which("sshd") is None, reason="sshd is not installed (package openssh-server)"
)


def make_key(path: Path) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=20
    )
    return path


@dataclass(frozen=True)
class Sshd:
    target: SshTarget
    host_key: Path
    argv: tuple[str, ...]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Sshd:
    """An sshd's configuration and keys; nothing runs yet."""
    place = tmp_path_factory.mktemp("sshd")
    host_key, key = make_key(place / "host"), make_key(place / "key")
    allowed = place / "authorized_keys"
    allowed.write_text((place / "key.pub").read_text())
    allowed.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (place / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nPidFile none\n"
        f"AuthorizedKeysFile {allowed}\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    sshd = shutil.which("sshd") or ""
    argv = (sshd, "-D", "-e", "-f", str(place / "config"))
    return Sshd(SshTarget("127.0.0.1", key, port=port), host_key, argv)


@pytest.fixture(scope="module")
def sshd(config: Sshd) -> Iterator[Sshd]:
    process = subprocess.Popen(config.argv, stderr=subprocess.DEVNULL)
    yield config
    process.terminate()
    process.wait(10)


@pytest.fixture
def machine(sshd: Sshd) -> Iterator[SshMachine]:
    with SshMachine("real", sshd.target, Deadline(20)) as made:
        yield made


def test_commands_processes_files_and_streams_work_over_ssh(
    machine: SshMachine, tmp_path: Path
) -> None:
    assert machine.run(["cat"], input=b"in").stdout == "in"
    with pytest.raises(CommandFailed, match="real: `false` ended with status 1"):
        machine.run(["false"])

    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(bytes(range(256)) * 1000)
    source.chmod(0o750)
    machine.put(source, f"{machine.scratch}/copy")
    machine.get(f"{machine.scratch}/copy", back)
    assert back.read_bytes() == source.read_bytes()
    status = machine.status(f"{machine.scratch}/copy")
    assert status is not None
    assert status.mode & 0o777 == 0o750

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        with machine.connect(("127.0.0.1", server.getsockname()[1])) as end:
            peer, _ = server.accept()
            with peer:
                end.sendall(b"through ssh")
                peer.settimeout(10)
                assert peer.recv(100) == b"through ssh"

    process = machine.spawn(["sleep", "60"], log=f"{machine.scratch}/log")
    process.signal(9)
    assert process.wait(Deadline(10)) == -9


def test_what_was_made_is_gone_after_close(sshd: Sshd) -> None:
    machine = SshMachine("real", sshd.target, Deadline(20))
    scratch = Path(machine.scratch)
    (scratch / "file").write_text("x")
    process = machine.spawn(["sleep", "600"], log=f"{scratch}/log")
    machine.close()
    assert not scratch.exists()
    assert not Path(f"/proc/{process.pid}").exists()


def test_what_was_made_is_gone_after_the_connection_was_cut(sshd: Sshd) -> None:
    machine = SshMachine("real", sshd.target, Deadline(20))
    scratch = Path(machine.scratch)
    process = machine.spawn(["sleep", "600"], log=f"{scratch}/log")
    transport = machine._client.get_transport()
    assert transport is not None
    transport.sock.close()  # the cable is pulled
    deadline = Deadline(20)
    pause = threading.Event()
    while scratch.exists() or Path(f"/proc/{process.pid}").exists():
        deadline.raise_if_expired("the agent's own clean-up")
        pause.wait(0.05)
    with pytest.raises(ReachError, match="real: the connection to its agent was lost"):
        machine.run(["true"])


def test_the_clock_of_the_machine_maps_to_ours_within_its_stated_error(
    machine: SshMachine,
) -> None:
    stamp = machine.clock.stamp("realtime", time.time_ns())
    assert abs(stamp.t_ns - time.monotonic_ns()) <= stamp.err_ns + 5_000_000
    assert 0 < stamp.err_ns < 1_000_000_000


def test_a_wrong_key_fails_at_once_and_says_what_to_do(sshd: Sshd, tmp_path: Path) -> None:
    stranger = replace(sshd.target, key=make_key(tmp_path / "stranger"))
    before = time.monotonic()
    with pytest.raises(ReachError, match="refuses the key") as caught:
        SshMachine("real", stranger, Deadline(60))
    assert time.monotonic() - before < 20
    assert "authorized_keys" in caught.value.hint


def test_a_key_that_is_missing_or_no_key_is_an_input_error(sshd: Sshd, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"real: the ssh key .*missing does not exist"):
        SshMachine("real", replace(sshd.target, key=tmp_path / "missing"), Deadline(5))
    (tmp_path / "text").write_text("not a key")
    with pytest.raises(InputError, match=r"real: the ssh key .*text cannot be used"):
        SshMachine("real", replace(sshd.target, key=tmp_path / "text"), Deadline(5))


def test_a_known_host_key_is_checked(sshd: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    checked = replace(sshd.target, known_hosts=known)
    entry = f"[127.0.0.1]:{sshd.target.port} "

    known.write_text("")
    with pytest.raises(ReachError, match=r"host key of .* is not in "):
        SshMachine("real", checked, Deadline(5))

    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    known.write_text(entry + other)
    with pytest.raises(ReachError, match="shows another host key"):
        SshMachine("real", checked, Deadline(5))

    known.write_text(entry + sshd.host_key.with_suffix(".pub").read_text())
    SshMachine("real", checked, Deadline(20)).close()


def test_a_host_key_that_is_given_is_checked(sshd: Sshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    with pytest.raises(ReachError, match="another host key than the one that it was given"):
        SshMachine("real", replace(sshd.target, host_key=other.strip()), Deadline(5))

    known = sshd.host_key.with_suffix(".pub").read_text()
    SshMachine("real", replace(sshd.target, host_key=known.strip()), Deadline(20)).close()


def test_a_machine_that_still_boots_is_waited_for(config: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    argv = [*config.argv, "-p", str(port)]
    started: list[subprocess.Popen[bytes]] = []
    timer = threading.Timer(
        1.0, lambda: started.append(subprocess.Popen(argv, stderr=subprocess.DEVNULL))
    )
    timer.start()
    try:
        SshMachine("late", replace(config.target, port=port), Deadline(20)).close()
    finally:
        timer.join()
        for process in started:
            process.terminate()
            process.wait(10)


def test_a_machine_that_never_answers_ends_in_a_deadline(config: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(DeadlineExceeded, match=r"real: ssh to root@127\.0\.0\.1:\d+: not within"):
        SshMachine("real", replace(config.target, port=port), Deadline(0.5))


def test_the_connection_can_be_dialled_from_within_a_namespace(config: Sshd) -> None:
    with Sandbox("test") as sandbox:
        space = sandbox.namespace("alpha")
        sandbox.popen(space, list(config.argv), stderr=subprocess.DEVNULL)

        def dial(seconds: float) -> socket.socket:
            made = sandbox.socket(space, socket.AF_INET, socket.SOCK_STREAM)
            made.settimeout(seconds)
            made.connect(("127.0.0.1", config.target.port))
            return made

        with SshMachine("inside", replace(config.target, dial=dial), Deadline(20)) as machine:
            assert machine.list_directory("/sys/class/net") == ("lo",)
            # the python3 there may lack pyroute2: then ours was sent along
            machine.links.create_bridge("br0")
            assert machine.links.get("br0") is not None


def test_files_travel_as_root_and_say_why_they_cannot(machine: SshMachine, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("text")
    with pytest.raises(CommandFailed, match=r"real: .*ended with status [12]") as caught:
        machine.put(source, f"{machine.scratch}/no/such/directory")
    assert "no/such/directory" in caught.value.evidence[-1]
    with pytest.raises(CommandFailed, match=r"real: `cat -- /no/such/file` ended with status 1"):
        machine.get("/no/such/file", tmp_path / "back")


def test_a_command_that_is_fed_may_end_before_its_input(machine: SshMachine) -> None:
    def endless(into: IO[bytes]) -> None:
        while True:
            into.write(bytes(1 << 16))

    limit = Deadline(20)
    with pytest.raises(CommandFailed, match="ended with status 3") as caught:
        machine.pour(["sh", "-c", "head -c 1000 > /dev/null; echo full >&2; exit 3"], endless)
    assert caught.value.evidence == ("full",)
    assert not limit.expired


def test_a_machine_that_is_up_is_asked_once(config: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    limit = Deadline(5)
    with pytest.raises(ReachError, match=r"real: no ssh connection to root@127\.0\.0\.1:\d+: "):
        SshMachine("real", replace(config.target, port=port), Deadline(60), booting=False)
    assert not limit.expired


def test_a_connection_that_ends_is_told_by_our_errors_alone(
    sshd: Sshd, capfd: pytest.CaptureFixture[str]
) -> None:
    # a process of its own: pytest's handlers would take what is logged
    program = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from harness.errors import ReachError\n"
        "from harness.reach.deadline import Deadline\n"
        "from harness.reach.ssh import SshMachine, SshTarget\n"
        "target = SshTarget('127.0.0.1', Path(sys.argv[1]), port=int(sys.argv[2]))\n"
        "machine = SshMachine('real', target, Deadline(20))\n"
        "machine._client.get_transport().sock.close()\n"
        "try:\n"
        "    machine.run(['true'])\n"
        "except ReachError:\n"
        "    machine.wire.join(Deadline(5))\n"
        "    print('told')\n"
    )
    argv = [sys.executable, "-c", program, str(sshd.target.key), str(sshd.target.port)]
    subprocess.run(argv, check=True, timeout=30)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("told\n", "")
