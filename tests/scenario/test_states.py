"""What a guest's netdevs say about a pair, as the verbs read them."""

import pytest

from harness.observe import VLAN_DRIVER, LinkState
from harness.scenario.verbs import pair_state
from harness.scenario.waiting import role_state

MAC = "52:54:00:6f:55:cc"


def link(index: int, name: str, driver: str, **rest: object) -> LinkState:
    given = {"mac": MAC, "operstate": "up", "carrier": True, "master": "eth0", **rest}
    return LinkState(index=index, name=name, driver=driver, **given)  # type: ignore[arg-type]


MASTER = link(2, "eth0", "net_failover", master=None)
STANDBY = link(3, "eth1", "virtio_net")
PRIMARY = link(4, "eth2", "igbvf")


def test_a_pair_with_all_three_netdevs_up_is_complete() -> None:
    assert role_state([MASTER, STANDBY, PRIMARY], MAC, "primary") == "up"
    assert pair_state([MASTER, STANDBY, PRIMARY], MAC) == "complete"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"operstate": "down"}, "present"),
        ({"carrier": False}, "down"),
        ({"master": None}, "present"),
        ({"mac": "52:54:00:00:00:01"}, "absent"),
    ],
)
def test_a_primary_counts_as_up_only_when_it_carries_traffic(
    changes: dict[str, object], state: str
) -> None:
    primary = PRIMARY.model_copy(update=changes)
    assert role_state([MASTER, STANDBY, primary], MAC, "primary") == state
    assert pair_state([MASTER, STANDBY, primary], MAC) != "complete"


def test_neither_master_nor_standby_is_taken_for_the_primary() -> None:
    assert role_state([MASTER, STANDBY], MAC, "primary") == "absent"


def test_each_role_is_told_by_its_own_netdev() -> None:
    links = [MASTER.model_copy(update={"operstate": "down", "carrier": False}), STANDBY]
    assert role_state(links, MAC, "failover") == "down"
    assert role_state(links, MAC, "standby") == "up"
    assert role_state(links, MAC, "primary") == "absent"


def test_a_vlan_on_top_of_the_pair_is_none_of_its_netdevs() -> None:
    vlan = link(5, "vlan100", VLAN_DRIVER, master=None)
    assert role_state([MASTER, STANDBY, vlan], MAC, "primary") == "absent"
    assert pair_state([MASTER, STANDBY, PRIMARY, vlan], MAC) == "complete"


def test_a_pair_whose_master_is_down_is_not_complete_and_says_which() -> None:
    master = MASTER.model_copy(update={"operstate": "down"})
    assert pair_state([master, STANDBY, PRIMARY], MAC) == (
        "eth0 net_failover down, eth1 virtio_net up, eth2 igbvf up"
    )


def test_a_guest_without_the_netdevs_says_so() -> None:
    assert pair_state([], MAC) == "no netdev"
