"""Each case of the catalogue fails where what it claims is not so.

The first of each group runs with every lab test, the others where slow tests are asked for.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.case.catalogue import GROUPS
from harness.cli import main
from tests.catalogue.controls import Control, broken, cases_of, must_fail, on, with_marks

NESTED = ("removal-surprise",)
UNPLUG = "unplug: {guest: g1, nic: hostdev0}"

CONTROLS = (
    Control(
        "trio-at-start",
        "expect.netdevs.start.g1.net1.failover",
        edits=(on("flat-pair", "flat-legacy"),),
    ),
    Control(
        "two-pairs",
        "expect.netdevs.start.g1.net2.primary",
        topology=(("failover_pair_id: net2}", "failover_pair_id: net2, plugged: off}"),),
    ),
    Control(
        "mtu-on-the-master",
        "steps[1]",
        edits=(("ip link set eth0 mtu 1400;", "ip link set eth1 mtu 1400; echo 1400;"),),
    ),
    Control(
        "mtu-that-the-primary-refuses",
        "steps[3]",
        edits=(("mtu 16000", "mtu 1400"),),
    ),
    Control(
        "counters-across-the-switch",
        "steps[3]",
        edits=(("/sys/class/net/eth0/", "/sys/class/net/eth1/"),),
    ),
    Control(
        "counters-of-the-standby",
        "steps[4]",
        edits=(("/sys/class/net/eth0/", "/sys/class/net/lo/"),),
    ),
    Control("master-set-down-and-up", "steps[1]", edits=(("eth0 down", "eth0 up"),)),
    Control("speed-of-the-primary", "steps[0]", edits=(("eth0/speed", "eth1/speed"),)),
    Control(
        "macvlan-on-the-master",
        "steps[1]",
        edits=(("ip link set up0 up", "ip link set up0 address 52:54:00:6f:00:00"),),
    ),
    Control(
        "refused-not-a-nic",
        "steps[0]",
        topology=(("model: virtio-rng-pci,", "model: e1000e, bridge: br0,"),),
    ),
    Control("refused-not-pcie", "steps[0]", topology=(("machine: pc", ""), (", bus: pci.0", ""))),
    Control("refused-one-slot", "steps[0]", topology=((", bus: rp1,", ","),)),
    Control(
        "refused-two-primaries",
        "steps[0]",
        topology=(("      hostdev1: {model: e1000e, bridge: br0, failover_pair_id: net1}\n", ""),),
    ),
    Control(
        "dangling-pair-id",
        "steps[0]",
        topology=(('mac: "52:54:00:6f:55:dd", failover_pair_id: net2', "failover_pair_id: net1"),),
    ),
    Control(
        "pair-without-a-mac",
        "steps[1]",
        topology=(
            ("net1: {model", 'net1: {mac: "52:54:00:12:34:56", model'),
            ("hostdev0: {model", 'hostdev0: {mac: "52:54:00:12:34:56", model'),
        ),
    ),
    Control(
        "hotplug-standby-first",
        "steps[1]",
        edits=(
            ("  - plug: {guest: g1, nic: net1}\n", "  - plug: {guest: g1, nic: hostdev0}\n"),
            ("Primary device not found}, within: 20s", "Primary device not found}, within: 2s"),
        ),
    ),
    Control(
        "hotplug-primary-first",
        "steps[1]",
        edits=(("  - plug: {guest: g1, nic: hostdev0}\n", "  - plug: {guest: g1, nic: net1}\n"),),
    ),
    Control(
        "hotplug-primary-again-and-again",
        "expect.leaks.g1",
        edits=(
            ("times: 20", "times: 1"),
            ("        - plug: {guest: g1, nic: hostdev0}\n", ""),
            ("primary: net1, state: up", "primary: net1, state: absent"),
        ),
    ),
    Control(
        "hotplug-standby-again",
        "steps[4]",
        edits=(("  - plug: {guest: g1, nic: net1}\n", "  - pause: 1s\n"),),
    ),
    Control(
        "hotplug-refused-then-again",
        "steps[0]",
        edits=(("refused: \"Duplicate device ID 'hostdev0'\"", "refused: in use"),),
    ),
    Control("legacy-guest", "steps[0]", edits=(on("flat-legacy", "flat-pair"),)),
    Control(
        "late-driver",
        "steps[2]",
        edits=(("command: modprobe virtio_net", "command: 'true'"),),
    ),
    Control(
        "reboot-into-legacy",
        "steps[3]",
        edits=(
            ("  - exec: {machine: g1, command: modprobe virtio_net}\n", ""),
            (
                "  - wait: {for: {guest: g1, primary: net1, state: present}, within: 20s}\n",
                "",
            ),
            ("  - reset: {guest: g1}\n", "  - pause: 1s\n  - reset: {guest: g1}\n"),
        ),
    ),
    Control(
        "reboot",
        "steps[1]",
        topology=(("    memory", "    kernel_args: [module_blacklist=net_failover]\n    memory"),),
        edits=(("device: net1}, within: 60s", "device: net1}, within: 5s"),),
    ),
    Control(
        "rebind-virtio-net",
        "steps[3]",
        edits=(('"cat /run/was > /sys/bus/virtio/drivers/virtio_net/bind"', "'true'"),),
    ),
    Control(
        "reset-then-migrate",
        "expect.order[0]",
        edits=(
            ("  - migrate:", "  - unplug: {guest: g1, nic: hostdev0}\n  - migrate:"),
            ("within: 60s}\nexpect", "within: 2s}\nexpect"),
        ),
    ),
    Control(
        "rescan-during-precopy",
        "expect.order[1]",
        edits=(("[source STOP, guest primary added]", "[guest primary added, source STOP]"),),
    ),
    Control("slaves-renamed", "steps[0]", edits=(("name was-$n", "name eth0"),)),
    Control(
        "link-of-the-standby-lost",
        "expect.streams.inbound.lost",
        edits=(("nic: net1", "nic: hostdev0"), ("standby: net1, state", "primary: net1, state")),
    ),
    Control(
        "link-of-the-primary-lost",
        "steps[5]",
        edits=(
            ("set-link: {guest: g1, nic: hostdev0, up: false}", UNPLUG),
            ("primary: net1, state: down", "primary: net1, state: absent"),
        ),
    ),
    Control(
        "links-of-both-lost",
        "steps[5]",
        edits=(
            ("nic: net1, up: false", "nic: net1, up: true"),
            ("standby: net1, state: down", "standby: net1, state: up"),
        ),
    ),
    Control(
        "links-of-both-lost",
        "steps[6]",
        # A guest that sends nothing at all gives its kernel nothing to complain of.
        edits=(
            (
                "(timeout 30 ping -i 0.01 10.77.0.1 > /dev/null 2>&1 &); true",
                "sysctl -w net.ipv6.conf.all.disable_ipv6=1",
            ),
        ),
    ),
    Control(
        "link-flaps",
        "steps[1]",
        edits=(
            ("times: 50", "times: 1"),
            ("nic: hostdev0, up: true", "nic: hostdev0, up: false"),
            ("primary: net1, state: up", "primary: net1, state: down"),
        ),
    ),
    Control("removal-ordered", "steps[1]", edits=(on("flat-native-hotplug", "flat-pair"),)),
    Control("removal-by-acpi", "steps[1]", edits=(on("flat-pair", "flat-native-hotplug"),)),
    Control(
        "no-addresses-on-slaves",
        "expect.netdevs.precopy.g1.net1.addresses.standby",
        edits=(
            (
                "steps:\n",
                "steps:\n  - exec: {machine: g1, command: ip address add fe80::1/64 dev eth1}\n",
            ),
        ),
    ),
    Control(
        "json-syntax-migrates",
        "expect.order[0]",
        edits=(
            ("  - migrate", f"  - {UNPLUG}\n  - migrate"),
            ("state: up}, within: 60s", "state: up}, within: 2s"),
        ),
    ),
    Control("tap-down-behind-the-primary", "steps[2]", edits=(("nic: hostdev0", "nic: net1"),)),
    Control("cable-of-the-host-lost", "steps[2]", edits=(("host: alpha", "host: beta"),)),
    Control(
        "streams-of-every-kind",
        "expect.streams.*.lost",
        edits=(
            ("steps:\n", "steps:\n  - set-host-link: {host: beta, nic: pf, up: off}\n"),
            ("state: up}, within: 60s}\n", "state: up}, within: 60s}\n  - pause: 20s\n"),
        ),
    ),
    Control(
        "reset-during-wait-unplug",
        "steps[4]",
        edits=(
            ("  - reset: {guest: g1, wait: no}\n", "  - pause: 1s\n"),
            ("migration: completed}, within: 60s", "migration: completed}, within: 5s"),
        ),
    ),
    Control(
        "removal-surprise",
        "steps[1]",
        edits=(
            ("take-away: {guest: g1, nic: hostdev0, within: 60s}", "pause: 1s"),
            ("state: absent}, within: 60s", "state: absent}, within: 5s"),
        ),
    ),
    Control("removal-ignored", "steps[1]", edits=(("echo $d > unbind;", ""),)),
)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda one: one.case)
def test_a_negative_control_is_a_case_that_can_be_run(control: Control, tmp_path: Path) -> None:
    assert main(["check", str(broken(control, tmp_path))]) == 0


@pytest.mark.parametrize("control", list(with_marks(CONTROLS, NESTED)))
def test_a_case_fails_where_its_claim_is_not_so(control: Control, tmp_path: Path) -> None:
    must_fail(control, tmp_path)


def test_every_case_of_these_groups_has_a_negative_control() -> None:
    mine = ("startup", "restrictions", "hotplug", "guests", "links", "removal")
    assert set(mine) <= set(GROUPS)
    assert {control.case for control in CONTROLS} == cases_of(mine)
