"""The verbs of a case in Python: what a test looks like where YAML is not enough."""

from __future__ import annotations

import pytest

from harness.case import Condition, Migrate, Plug, Unplug, Wait
from harness.pytest_plugin.lab import LabUnderTest, stream
from harness.scenario import StepFailed

pytestmark = pytest.mark.topology("topologies/flat-pair.yaml")


def test_the_guest_arrives_with_its_whole_pair(lab: LabUnderTest) -> None:
    with lab.traffic(inbound=stream("client", "g1", rate=200)) as counts:
        lab.migrate("g1", "beta")
        lab.wait_primary("g1", "net1", "up")

    # The trio, as the guest's kernel has told it.
    pair = lab.pair("g1", "net1")
    (failover,), (standby,), (primary,) = pair.failover, pair.standby, pair.primary
    assert lab.host_of("g1") == "beta"
    assert (failover.driver, standby.driver, primary.driver) == (
        "net_failover",
        "virtio_net",
        "e1000e",
    )
    assert standby.master == primary.master == failover.name
    assert failover.mac == standby.mac == primary.mac == "52:54:00:6f:55:cc"

    # The same questions to the guest itself, through testinfra.
    guest = lab.guest("g1")
    assert "10.77.0.2" in guest.interface(failover.name).addresses
    slaves = guest.check_output("ls -d /sys/class/net/%s/lower_*", failover.name).split()
    assert len(slaves) == 2
    assert counts["inbound"].lost < counts["inbound"].sent


def test_what_does_not_hold_is_told(lab: LabUnderTest) -> None:
    # The primary is there: waiting for its end has to run out of time and say so.
    with pytest.raises(StepFailed, match=r"primary of net1 absent.*last seen: up"):
        lab.wait_primary("g1", "net1", "absent", within=0.5)
    with pytest.raises(StepFailed, match="status 1, wanted 0"):
        lab.exec("client", "ip link show eth9")
    lab.exec("client", "ip link show eth0")
    assert lab.host_of("g1") == "alpha"


def test_verbs_that_have_no_method_are_done_by_their_arguments(lab: LabUnderTest) -> None:
    gone = Condition(guest="g1", primary="net1", state="absent")

    lab.do(Unplug(guest="g1", nic="hostdev0"))
    lab.do(Wait.model_validate({"for": gone, "within": "20s"}))
    assert lab.pair("g1", "net1").primary == ()

    lab.do(Plug(guest="g1", nic="hostdev0"))
    lab.wait_primary("g1", "net1", "up")


def test_a_guest_is_found_where_it_runs_before_a_step_has_concluded_its_migration(
    lab: LabUnderTest,
) -> None:
    lab.do(Migrate.model_validate({"guest": "g1", "to": "beta", "wait": False}))
    resumed = Condition.model_validate({"guest": "g1", "side": "destination", "event": "RESUME"})
    lab.do(Wait.model_validate({"for": resumed, "within": "30s"}))

    # The QEMU that it has left would not answer.
    lab.exec("g1", "true")

    completed = Condition(guest="g1", migration="completed")
    lab.do(Wait.model_validate({"for": completed, "within": "30s"}))
    assert lab.host_of("g1") == "beta"
