"""What a stream may say, and everything that is refused: where, what, what to do."""

from __future__ import annotations

import pathlib
from ipaddress import ip_interface, ip_network

import pytest

from harness.case import Stream, bind, check_case, load_case
from harness.case.endpoints import VLAN_MEMBERS, first_in_one_subnet, vlan_address
from harness.case.values import parse_dscp
from harness.errors import ProblemsError
from tests.case.files import HEAD, TOPOLOGY, write
from tests.cli.places import ROOT

BOTH = TOPOLOGY.replace("10.77.0.1/24", '[10.77.0.1/24, "fd77::1/64"]').replace(
    "10.77.0.2/24}", '[10.77.0.2/24, "fd77::2/64"]}'
)
"""The topology with IPv6 addresses as well."""


def stream(folder: pathlib.Path, text: str, *, topology: str = BOTH) -> Stream:
    """The stream of a case with this one."""
    path = write(folder, f"{HEAD}traffic: {{it: {{{text}}}}}\n", topology=topology)
    return bind(load_case(path)).traffic["it"]


def refusal(folder: pathlib.Path, text: str, *, topology: str = BOTH) -> str:
    path = write(folder, f"{HEAD}traffic: {{it: {{{text}}}}}\n", topology=topology)
    with pytest.raises(ProblemsError) as caught:
        check_case(path)
    return str(caught.value).replace(f"{folder}/", "")


def test_a_stream_that_says_only_what_it_must_is_plain_and_endless(
    tmp_path: pathlib.Path,
) -> None:
    plain = stream(tmp_path, "from: client, to: g1, udp: {rate: 10/s, size: 48}")

    assert (plain.ip, plain.dscp, plain.vlan) == (None, 0, None)
    assert not plain.flow.ends_itself


def test_a_stream_can_have_a_version_a_dscp_a_vlan_and_an_end(tmp_path: pathlib.Path) -> None:
    counted = stream(
        tmp_path,
        "from: client, to: g1, ip: 6, dscp: EF, vlan: 4094, "
        "icmp-echo: {rate: 0.1/s, size: 68, count: 2}",
    )
    timed = stream(
        tmp_path, "from: g1, to: client, dscp: 63, udp: {rate: 10/s, size: 1500, duration: 10s}"
    )

    assert (counted.ip, counted.dscp, counted.vlan, counted.flow.count) == (6, 46, 4094, 2)
    assert (timed.dscp, timed.flow.duration) == (63, 10.0)
    assert counted.flow.ends_itself
    assert timed.flow.ends_itself


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CS0", 0), ("CS6", 48), ("cs7", 56), ("AF11", 10), ("AF41", 34), ("AF43", 38),
        ("EF", 46), ("VA", 44), ("LE", 1), (0, 0), (63, 63),
    ],
)  # fmt: skip
def test_a_dscp_has_the_value_that_its_rfc_gives_it(name: object, value: int) -> None:
    assert parse_dscp(name) == value


BAD = {
    "an unknown IP version": (
        "from: client, to: g1, ip: 5, udp: {rate: 1/s, size: 64}",
        ["case.yaml:3:42 traffic.it.ip: found 5", "4 or 6"],
    ),
    "a version that one end has not": (
        "from: silent, to: g1, ip: 6, udp: {rate: 1/s, size: 68}",
        ["'silent' has no address"],
    ),
    "a DSCP out of range": (
        "from: client, to: g1, dscp: 64, udp: {rate: 1/s, size: 64}",
        ["traffic.it.dscp: ", "a DSCP is a number from 0 to 63 or a name: CS0 to CS7, AF11"],
    ),
    "an unknown DSCP": (
        "from: client, to: g1, dscp: AF44, udp: {rate: 1/s, size: 64}",
        ["traffic.it.dscp: ", "'AF44'", "a DSCP is a number from 0 to 63 or a name"],
    ),
    "a DSCP that is a truth": (
        "from: client, to: g1, dscp: true, udp: {rate: 1/s, size: 64}",
        ["traffic.it.dscp: ", "a DSCP is a number from 0 to 63 or a name"],
    ),
    "a VLAN that 802.1Q keeps for itself": (
        "from: client, to: g1, vlan: 4095, udp: {rate: 1/s, size: 64}",
        ["traffic.it.vlan: ", "at most 4094"],
    ),
    "no VLAN at all": (
        "from: client, to: g1, vlan: 0, udp: {rate: 1/s, size: 64}",
        ["traffic.it.vlan: ", "at least 1"],
    ),
    "two ends": (
        "from: client, to: g1, udp: {rate: 1/s, size: 64, count: 5, duration: 5s}",
        ["traffic.it.udp: ", "a stream ends after a `count` or a `duration`, not both"],
    ),
    "a count of one, of which no rate can be told": (
        "from: client, to: g1, udp: {rate: 1/s, size: 64, count: 1}",
        ["traffic.it.udp.count: ", "at least 2"],
    ),
    "a duration without a unit": (
        "from: client, to: g1, udp: {rate: 1/s, size: 64, duration: 5}",
        ["traffic.it.udp.duration: ", "a duration is a number with a unit"],
    ),
    "a duration too short for two packets": (
        "from: client, to: g1, udp: {rate: 10/s, size: 64, duration: 150ms}",
        ["traffic.it.udp: ", "less than two packets are sent in 0.15s at 10/s"],
    ),
    "an after of a stream that ends by itself": (
        "from: client, to: g1, after: 5s, udp: {rate: 1/s, size: 64, count: 5}",
        [
            "case.yaml:3:38 traffic.it.after: the stream ends by itself, so it does not go on "
            "after the last step (leave `after` out: the run waits for the stream's end"
        ],
    ),
    "a rate that labprobe cannot keep": (
        "from: client, to: g1, udp: {rate: 0.05/s, size: 64}",
        ["traffic.it.udp.rate: ", "at least 0.1"],
    ),
    "a packet without room for its number": (
        "from: client, to: g1, udp: {rate: 1/s, size: 47}",
        [
            "case.yaml:3:61 traffic.it.udp.size: an IPv4 packet of 47 octets has no room for the "
            "number (the smallest is 48)"
        ],
    ),
    "an IPv6 packet without room for its number": (
        "from: client, to: g1, ip: 6, icmp-echo: {rate: 1/s, size: 67}",
        [
            "traffic.it.icmp-echo.size: an IPv6 packet of 67 octets has no room for the number "
            "(the smallest is 68)"
        ],
    ),
    "a packet larger than the MTU": (
        "from: client, to: g1, udp: {rate: 1/s, size: 1501}",
        [
            "traffic.it.udp.size: a packet of 1501 octets is larger than the MTU between "
            "'client' and 'g1', which is 1500 (raise the `mtu` of the network"
        ],
    ),
    "tagged echo requests to a namespace": (
        "from: g1, to: client, vlan: 5, icmp-echo: {rate: 1/s, size: 64}",
        [
            "case.yaml:3:38 traffic.it.vlan: namespace 'client' does not answer tagged echo "
            "requests: the lab gives VLAN netdevs to guests only (send the requests from 'client'"
        ],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_stream_is_told_where_and_what(name: str, tmp_path: pathlib.Path) -> None:
    text, wanted = BAD[name]

    told = refusal(tmp_path, text)

    assert len(told.splitlines()) == 1
    for part in wanted:
        assert part in told


def test_ends_without_addresses_of_the_version_are_refused_with_what_they_have(
    tmp_path: pathlib.Path,
) -> None:
    told = refusal(
        tmp_path, "from: client, to: g1, ip: 6, udp: {rate: 1/s, size: 128}", topology=TOPOLOGY
    )

    assert told.startswith(
        "case.yaml:3:38 traffic.it.ip: 'client' and 'g1' have no IPv6 addresses in one subnet in "
        "lab.yaml (client has 10.77.0.1/24; g1 has 10.77.0.2/24)"
    )


def test_ends_in_different_subnets_are_refused(tmp_path: pathlib.Path) -> None:
    told = refusal(
        tmp_path,
        "from: client, to: g1, udp: {rate: 1/s, size: 128}",
        topology=TOPOLOGY.replace("10.77.0.2/24", "10.76.0.2/24"),
    )

    assert "traffic.it: 'client' and 'g1' have no addresses in one subnet in lab.yaml" in told


def test_the_smallest_size_is_that_of_the_addresses_where_no_version_is_given(
    tmp_path: pathlib.Path,
) -> None:
    six = TOPOLOGY.replace("10.77.0.1/24", "fd77::1/64").replace("10.77.0.2/24", "fd77::2/64")

    told = refusal(tmp_path, "from: client, to: g1, udp: {rate: 1/s, size: 60}", topology=six)

    assert "an IPv6 packet of 60 octets has no room for the number" in told


def test_the_mtu_is_the_smallest_on_the_way(tmp_path: pathlib.Path) -> None:
    larger = BOTH.replace("data: {}", "data: {mtu: 9000}")
    text = "from: client, to: g1, udp: {rate: 1/s, size: 9000}"

    assert "which is 1500" in refusal(tmp_path, text, topology=larger)
    jumbo = larger.replace("failover: on,", "failover: on, mtu: 9000,")
    assert stream(tmp_path, text, topology=jumbo).flow.size == 9000
    narrow = BOTH.replace("data: {}", "data: {mtu: 1400}")
    assert "which is 1400" in refusal(tmp_path, text, topology=narrow)


def test_a_machine_is_in_a_vlan_on_one_nic_only(tmp_path: pathlib.Path) -> None:
    second = BOTH.replace(
        "  silent: {nics: {eth0: {network: data}}}",
        "  other: {nics: {eth0: {network: data, address: 10.79.0.1/24}}}",
    ).replace(
        "hostdev0:",
        "net2: {model: virtio-net-pci, bridge: br0, address: 10.79.0.2/24}\n      hostdev0:",
    )
    path = write(
        tmp_path,
        HEAD + "traffic:\n"
        "  one: {from: client, to: g1, vlan: 7, udp: {rate: 1/s, size: 64}}\n"
        "  two: {from: other, to: g1, vlan: 7, udp: {rate: 1/s, size: 64}}\n",
        topology=second,
    )

    with pytest.raises(ProblemsError) as caught:
        check_case(path)

    assert (
        "traffic.two.vlan: 'g1' would be in VLAN 7 on its NIC 'net2' here and on 'net1' in "
        "another stream (use another VLAN)"
    ) in str(caught.value)


def test_more_machines_than_a_vlan_has_addresses_for_are_refused(tmp_path: pathlib.Path) -> None:
    many = "".join(
        f"  n{number}: {{nics: {{eth0: {{network: data}}}}}}\n"
        for number in range(VLAN_MEMBERS - 2)
    )
    text = "from: client, to: g1, vlan: 7, udp: {rate: 1/s, size: 64}"

    told = refusal(tmp_path, text, topology=BOTH.replace("hosts:\n", f"{many}hosts:\n", 1))

    assert "the topology has 31 guests and namespaces; in a VLAN there are addresses for 30" in told


def test_the_vlan_that_closes_a_vfs_filter_is_refused_where_there_are_vfs(
    tmp_path: pathlib.Path,
) -> None:
    nested = (ROOT / "topologies" / "nested-vfio.yaml").read_text(encoding="utf-8")
    text = "from: client, to: g1, vlan: 4094, udp: {rate: 1/s, size: 64}"

    told = refusal(tmp_path, text, topology=nested)

    assert "traffic.it.vlan: VLAN 4094 is the one behind which the lab closes the filter" in told
    assert stream(tmp_path, text).vlan == 4094
    assert stream(tmp_path, text.replace("4094", "4093"), topology=nested).vlan == 4093


def test_the_first_addresses_in_one_subnet_are_taken_or_those_of_the_version() -> None:
    near = [ip_interface(text) for text in ("10.1.0.1/24", "10.2.0.1/24", "fd00::1/64")]
    far = [ip_interface(text) for text in ("fd00::2/64", "10.2.0.2/24")]

    assert first_in_one_subnet(near, far, None) == (1, 1)
    assert first_in_one_subnet(near, far, 6) == (2, 0)
    assert first_in_one_subnet(near[:1], far, None) is None
    assert first_in_one_subnet(near, far[:1], 4) is None


@pytest.mark.parametrize(("version", "block"), [(4, "198.18.0.0/15"), (6, "2001:2::/48")])
def test_vlans_have_subnets_of_their_own_in_the_block_for_tests(version: int, block: str) -> None:
    networks = [vlan_address(vlan, version, 1).network for vlan in range(1, 4095)]
    last = vlan_address(4094, version, VLAN_MEMBERS)

    assert len(set(networks)) == 4094
    assert all(network.subnet_of(ip_network(block)) for network in networks)  # type: ignore[arg-type]
    assert last.network == networks[-1]
    assert last.ip not in (last.network.network_address, last.network.broadcast_address)
