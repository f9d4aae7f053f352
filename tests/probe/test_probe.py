"""Questions to a real namespace, and answers that make no sense."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.errors import CommandFailed, ReachError
from harness.observe.record import now_ns
from harness.probe import host_of, read_netdevs, snapshot
from tests.traffic.namespaces import Side, veth_pair


@dataclass
class Done:
    status: int
    stdout: str
    stderr: str


@dataclass
class NamespaceMachine:
    """Runs commands in a namespace with its own sysfs, and counts them."""

    side: Side
    name: str = "ns"
    path: str = "/usr/sbin:/usr/bin:/sbin:/bin"
    asked: list[Sequence[str]] = field(default_factory=list)

    def run(self, argv: Sequence[str], *, timeout: float = 20.0, check: bool = True) -> Done:
        self.asked.append(argv)
        inside = 'mount -t sysfs sysfs /sys && exec "$@"'
        done = subprocess.run(
            self.side.enter(
                ["unshare", "-m", "sh", "-c", inside, "sh", "env", f"PATH={self.path}", *argv]
            ),
            capture_output=True, text=True, timeout=timeout, check=check,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)


@dataclass
class Saying:
    """A machine that answers the same to everything."""

    done: Done
    name: str = "odd"

    def run(self, argv: Sequence[str], *, timeout: float = 1, check: bool = True) -> Done:
        return self.done


@pytest.fixture
def machine() -> Iterator[NamespaceMachine]:
    with veth_pair() as (left, _):
        yield NamespaceMachine(left)


def test_every_netdev_is_read_in_one_round_trip(machine: NamespaceMachine) -> None:
    machine.side.ip("link add br0 type bridge")
    machine.side.ip("link set va master br0")
    links = {link.name: link for link in read_netdevs(machine)}
    assert len(machine.asked) == 1
    assert list(links) == ["lo", "va", "br0"]
    va = links["va"]
    assert (va.mac, va.master, va.operstate) == ("02:00:00:00:00:01", "br0", "up")
    assert (va.carrier, va.mtu, va.addresses[0]) == (True, 1500, "10.9.0.1/24")
    assert links["br0"].operstate == "down"
    assert links["br0"].carrier is None


def test_the_driver_is_what_ethtool_says(machine: NamespaceMachine) -> None:
    machine.side.ip("link add br0 type bridge")
    drivers = {link.name: link.driver for link in read_netdevs(machine)}
    assert drivers == {"lo": None, "va": "veth", "br0": "bridge"}


def test_without_ethtool_a_failover_master_is_told_by_its_lower_netdevs(
    machine: NamespaceMachine, tmp_path: Path
) -> None:
    # no failover pair here: the script runs on a tree like the one that a guest has
    tree = tmp_path / "net"
    driver = tmp_path / "drivers" / "virtio_net"
    driver.mkdir(parents=True)
    for name in ("eth0", "eth1"):
        (tree / name / "device").mkdir(parents=True)
        (tree / name / "device" / "driver").symlink_to(driver)
    (tree / "eth0" / "lower_eth1").symlink_to(tree / "eth1")
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "ip", "sed", "readlink", "env"):
        found = subprocess.run(["which", tool], capture_output=True, text=True, check=True)
        (tools / tool).symlink_to(found.stdout.strip())
    machine.path = str(tools)
    machine.side.ip("link set va name eth0")
    machine.side.ip("link add eth1 type bridge")

    class OtherTree(NamespaceMachine):
        def run(self, argv: Sequence[str], *, timeout: float = 20, check: bool = True) -> Done:
            moved = [word.replace("/sys/class/net", str(tree)) for word in argv]
            return super().run(moved, timeout=timeout, check=check)

    other = OtherTree(machine.side, path=str(tools))
    drivers = {link.name: link.driver for link in read_netdevs(other)}
    assert drivers == {"lo": None, "eth0": "net_failover", "eth1": "virtio_net"}


def test_a_snapshot_lies_between_the_question_and_the_answer(machine: NamespaceMachine) -> None:
    before = now_ns()
    fact = snapshot(machine, "g1", "start")
    after = now_ns()
    assert (fact.guest, fact.moment) == ("g1", "start")
    assert before <= fact.t_ns - fact.err_ns + 1
    assert fact.t_ns + fact.err_ns <= after + 1
    assert [link.name for link in fact.links] == ["lo", "va"]


def test_a_user_asks_testinfra_for_an_interface(machine: NamespaceMachine) -> None:
    host = host_of(machine)
    assert host.interface("va").exists
    assert not host.interface("vz").exists
    assert "10.9.0.1" in host.interface("va").addresses
    assert host.run("exit 3").rc == 3
    assert host.run("printf %s", "a b").stdout == "a b"


def test_a_machine_without_iproute2_says_so(machine: NamespaceMachine, tmp_path: Path) -> None:
    for tool in ("sh", "env"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    machine.path = str(tmp_path)
    with pytest.raises(CommandFailed, match="ns: the netdevs cannot be read") as caught:
        read_netdevs(machine)
    assert "ip" in " ".join(caught.value.evidence)


@pytest.mark.parametrize("said", ["", "hello\n", "[{}, 5]\n", '[{"ifname": "eth0"}]\n', "{}\n5"])
def test_an_answer_that_is_no_list_of_netdevs_is_an_error(said: str) -> None:
    with pytest.raises(ReachError, match="odd: the netdevs cannot be read"):
        read_netdevs(Saying(Done(0, said, "")))
