"""Netlink work by the agent: really made in a namespace, and really gone afterwards."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.reach.deadline import Deadline
from harness.reach.links import FdbChange
from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import NetNamespace, Sandbox
from harness.reach.wire import AgentRefused

MAC = "52:54:00:00:00:01"
ROOT = Path(__file__).parents[2]


def netdevs(sandbox: Sandbox, space: NetNamespace) -> set[str]:
    """What the kernel itself says is there (not what the agent says)."""
    process = sandbox.popen(space, ["ls", "/sys/class/net"], stdout=subprocess.PIPE)
    text, _ = process.outer.communicate(timeout=10)
    return set(text.decode().split()) - {"lo"}


@pytest.fixture
def space(sandbox: Sandbox) -> NetNamespace:
    return sandbox.namespace("alpha")


def test_a_bridge_has_no_spanning_tree_no_forward_delay_and_no_snooping(
    machine: NamespaceMachine,
) -> None:
    machine.links.create_bridge("brd", mtu=1400)  # `ip` would take the name for a keyword
    options = {
        key: machine.read_text(f"/sys/class/net/brd/bridge/{key}").strip()
        for key in ("stp_state", "forward_delay", "multicast_snooping")
    }
    assert options == {"stp_state": "0", "forward_delay": "0", "multicast_snooping": "0"}
    link = machine.links.get("brd")
    assert link is not None
    assert (link.kind, link.mtu, link.up) == ("bridge", 1400, False)


def test_a_tap_joins_a_bridge_and_comes_up(machine: NamespaceMachine) -> None:
    machine.links.create_bridge("br0")
    machine.links.create_tap("tap0")
    machine.links.set("tap0", master="br0", up=True, mac=MAC)
    link = machine.links.get("tap0")
    assert link is not None
    assert (link.kind, link.master, link.up, link.mac) == ("tun", "br0", True, MAC)
    machine.links.set("tap0", master="")
    link = machine.links.get("tap0")
    assert link is not None
    assert link.master is None


def test_a_tap_has_the_flags_that_qemu_opens_it_with(machine: NamespaceMachine) -> None:
    machine.links.create_tap("one")
    machine.links.create_tap("many", queues=4)
    flags = [
        int(machine.read_text(f"/sys/class/net/{name}/tun_flags"), 16) for name in ("one", "many")
    ]
    # TAP | NO_PI | VNET_HDR | PERSIST(0x0800), and MULTI_QUEUE; see linux/if_tun.h
    assert [flag & 0x5902 for flag in flags] == [0x5802, 0x5902]


def test_the_far_end_of_a_veth_pair_is_in_the_other_namespace(
    sandbox: Sandbox, machine: NamespaceMachine, space: NetNamespace
) -> None:
    beta = sandbox.namespace("beta")
    machine.links.create_veth("v0", "eth0", peer_pid=beta.pid_inside, peer_mac=MAC, mtu=1400)
    assert netdevs(sandbox, space) == {"v0"}
    with NamespaceMachine(sandbox, beta) as other:
        link = other.links.find(mac=MAC)
        assert (link.name, link.mtu) == ("eth0", 1400)
        other.links.add_address("eth0", "10.9.0.2/24")
        other.links.add_address("eth0", "fd00::2/64")
        other.links.set("eth0", up=True)
        machine.links.add_address("v0", "10.9.0.1/24")
        machine.links.set("v0", up=True)
        machine.links.add_neighbour("v0", "10.9.0.9", "52:54:00:00:00:09")
        assert "10.9.0.2" in other.run(["ip", "-4", "addr", "show", "eth0"]).stdout
        # usable at once: an address under duplicate address detection could not be bound
        other.run(["python3", "-c", "import socket; socket.socket(10, 2).bind(('fd00::2', 0))"])
        assert "52:54:00:00:00:09 PERMANENT" in machine.run(["ip", "neigh"]).stdout


def test_forwarding_entries_are_added_moved_and_removed(machine: NamespaceMachine) -> None:
    machine.links.create_bridge("br0")
    for name in ("tap0", "tap1"):
        machine.links.create_tap(name)
        machine.links.set(name, master="br0", up=True)
    machine.links.add_fdb("tap0", MAC)
    machine.links.add_fdb("tap1", MAC)  # the guest's traffic moved to the other port
    entries = machine.links.fdb(MAC)
    assert [(e.name, e.master, e.static) for e in entries] == [("tap1", "br0", True)]
    machine.links.delete_fdb("tap1", MAC)
    machine.links.delete_fdb("tap1", MAC)  # not there any more: no error
    assert machine.links.fdb(MAC) == ()


SEND = """
import socket, sys
frame = bytes.fromhex("ffffffffffff" + sys.argv[2].replace(":", "") + "88b5") + bytes(46)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packets:
    packets.bind((sys.argv[1], 0))
    packets.send(frame)
"""


class Changes:
    """A sink that can be waited on."""

    def __init__(self) -> None:
        self.all: list[FdbChange] = []
        self._more = threading.Condition()

    def __call__(self, change: FdbChange) -> None:
        with self._more:
            self.all.append(change)
            self._more.notify_all()

    def wait(self, count: int) -> list[tuple[str, str, str]]:
        """(change, port, former port) of each, when there are ``count``."""
        deadline = Deadline(10)
        with self._more:
            while len(self.all) < count:
                deadline.raise_if_expired("a change of a bridge's entry", str(self.all))
                self._more.wait(deadline.left)
            return [(one.change, one.port, one.former) for one in self.all]


@pytest.fixture
def bridged(machine: NamespaceMachine) -> NamespaceMachine:
    """A bridge whose ports p0 and p1 are the near ends of f0 and f1."""
    machine.links.create_bridge("br0")
    machine.links.set("br0", up=True)
    for number in "01":
        machine.links.create_veth(f"p{number}", f"f{number}")
        machine.links.set(f"p{number}", master="br0", up=True)
        machine.links.set(f"f{number}", up=True)
    return machine


def send(machine: NamespaceMachine, name: str, mac: str) -> None:
    machine.run(["python3", "-c", SEND, name, mac])


def test_a_bridge_that_learns_moves_and_forgets_an_address_is_followed(
    bridged: NamespaceMachine,
) -> None:
    changes = Changes()
    watch = bridged.links.watch_fdb([MAC.upper()], changes)
    assert watch.at_start == ()
    before = time.monotonic_ns()
    for name in ("f0", "f0", "f1", "f0"):  # again from f0 is no change
        send(bridged, name, MAC)
    assert changes.wait(3) == [("learned", "p0", ""), ("moved", "p1", "p0"), ("moved", "p0", "p1")]
    bridged.links.delete_fdb("p0", MAC)
    assert changes.wait(4)[3] == ("removed", "p0", "p0")
    after = time.monotonic_ns()
    assert {(one.mac, one.bridge, one.vlan, one.static) for one in changes.all} == {
        (MAC, "br0", 0, False)
    }
    times = [one.at.t_ns for one in changes.all]
    assert times == sorted(times)
    assert before < times[0] - changes.all[0].at.err_ns
    assert times[-1] + changes.all[-1].at.err_ns <= after


def test_only_the_addresses_that_were_asked_for_are_told(bridged: NamespaceMachine) -> None:
    other = "52:54:00:00:00:02"
    changes = Changes()
    bridged.links.watch_fdb([other], changes)
    send(bridged, "f0", MAC)
    send(bridged, "f1", other)
    assert changes.wait(1) == [("learned", "p1", "")]


def test_where_an_address_is_already_is_told_at_the_start_and_its_move_from_there(
    bridged: NamespaceMachine,
) -> None:
    send(bridged, "f0", MAC)
    changes = Changes()
    watch = bridged.links.watch_fdb([MAC], changes)
    assert [(one.name, one.mac, one.master) for one in watch.at_start] == [("p0", MAC, "br0")]
    send(bridged, "f1", MAC)
    assert changes.wait(1) == [("moved", "p1", "p0")]


def test_an_entry_goes_with_its_port(bridged: NamespaceMachine) -> None:
    changes = Changes()
    bridged.links.watch_fdb([MAC], changes)
    send(bridged, "f0", MAC)
    changes.wait(1)
    bridged.links.delete("p0")
    assert changes.wait(2)[1] == ("removed", "p0", "p0")


def test_nothing_is_told_after_a_watch_was_stopped(bridged: NamespaceMachine) -> None:
    stopped, going_on = Changes(), Changes()
    watch = bridged.links.watch_fdb([MAC], stopped)
    bridged.links.watch_fdb([MAC], going_on)
    watch.stop()
    watch.stop()
    send(bridged, "f0", MAC)
    going_on.wait(1)
    assert stopped.all == []


def test_a_machine_that_is_closed_tells_nothing_of_what_goes_with_it(
    bridged: NamespaceMachine,
) -> None:
    changes = Changes()
    bridged.links.watch_fdb([MAC], changes)
    send(bridged, "f0", MAC)
    changes.wait(1)
    bridged.close()
    assert changes.wait(1) == [("learned", "p0", "")]


def test_netem_is_set_and_cleared_or_the_kernel_is_said_to_lack_it(
    machine: NamespaceMachine,
) -> None:
    machine.links.create_bridge("br0")
    refused: AgentRefused | None = None
    try:
        machine.links.set_netem("br0", delay_s=0.01, loss=0.1, rate_bit=10_000_000)
    except AgentRefused as error:
        refused = error
    if refused:
        assert str(refused) == "alpha: netem on br0: this kernel has no netem (sch_netem)"
        assert refused.kind == "missing"
        return
    assert "netem" in machine.links.qdiscs("br0")
    machine.links.clear_netem("br0")
    machine.links.clear_netem("br0")
    assert "netem" not in machine.links.qdiscs("br0")


def test_all_is_gone_after_the_machine_was_closed(sandbox: Sandbox, space: NetNamespace) -> None:
    machine = NamespaceMachine(sandbox, space)
    machine.links.create_bridge("br0")
    machine.links.create_tap("tap0")
    machine.links.set("tap0", master="br0", up=True)
    machine.links.add_fdb("tap0", MAC)
    machine.links.create_veth("v0", "v1")
    scratch = machine.scratch
    machine.write_file(f"{scratch}/file", b"x")
    assert netdevs(sandbox, space) == {"br0", "tap0", "v0", "v1"}
    machine.close()
    assert netdevs(sandbox, space) == set()
    assert not space.path(scratch).exists()


def test_all_is_gone_after_the_connection_was_cut(sandbox: Sandbox, space: NetNamespace) -> None:
    machine = NamespaceMachine(sandbox, space)
    machine.links.create_bridge("br0")
    machine.links.create_tap("tap0")
    scratch = machine.scratch
    assert space.path(scratch).is_dir()
    machine.wire.close()  # end of input, as when the harness was killed
    assert machine.wire.join(Deadline(10))
    assert netdevs(sandbox, space) == set()
    assert not space.path(scratch).exists()


def test_deleting_early_leaves_nothing_to_undo_and_a_second_time_is_no_error(
    machine: NamespaceMachine,
) -> None:
    machine.links.create_tap("tap0")
    machine.links.delete("tap0")
    machine.links.delete("tap0")
    assert machine.links.get("tap0") is None


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda m: m.links.set("nope", up=True), "alpha: set netdev nope: no netdev 'nope'"),
        (
            lambda m: [m.links.create_bridge("br0"), m.links.create_bridge("br0")],
            "alpha: create bridge br0: File exists",
        ),
        (
            lambda m: [m.links.create_tap("t0"), m.links.create_tap("t0")],
            "alpha: create tap t0: a netdev of this name exists",
        ),
        (
            lambda m: m.links.create_tap("a-name-of-17-char"),
            "alpha: create tap a-name-of-17-char: the name is longer than 15 octets",
        ),
        (
            lambda m: m.links.set_vf_mac("lo", 0, MAC),
            f"alpha: set MAC {MAC} of VF 0 of lo: Operation not supported",
        ),
        (
            lambda m: m.links.add_address("lo", "10.0.0.300/8"),
            "alpha: address_add: ",
        ),
    ],
)
def test_a_refusal_says_which_machine_which_netdev_and_why(
    machine: NamespaceMachine, work: object, message: str
) -> None:
    with pytest.raises(AgentRefused) as caught:
        work(machine)  # type: ignore[operator]
    assert str(caught.value).startswith(message)


def test_a_failed_creation_does_not_remove_what_another_made(machine: NamespaceMachine) -> None:
    machine.run(["ip", "link", "add", "there", "type", "bridge"])
    with pytest.raises(AgentRefused, match="File exists"):
        machine.links.create_bridge("there")
    machine.close()
    # the machine is closed: ask the kernel
    assert "there" in os.listdir(machine.space.path("/sys/class/net"))


def test_an_agent_that_hears_nothing_for_its_lease_undoes_what_it_made(
    sandbox: Sandbox, space: NetNamespace
) -> None:
    machine = NamespaceMachine(sandbox, space)
    machine.greet(lease_s=0.5)
    machine.links.create_bridge("br0")
    assert machine.wire.join(Deadline(15))  # a local machine's clock sends nothing by itself
    assert netdevs(sandbox, space) == set()


def test_an_agent_loads_what_it_needs_of_pyroute2_and_no_more() -> None:
    program = (
        "import sys\n"
        "from harness.reach.agent.links import load_pyroute2\n"
        "load_pyroute2()\n"
        "from pyroute2 import IPRoute, NetlinkError\n"
        "with IPRoute() as ip:\n"
        "    print([link.get_attr('IFLA_IFNAME') for link in ip.get_links()][0])\n"
        "try:\n"
        "    with IPRoute() as ip:\n"
        "        ip.link('del', index=1 << 30)\n"
        "except NetlinkError as error:\n"
        "    print(error.code)\n"
        "print('pyroute2.ndb' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.split() == ["lo", str(errno.ENODEV), "False"], done.stderr


def test_a_pyroute2_whose_parts_do_not_come_alone_is_loaded_as_a_whole(tmp_path: Path) -> None:
    package = tmp_path / "pyroute2"
    package.mkdir()
    (package / "__init__.py").write_text("from pyroute2.parts import IPRoute, NetlinkError\n")
    (package / "parts.py").write_text("class IPRoute: pass\nclass NetlinkError(Exception): pass\n")
    program = (
        "from harness.reach.agent.links import load_pyroute2\n"
        "load_pyroute2()\n"
        "from pyroute2 import IPRoute, NetlinkError\n"
        "print(IPRoute.__module__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == "pyroute2.parts\n", done.stderr
