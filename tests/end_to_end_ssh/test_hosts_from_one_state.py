"""Hosts that were loaded from one saved state are as different as hosts that booted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import LabError
from harness.lab import Lab
from harness.lab.identity import IdentityChannel
from harness.observe import GuestStart
from harness.reach.ssh import SshMachine
from tests.end_to_end.runs import NESTED
from tests.end_to_end_ssh.standin import lab_of

pytestmark = pytest.mark.nested

HOSTS = ("alpha", "beta")
_ITS_OWN = {
    "machine id": "cat /etc/machine-id",
    "ssh host key": "cat /run/lab/host_key",
    "boot id": "cat /proc/sys/kernel/random/boot_id",
    "random numbers": "head -c 16 /dev/urandom | od -An -tx1",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two hosts, reached; no virtual function is enabled, and nobody has wired them."""
    place = tmp_path_factory.mktemp("hosts")
    with lab_of(NESTED, place, last=tuple(f"reach {host}" for host in HOSTS)) as made:
        made.up()
        yield made


def test_both_are_of_one_state(lab: Lab) -> None:
    starts = [fact for fact in lab.facts.facts if isinstance(fact, GuestStart)]
    assert sorted((start.guest, start.how) for start in starts) == [
        (host, "loaded") for host in HOSTS
    ]
    assert len({start.state for start in starts}) == 1


def test_each_has_its_own_name_and_addresses(lab: Lab) -> None:
    for name in HOSTS:
        host = lab.hosts[name]
        assert host.machine.run(["hostname"]).stdout == f"{name}\n"
        for link in host.plan.links:
            found = host.machine.links.find(mac=link.mac)
            assert found.mtu == link.mtu
            told = host.machine.run(["ip", "-o", "address", "show", "dev", found.name]).stdout
            assert all(f" {address} " in told for address in link.addresses)


@pytest.mark.parametrize("what", _ITS_OWN)
def test_nothing_secret_or_unique_is_shared(lab: Lab, what: str) -> None:
    told = {lab.hosts[host].machine.run(["sh", "-c", _ITS_OWN[what]]).stdout for host in HOSTS}
    assert len(told) == len(HOSTS)
    assert all(text.strip() for text in told)


def test_their_clocks_tell_the_time(lab: Lab) -> None:
    for host in HOSTS:
        reading = lab.hosts[host].machine.clock.sample()
        here = time.time_ns() - time.monotonic_ns() + reading.here_ns
        # Set on receipt of a line that took its time through an emulated port.
        assert abs(reading.realtime_ns - here) < 2e9 + reading.err_ns


def test_no_virtual_function_was_enabled_before_the_save(lab: Lab) -> None:
    for host in HOSTS:
        machine = lab.hosts[host].machine
        (pf,) = (x for x in machine.list_directory("/sys/bus/pci/drivers/igb") if ":" in x)
        assert machine.read_text(f"/sys/bus/pci/devices/{pf}/sriov_numvfs").strip() == "0"


def test_the_host_key_that_answers_is_the_one_that_was_made_here(lab: Lab) -> None:
    for host in HOSTS:
        machine = lab.hosts[host].machine
        assert isinstance(machine, SshMachine)
        there = machine.run(["ssh-keygen", "-y", "-f", "/run/lab/host_key"]).stdout.split()
        assert machine.target.host_key.split() == there[:2]


def test_a_host_that_cannot_become_what_it_is_told_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = IdentityChannel._ask

    def ask_for_a_stranger(self: IdentityChannel, request: dict[str, object]) -> None:
        if isinstance(nics := request.get("nics"), list):
            nics[0]["boot_mac"] = "02:00:00:00:00:77"
        told(self, request)

    monkeypatch.setattr(IdentityChannel, "_ask", ask_for_a_stranger)
    with (
        lab_of(NESTED, tmp_path, last="reach alpha") as lab,
        pytest.raises(LabError, match="NIC pf: no netdev with the MAC address 02:00:00:00:00:77"),
    ):
        lab.up()
