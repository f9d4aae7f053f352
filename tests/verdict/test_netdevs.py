"""Netdev expectations: that they can pass, fail, and not be told, at every moment."""

from __future__ import annotations

import pathlib

import pytest

from harness.observe import Fact
from harness.verdict import Finding, Outcome, judge
from tests.verdict.story import (
    MASTER,
    PRIMARY,
    PRIMARY_BACK,
    STANDBY,
    Story,
    link,
    snapshot,
    status,
)

TRIO = "{g1: {net1: {failover: net_failover, standby: virtio_net, primary: e1000e}}}"
GONE = "{g1: {net1: {failover: net_failover, standby: virtio_net, primary: absent}}}"
WHOLE = f"  netdevs:\n    start: {TRIO}\n    precopy: {GONE}\n    end: {TRIO}\n"


def finding(folder: pathlib.Path, path: str, facts: dict[str, Fact], expect: str) -> Finding:
    story = Story(folder, expect)
    story.facts = facts
    return next(one for one in judge(story.evidence()).findings if one.path == path)


def changed(folder: pathlib.Path, **by_name: Fact | None) -> dict[str, Fact]:
    facts = Story(folder, "").facts
    for name, fact in by_name.items():
        if fact is None:
            del facts[name]
        else:
            facts[name] = fact
    return facts


def test_a_good_migration_passes_at_every_moment(tmp_path: pathlib.Path) -> None:
    verdict = judge(Story(tmp_path, WHOLE).evidence())

    assert verdict.of(Outcome.FAILED) == ()
    assert verdict.of(Outcome.CANNOT_TELL) == ()
    assert verdict.outcome is Outcome.PASSED


def test_the_reason_says_what_was_found_when_and_where_it_was_expected(
    tmp_path: pathlib.Path,
) -> None:
    expect = "  netdevs: {start: {g1: {net1: {primary: igbvf}}}}\n"

    found = finding(tmp_path, "expect.netdevs.start.g1.net1.primary", changed(tmp_path), expect)

    assert found.outcome is Outcome.FAILED
    assert found.expectation == "at the start the primary of g1 net1 is igbvf"
    assert found.place == f"{tmp_path}/case.yaml:10"
    assert found.reason == (
        "g1's snapshot at +0.000s: eth1 (e1000e, 52:54:00:6f:55:cc, master eth0, up): "
        "its driver is e1000e"
    )


DOWN = STANDBY.model_copy(update={"operstate": "down"})
LOOSE = STANDBY.model_copy(update={"master": None})
OTHER_MAC = STANDBY.model_copy(update={"mac": "52:54:00:00:00:01"})
SECOND = PRIMARY.model_copy(update={"index": 9, "name": "eth9"})


@pytest.mark.parametrize(
    ("links", "role", "wanted", "reason"),
    [
        ((MASTER, STANDBY), "primary", "e1000e", "there is none; the guest has eth0"),
        ((MASTER, STANDBY, PRIMARY), "primary", "absent", "there is eth1 (e1000e"),
        ((MASTER, DOWN), "standby", "virtio_net", "it is not up (operstate down)"),
        ((MASTER, LOOSE), "standby", "virtio_net", "it is not enslaved to eth0"),
        ((LOOSE,), "standby", "virtio_net", "there is no failover netdev that could be"),
        ((MASTER, OTHER_MAC), "standby", "virtio_net", "its MAC address is not the pair's"),
        ((MASTER, PRIMARY, SECOND), "primary", "e1000e", "there are 2: eth1"),
        ((MASTER,), "failover", "absent", "there is eth0 (net_failover"),
        ((STANDBY,), "failover", "net_failover", "there is none; the guest has eth0nsby"),
        ((), "failover", "net_failover", "the guest has no netdevs"),
    ],
)
def test_a_role_that_is_wrong_fails_and_says_how(
    tmp_path: pathlib.Path, links: tuple[object, ...], role: str, wanted: str, reason: str
) -> None:
    facts = changed(tmp_path, start=snapshot(0, "start", *links))  # type: ignore[arg-type]
    expect = f"  netdevs: {{start: {{g1: {{net1: {{{role}: {wanted}}}}}}}}}\n"

    found = finding(tmp_path, f"expect.netdevs.start.g1.net1.{role}", facts, expect)

    assert found.outcome is Outcome.FAILED
    assert reason in found.reason


def test_a_driver_without_an_operstate_is_believed_by_its_carrier(tmp_path: pathlib.Path) -> None:
    vague = MASTER.model_copy(update={"operstate": "unknown", "carrier": True})
    facts = changed(tmp_path, start=snapshot(0, "start", vague, STANDBY, PRIMARY))
    expect = "  netdevs: {start: {g1: {net1: {failover: net_failover}}}}\n"

    found = finding(tmp_path, "expect.netdevs.start.g1.net1.failover", facts, expect)

    assert found.outcome is Outcome.PASSED


@pytest.mark.parametrize("moment", ["start", "end"])
def test_a_moment_nobody_looked_at_cannot_be_told(tmp_path: pathlib.Path, moment: str) -> None:
    expect = f"  netdevs: {{{moment}: {{g1: {{net1: {{primary: e1000e}}}}}}}}\n"

    found = finding(
        tmp_path,
        f"expect.netdevs.{moment}.g1.net1.primary",
        changed(tmp_path, **{moment: None}),
        expect,
    )

    assert found.outcome is Outcome.CANNOT_TELL
    assert found.reason == f"g1 was not asked for its netdevs at the {moment}"


PRECOPY = "  netdevs: {precopy: {g1: {net1: {primary: absent}}}}\n"
PRECOPY_PATH = "expect.netdevs.precopy.g1.net1.primary"
LEFT = PRIMARY.model_copy(update={"master": None, "driver": None, "operstate": "down"})


def test_a_primary_that_is_removed_after_active_fails_precopy(tmp_path: pathlib.Path) -> None:
    facts = changed(
        tmp_path, released=link(1299, "released", PRIMARY), removed=link(1300, "removed", LEFT)
    )

    found = finding(tmp_path, PRECOPY_PATH, facts, PRECOPY)

    assert found.outcome is Outcome.FAILED
    assert "there is eth1 (e1000e" in found.reason
    assert "precopy from +1.250s (source active) to +2.000s (source STOP)" in found.reason


def test_a_removal_closer_to_active_than_the_errors_cannot_be_told(
    tmp_path: pathlib.Path,
) -> None:
    facts = changed(tmp_path, removed=link(1249, "removed", LEFT, err=5))

    found = finding(tmp_path, PRECOPY_PATH, facts, PRECOPY)

    assert found.outcome is Outcome.CANNOT_TELL
    assert "closer than the errors" in found.reason


def test_a_primary_that_comes_back_before_stop_fails_precopy(tmp_path: pathlib.Path) -> None:
    facts = changed(tmp_path, added=link(1500, "added", PRIMARY_BACK))

    found = finding(tmp_path, PRECOPY_PATH, facts, PRECOPY)

    assert found.outcome is Outcome.FAILED
    assert "eth1 added at +1.500s" in found.reason


def test_a_primary_that_comes_back_about_when_the_source_stops_cannot_be_told(
    tmp_path: pathlib.Path,
) -> None:
    facts = changed(tmp_path, added=link(1999, "added", PRIMARY_BACK, err=3))

    assert finding(tmp_path, PRECOPY_PATH, facts, PRECOPY).outcome is Outcome.CANNOT_TELL


def test_without_link_events_precopy_cannot_be_told(tmp_path: pathlib.Path) -> None:
    silent = dict.fromkeys(("released", "removed", "added", "enslaved", "up"))

    found = finding(tmp_path, PRECOPY_PATH, changed(tmp_path, **silent), PRECOPY)

    assert found.outcome is Outcome.CANNOT_TELL
    assert found.reason == "g1's monitor recorded no link events"


def test_without_active_there_was_no_precopy_to_judge(tmp_path: pathlib.Path) -> None:
    found = finding(tmp_path, PRECOPY_PATH, changed(tmp_path, **{"s active": None}), PRECOPY)

    assert found.outcome is Outcome.CANNOT_TELL
    assert "never reported MIGRATION active" in found.reason


def test_without_stop_nobody_knows_when_precopy_ended(tmp_path: pathlib.Path) -> None:
    found = finding(tmp_path, PRECOPY_PATH, changed(tmp_path, stop=None), PRECOPY)

    assert found.outcome is Outcome.CANNOT_TELL
    assert "no STOP of the source was recorded" in found.reason


def test_precopy_of_a_cancelled_migration_ends_with_its_status(tmp_path: pathlib.Path) -> None:
    facts = changed(
        tmp_path,
        stop=None,
        **{"s device": None, "s completed": status(2022, "source", "cancelled")},
    )

    assert finding(tmp_path, PRECOPY_PATH, facts, PRECOPY).outcome is Outcome.PASSED


def test_a_change_during_the_start_snapshot_leaves_precopy_untold(tmp_path: pathlib.Path) -> None:
    facts = changed(tmp_path)
    moved = PRIMARY.model_copy(update={"master": None})
    facts = {"start": facts.pop("start"), "early": link(1, "released", moved, err=2), **facts}

    found = finding(tmp_path, PRECOPY_PATH, facts, PRECOPY)

    assert found.outcome is Outcome.CANNOT_TELL
    assert found.reason == "eth1 released while the start snapshot was being taken"


END = "  netdevs: {end: {g1: {net1: {primary: e1000e}}}}\n"
END_PATH = "expect.netdevs.end.g1.net1.primary"


def test_two_witnesses_that_disagree_at_the_end_cannot_be_told(tmp_path: pathlib.Path) -> None:
    lost = dict.fromkeys(("added", "enslaved", "up"))

    found = finding(tmp_path, END_PATH, changed(tmp_path, **lost), END)

    assert found.outcome is Outcome.CANNOT_TELL
    assert found.reason == (
        "two witnesses disagree at the end: the snapshot shows eth1 (e1000e, "
        "52:54:00:6f:55:cc, master eth0, up), g1's link events lead to absent; "
        "the record of one of them is incomplete"
    )


def test_two_witnesses_that_agree_on_a_missing_primary_fail(tmp_path: pathlib.Path) -> None:
    facts = changed(
        tmp_path, added=None, enslaved=None, up=None, end=snapshot(3000, "end", MASTER, STANDBY)
    )

    found = finding(tmp_path, END_PATH, facts, END)

    assert found.outcome is Outcome.FAILED
    assert "there is none; the guest has eth0 (net_failover" in found.reason


def test_a_master_that_is_renamed_keeps_its_slaves(tmp_path: pathlib.Path) -> None:
    named = MASTER.model_copy(update={"name": "net0"})
    standby, primary = (
        one.model_copy(update={"master": "net0"}) for one in (STANDBY, PRIMARY_BACK)
    )
    facts = changed(tmp_path, end=snapshot(3000, "end", named, standby, primary))
    facts["renamed"] = link(2700, "changed", named)

    assert finding(tmp_path, END_PATH, facts, END).outcome is Outcome.PASSED


LOCAL = "fe80::5054:ff:fe6f:55cc/64"
OWN = "10.77.0.2/24"
NAMED = MASTER.model_copy(update={"addresses": (OWN, LOCAL)})
LOUD = STANDBY.model_copy(update={"addresses": (LOCAL,)})
LOUD_BACK = PRIMARY_BACK.model_copy(update={"addresses": (LOCAL,)})
QUIET = "{failover: any, standby: none, primary: none}"
ADDRESSES = "".join(
    f"    {moment}: {{g1: {{net1: {{addresses: {QUIET}}}}}}}\n"
    for moment in ("start", "precopy", "end")
)
NO_ADDRESSES = "  netdevs:\n" + ADDRESSES


def addresses_path(moment: str, role: str) -> str:
    return f"expect.netdevs.{moment}.g1.net1.addresses.{role}"


def with_addresses(folder: pathlib.Path, **by_name: Fact) -> dict[str, Fact]:
    """A good migration, its master with addresses; in the order of time, as it is recorded."""
    given: dict[str, Fact] = {
        "start": snapshot(0, "start", NAMED, STANDBY, PRIMARY),
        "end": snapshot(3000, "end", NAMED, STANDBY, PRIMARY_BACK),
    }
    facts = {**Story(folder, "").facts, **given, **by_name}
    return dict(sorted(facts.items(), key=lambda item: item[1].t_ns))


def test_slaves_without_addresses_pass_at_every_moment(tmp_path: pathlib.Path) -> None:
    story = Story(tmp_path, NO_ADDRESSES)
    story.facts = with_addresses(tmp_path)

    verdict = judge(story.evidence())

    assert verdict.outcome is Outcome.PASSED
    told = {one.path: one for one in verdict.findings if ".addresses." in one.path}
    assert list(told) == [
        addresses_path(moment, role)
        for moment in ("start", "precopy", "end")
        for role in ("standby", "primary")
    ]
    at_start = told[addresses_path("start", "standby")]
    assert at_start.expectation == "at the start the standby of g1 net1 carries no address"
    assert at_start.reason.endswith("eth0nsby (virtio_net) carries no address")
    assert told[addresses_path("precopy", "primary")].reason.endswith("absent")


def test_an_address_on_a_slave_fails_at_the_start_and_is_named(tmp_path: pathlib.Path) -> None:
    facts = with_addresses(tmp_path, start=snapshot(0, "start", NAMED, LOUD, PRIMARY))

    found = finding(tmp_path, addresses_path("start", "standby"), facts, NO_ADDRESSES)

    assert found.outcome is Outcome.FAILED
    assert found.reason == (
        "g1's snapshot at +0.000s: eth0nsby (virtio_net, 52:54:00:6f:55:cc, master eth0, up) "
        f"carries {LOCAL}"
    )


def test_an_address_that_a_slave_gets_during_precopy_fails(tmp_path: pathlib.Path) -> None:
    facts = with_addresses(tmp_path, loud=link(1500, "changed", LOUD))

    found = finding(tmp_path, addresses_path("precopy", "standby"), facts, NO_ADDRESSES)

    assert found.outcome is Outcome.FAILED
    assert f"carries {LOCAL}, last link event eth0nsby changed at +1.500s" in found.reason


def test_an_address_that_comes_about_when_the_source_stops_cannot_be_told(
    tmp_path: pathlib.Path,
) -> None:
    facts = with_addresses(
        tmp_path,
        loud=link(1999, "changed", LOUD, err=3),
        quiet=link(2400, "changed", STANDBY),
    )

    found = finding(tmp_path, addresses_path("precopy", "standby"), facts, NO_ADDRESSES)

    assert found.outcome is Outcome.CANNOT_TELL
    assert "closer than the errors" in found.reason


def test_an_address_on_the_primary_that_came_back_fails_at_the_end(tmp_path: pathlib.Path) -> None:
    facts = with_addresses(
        tmp_path,
        loud=link(2700, "changed", LOUD_BACK),
        end=snapshot(3000, "end", NAMED, STANDBY, LOUD_BACK),
    )

    found = finding(tmp_path, addresses_path("end", "primary"), facts, NO_ADDRESSES)

    assert found.outcome is Outcome.FAILED
    assert f"eth1 (e1000e, 52:54:00:6f:55:cc, master eth0, up) carries {LOCAL}" in found.reason


def test_an_address_that_only_one_of_two_witnesses_saw_cannot_be_told(
    tmp_path: pathlib.Path,
) -> None:
    facts = with_addresses(tmp_path, end=snapshot(3000, "end", NAMED, STANDBY, LOUD_BACK))

    found = finding(tmp_path, addresses_path("end", "primary"), facts, NO_ADDRESSES)

    assert found.outcome is Outcome.CANNOT_TELL
    assert found.reason == (
        f"two witnesses disagree at the end: the snapshot shows eth1 (e1000e) carries {LOCAL}, "
        "g1's link events lead to eth1 (e1000e) carries no address; the record of one of them "
        "is incomplete"
    )


@pytest.mark.parametrize(
    ("links", "outcome", "reason"),
    [
        ((NAMED, STANDBY), Outcome.PASSED, f"eth0 (net_failover) carries {OWN}, {LOCAL}"),
        ((MASTER, STANDBY), Outcome.FAILED, f"up) does not carry {OWN}, {LOCAL}"),
        (
            (NAMED.model_copy(update={"addresses": (OWN, LOCAL, "10.0.0.9/8")}),),
            Outcome.FAILED,
            "up) carries 10.0.0.9/8",
        ),
        ((STANDBY,), Outcome.FAILED, "there is none; the guest has eth0nsby"),
    ],
)
def test_listed_addresses_are_all_that_a_netdev_carries(
    tmp_path: pathlib.Path, links: tuple[object, ...], outcome: Outcome, reason: str
) -> None:
    facts = changed(tmp_path, start=snapshot(0, "start", *links))  # type: ignore[arg-type]
    listed = f"addresses: {{failover: [{OWN}, 'fe80:0::5054:ff:fe6f:55cc/64']}}"
    expect = f"  netdevs: {{start: {{g1: {{net1: {{{listed}}}}}}}}}\n"

    found = finding(tmp_path, addresses_path("start", "failover"), facts, expect)

    assert found.outcome is outcome
    assert reason in found.reason
    assert found.expectation == f"at the start the failover of g1 net1 carries {OWN}, {LOCAL}"


def test_a_guest_without_the_pair_is_not_one_whose_slaves_have_no_addresses(
    tmp_path: pathlib.Path,
) -> None:
    facts = with_addresses(tmp_path, start=snapshot(0, "start"))

    found = finding(tmp_path, addresses_path("start", "standby"), facts, NO_ADDRESSES)

    assert found.outcome is Outcome.FAILED
    assert "there is none; the guest has no netdevs" in found.reason
