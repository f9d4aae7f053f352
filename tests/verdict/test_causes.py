"""Each rule: where it applies, and where it must not."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
import pytest

from harness.measure import Matched, Trace, match
from harness.observe import Fact, HostEvent
from harness.verdict.causes import (
    RULES,
    SENT_BY,
    Rule,
    address_behind_uplink,
    before_first_arrival,
    filter_open_before_driver,
    giving_up_primary,
    guest_stopped,
    idle_primary_port,
    sending_by_lost_primary,
    stale_network_port,
    stale_primary_port,
    standby_drops,
    vf_without_driver,
    windows,
)
from harness.verdict.scene import Scene, Window
from tests.verdict.story import MAC, MS, PAIR, Story, link, qmp
from tests.verdict.story import PRIMARY as P

Changes = Mapping[str, Fact | None]


def story(folder: pathlib.Path, changes: Changes) -> Story:
    made = Story(folder, "  migration: completed\n")
    facts: dict[str, Fact | None] = {**made.facts, **changes}
    made.facts = {name: fact for name, fact in facts.items() if fact is not None}
    return made


def ask(rule: Rule, folder: pathlib.Path, changes: Changes) -> tuple[Window, ...]:
    evidence = story(folder, changes).evidence()
    return rule(Scene(evidence, evidence.migrations[0], PAIR))


def host(at: float, name: str, event: str, mac: str = MAC) -> HostEvent:
    return HostEvent(t_ns=int(at * MS), host=name, event=event, data={"mac": mac})


def fdb(
    at: float, name: str, behind: str, was: str = "", *, gone: bool = False, err: float = 0
) -> HostEvent:
    """A bridge's entry: learned, moved from ``was``, or removed from ``behind``."""
    data = {"mac": MAC, "bridge": "br0", "behind": behind}
    if was:
        data |= {"from": f"port of {was}", "from_behind": was}
    event = "fdb-removed" if gone else "fdb-moved" if was else "fdb-learned"
    return HostEvent(
        t_ns=int(at * MS), err_ns=int(err * MS), host=name, event=event,
        device=f"port of {behind}", data=data,
    )  # fmt: skip


BY_PRIMARY: Changes = {"cleared": None, "a0": fdb(500, "alpha", "primary")}
"""The source's bridge has the guest's address at the primary's tap."""
SWITCHES: Changes = {**BY_PRIMARY, "a1": fdb(1100, "alpha", "standby", "primary")}
"""... and hears the guest by the standby before the guest has the primary down."""
STALE: Changes = {**BY_PRIMARY, "a1": fdb(1240, "alpha", "standby", "primary")}
"""... and after."""
NETWORK: Changes = {
    "l0": fdb(500, "lab", "alpha"),
    "l1": fdb(2030, "lab", "beta", "alpha"),
}
"""The network's bridge."""
RETURN: Changes = {
    "b0": fdb(2020, "beta", "standby"),
    "b1": fdb(2640, "beta", "primary", "standby"),
}
"""The destination's bridge hears the guest by its new primary when that has been up a while."""
REFLECTED: Changes = {
    "b0": fdb(2020, "beta", "standby"),
    "b1": fdb(2100, "beta", "uplink", "standby"),
    "b2": fdb(2150, "beta", "standby", "uplink"),
}
ANNOUNCED: Changes = {
    "b0": fdb(2020, "beta", "standby"),
    "b1": fdb(2030, "beta", "primary", "standby"),
    "b2": fdb(2080, "beta", "standby", "primary"),
}
FENCED: Changes = {"b set": host(1005, "beta", "vf-mac-set"),
                   "b closed": host(1006, "beta", "vf-filter-closed"),
                   "b opened": host(2400, "beta", "vf-filter-opened")}  # fmt: skip
UNFENCED: Changes = {
    "cleared": None,
    "a set": host(400, "alpha", "vf-mac-set"),
    "a off": host(1230, "alpha", "vf-bus-master-off"),
    "b set": host(1005, "beta", "vf-mac-set"),
    "b on": host(2450, "beta", "vf-bus-master-on"),
}
"""``filter_handoff: off``: the VFs have the address, and nothing closes their filters."""
LOST: Changes = {
    "lost": HostEvent(t_ns=1150 * MS, host="alpha", event="fdb-lost", data={"problem": "x"})
}


OPENED: Changes = {"opened": host(2400, "beta", "vf-filter-opened")}
CLEARED: Changes = {"cleared": host(1240, "alpha", "fdb-cleared")}
CLOSED: Changes = {"cleared": host(1240, "alpha", "vf-filter-closed")}

APPLIES: list[tuple[Rule, Changes, float, float, str]] = [
    (guest_stopped, {}, 2000, 2020, "sent while the guest was stopped (+2.000s to +2.020s)"),
    (
        filter_open_before_driver,
        OPENED,
        2400,
        2600,
        "sent after the VF's filter was opened (+2.400s) and before e1000e was up (+2.600s): "
        "frames went to a VF that did not receive yet",
    ),
    (
        standby_drops,
        {},
        2510,
        2600,
        "sent after the new primary was enslaved (+2.510s) and before it was up (+2.600s): the "
        "guest drops frames on the standby while a primary is registered (net_failover)",
    ),
    (
        giving_up_primary,
        {},
        1002,
        1201,
        "sent between UNPLUG_PRIMARY (+1.002s) and the primary's going down in the guest "
        "(+1.201s): the guest was giving up the primary that frames went to",
    ),
    (
        stale_primary_port,
        CLEARED,
        1201,
        1240,
        "sent between the guest's removal of its primary (+1.201s) and the lab's clearing of the "
        "bridge entry (+1.240s): frames could still go to the primary's port",
    ),
    (
        stale_primary_port,
        CLOSED,
        1201,
        1240,
        "sent between the guest's removal of its primary (+1.201s) and the closing of the VF's "
        "filter (+1.240s): frames still went to the VF that the guest had given up",
    ),
    (
        stale_primary_port,
        STALE,
        1201,
        1240,
        "sent between the guest's removal of its primary (+1.201s) and alpha's bridge br0 learned "
        "the standby's port (+1.240s): frames still went to the primary's port",
    ),
    (
        stale_primary_port,
        {**BY_PRIMARY, "a1": fdb(1240, "alpha", "primary", gone=True)},
        1201,
        1240,
        "sent between the guest's removal of its primary (+1.201s) and alpha's bridge br0 forgot "
        "that (+1.240s): frames still went to the primary's port",
    ),
    (
        giving_up_primary,
        SWITCHES,
        1002,
        1100,
        "sent between UNPLUG_PRIMARY (+1.002s) and the primary's going down in the guest "
        "(+1.201s): the guest was giving up the primary that frames went to",
    ),
    (
        standby_drops,
        {**SWITCHES, "enslaved": None},
        1100,
        1200,
        "sent after alpha's bridge br0 learned the standby's port (+1.100s) and before the guest "
        "had removed its primary (+1.200s): the guest drops frames on the standby while a primary "
        "is registered (net_failover)",
    ),
    (
        standby_drops,
        RETURN,
        2510,
        2640,
        "sent after the new primary was enslaved (+2.510s) and before beta's bridge br0 learned "
        "the primary's port (+2.640s): frames went to the standby's port, and the guest drops "
        "frames on the standby while a primary is registered (net_failover)",
    ),
    (
        stale_network_port,
        NETWORK,
        2020,
        2030,
        "sent after RESUME (+2.020s) and before the network's bridge br0 learned the guest's "
        "address at beta's port (+2.030s): frames still went to alpha's",
    ),
    (
        address_behind_uplink,
        REFLECTED,
        2100,
        2150,
        "sent while beta's bridge br0 had the guest's address behind its uplink (+2.100s to "
        "+2.150s): a bridge sends no frame back out of the port it came in by",
    ),
    (
        address_behind_uplink,
        {**REFLECTED, **FENCED, "b2": fdb(2700, "beta", "standby", "uplink")},
        2100,
        2400,
        "sent while beta's bridge br0 had the guest's address behind its uplink (+2.100s to "
        "+2.700s): a bridge sends no frame back out of the port it came in by",
    ),
    (
        idle_primary_port,
        ANNOUNCED,
        2030,
        2080,
        "sent while beta's bridge br0 had the guest's address behind the primary's port (+2.030s "
        "to +2.080s), and before e1000e was up in the guest (+2.600s)",
    ),
    (
        filter_open_before_driver,
        UNFENCED,
        2450,
        2600,
        "sent after the guest's driver had taken the VF (+2.450s) and before e1000e was up "
        "(+2.600s): frames went to a VF that did not receive yet",
    ),
    (
        vf_without_driver,
        {**UNFENCED, "b on": None},
        1201,
        2000,
        "sent after the guest had given up its primary (+1.201s; its driver let go of the VF at "
        "+1.230s) and before the guest was stopped (+2.000s): frames still went to that VF, whose "
        "filter nothing closed",
    ),
    (
        vf_without_driver,
        {**UNFENCED, "a off": None},
        2020,
        2450,
        "sent after RESUME (+2.020s) and before the guest's driver took the VF (+2.450s): frames "
        "went to that VF, whose filter nothing closed",
    ),
    (
        sending_by_lost_primary,
        SWITCHES,
        1002,
        1201,
        "sent by the guest between UNPLUG_PRIMARY (+1.002s) and the primary's going down in the "
        "guest (+1.201s), and not certainly after its first frame by the standby (+1.100s): the "
        "guest was giving up the primary that it had sent by",
    ),
]

MUST_NOT: list[tuple[Rule, Changes]] = [
    (guest_stopped, {"resume": None}),
    (guest_stopped, {"stop": None}),
    (guest_stopped, {"resume": qmp(1990, "destination", "RESUME")}),
    (filter_open_before_driver, {}),
    (filter_open_before_driver, {"opened": host(2400, "alpha", "vf-filter-opened")}),
    (filter_open_before_driver, {"opened": host(2400, "beta", "vf-filter-opened", "02::1")}),
    (filter_open_before_driver, {"opened": host(2700, "beta", "vf-filter-opened")}),
    (standby_drops, {"enslaved": None}),
    (standby_drops, {"up": None}),
    (standby_drops, {"enslaved": link(1100, "enslaved", P)}),
    (giving_up_primary, {"unplug": None}),
    (giving_up_primary, {"removed": None}),
    (stale_primary_port, {"cleared": None}),
    (stale_primary_port, {"cleared": host(1240, "beta", "fdb-cleared")}),
    (stale_primary_port, {"cleared": host(1240, "alpha", "fdb-cleared", "02::1")}),
    (stale_primary_port, {"cleared": host(1100, "alpha", "fdb-cleared")}),
    (stale_primary_port, {"cleared": host(1240, "alpha", "vf-bound")}),
    # The bridge had moved on before the primary was down: the lab's clearing explains nothing.
    (stale_primary_port, {**SWITCHES, "x": host(1240, "alpha", "fdb-cleared")}),
    # Nobody knows what the bridge did after that.
    (stale_primary_port, {**BY_PRIMARY, **LOST}),
    # Frames went to the standby all the time.
    (giving_up_primary, {"cleared": None, "a0": fdb(500, "alpha", "standby")}),
    # The bridge sent to the primary's port, where no frame is dropped for being a standby's.
    (standby_drops, ANNOUNCED | {"b2": fdb(2650, "beta", "standby", "primary")}),
    # Nothing closes the VF's filter: no frame goes to the standby.
    (standby_drops, UNFENCED),
    (standby_drops, {"enslaved": None, **STALE}),
    (standby_drops, {"enslaved": None, **SWITCHES, "removed": None, "released": None}),
    (stale_network_port, {}),
    (stale_network_port, {"l0": fdb(500, "lab", "alpha")}),
    (stale_network_port, {**NETWORK, "l1": fdb(2010, "lab", "beta", "alpha")}),
    (stale_network_port, {**NETWORK, "l1": fdb(2030, "lab", "client", "alpha")}),
    (stale_network_port, {**NETWORK, "l1": fdb(2030, "lab", "beta", "alpha", err=15)}),
    (stale_network_port, {**NETWORK, "resume": None}),
    (address_behind_uplink, {}),
    (address_behind_uplink, ANNOUNCED),
    (address_behind_uplink, {**REFLECTED, "b2": fdb(2150, "beta", "standby", "elsewhere")}),
    (address_behind_uplink, {**REFLECTED, "b2": fdb(2150, "beta", "standby", "uplink", err=60)}),
    # Where the NIC gives the frames to the VF, the bridge does not see them.
    (address_behind_uplink, {**REFLECTED, **UNFENCED}),
    (
        address_behind_uplink,
        {**REFLECTED, **FENCED, "b opened": host(2090, "beta", "vf-filter-opened")},
    ),
    (idle_primary_port, {}),
    (idle_primary_port, REFLECTED),
    (idle_primary_port, {**ANNOUNCED, "up": None}),
    (idle_primary_port, RETURN),
    # A filter that was closed once has somebody who opens it.
    (filter_open_before_driver, {**UNFENCED, "b closed": host(1006, "beta", "vf-filter-closed")}),
    (filter_open_before_driver, {**UNFENCED, "b set": None}),
    (vf_without_driver, {}),
    (vf_without_driver, {**UNFENCED, "a off": None, "b on": None}),
    (vf_without_driver, {**UNFENCED, "a set": None, "b set": None}),
    (vf_without_driver, {**UNFENCED, "stop": None, "b on": None}),
    (sending_by_lost_primary, {}),
    (sending_by_lost_primary, BY_PRIMARY),
    (sending_by_lost_primary, {**SWITCHES, "removed": None, "released": None}),
    (sending_by_lost_primary, {**BY_PRIMARY, "a1": fdb(1100, "alpha", "uplink", "primary")}),
]


@pytest.mark.parametrize(("rule", "changes", "begin", "end", "reason"), APPLIES)
def test_a_rule_gives_its_reason_between_its_facts(
    rule: Rule, changes: Changes, begin: float, end: float, reason: str, tmp_path: pathlib.Path
) -> None:
    found = ask(rule, tmp_path, changes)

    assert [(one.from_ns, one.to_ns, one.reason) for one in found] == [
        (begin * MS, end * MS, reason)
    ]


@pytest.mark.parametrize(("rule", "changes"), MUST_NOT)
def test_a_rule_whose_facts_are_missing_or_are_others_says_nothing(
    rule: Rule, changes: Changes, tmp_path: pathlib.Path
) -> None:
    assert ask(rule, tmp_path, changes) == ()


def test_every_rule_has_a_test_of_each_kind() -> None:
    rules = {*RULES, *SENT_BY}

    assert rules == {rule for rule, *_ in APPLIES} == {rule for rule, _ in MUST_NOT}


def sent(*, lost: int) -> Matched:
    seq = np.arange(10)
    trace = Trace(seq, seq * MS)
    return match(trace, Trace(seq[lost:], seq[lost:] * MS), tmax_ns=MS)


def test_what_was_sent_before_the_first_that_arrived_is_told_so() -> None:
    found = before_first_arrival(sent(lost=3))

    assert found is not None
    assert found.to_ns == 2 * MS
    assert before_first_arrival(sent(lost=0)) is None
    assert before_first_arrival(sent(lost=10)) is None


def test_packets_to_another_than_the_migrating_guest_have_no_reason(
    tmp_path: pathlib.Path,
) -> None:
    evidence = story(tmp_path, {}).evidence()

    assert windows(evidence, "client", "server", sent(lost=0)) == ()
    assert {one.rule for one in windows(evidence, "client", "g1", sent(lost=0))} == {
        "guest-stopped",
        "standby-drops",
        "giving-up-primary",
        "stale-primary-port",
    }


def test_what_the_guest_sends_has_reasons_of_its_own(tmp_path: pathlib.Path) -> None:
    evidence = story(tmp_path, SWITCHES).evidence()

    found = windows(evidence, "g1", "client", sent(lost=0))

    assert [one.rule for one in found] == ["sending-by-lost-primary"]
    assert found[0].begun_by_ns == 1100 * MS


def test_an_address_that_goes_to_and_fro_gives_a_window_for_each_time(
    tmp_path: pathlib.Path,
) -> None:
    again = {"b3": fdb(2200, "beta", "primary", "standby"),
             "b4": fdb(2260, "beta", "standby", "primary")}  # fmt: skip

    found = ask(idle_primary_port, tmp_path, {**ANNOUNCED, **again})

    assert [(one.from_ns // MS, one.to_ns // MS) for one in found] == [(2030, 2080), (2200, 2260)]


def test_entries_are_ordered_by_the_record_where_their_errors_overlap(
    tmp_path: pathlib.Path,
) -> None:
    """Both moves were announced by one kernel, the later one after the earlier."""
    changes = {
        **REFLECTED,
        "b1": fdb(2100, "beta", "uplink", "standby", err=5),
        "b2": fdb(2099, "beta", "standby", "uplink", err=5),
        "b3": fdb(2120, "beta", "uplink", "standby", err=5),
        "b4": fdb(2160, "beta", "standby", "uplink", err=5),
    }

    found = ask(address_behind_uplink, tmp_path, changes)

    assert [(one.from_ns // MS, one.to_ns // MS) for one in found] == [(2125, 2155)]


DETACHED: Changes = {
    "unplug": None,
    "s wait-unplug": None,
    "detach": HostEvent(
        t_ns=1100 * MS, host="alpha", event="detach-requested", guest="g1", device="hostdev0"
    ),
}
"""A management layer asks the guest, and not QEMU."""


def test_a_management_layer_that_asks_counts_as_qemu_does(tmp_path: pathlib.Path) -> None:
    (window,) = ask(giving_up_primary, tmp_path, DETACHED)

    assert (window.from_ns, window.reason.split(" (")[0]) == (
        1100 * MS,
        "sent between the request to detach it",
    )


def test_a_vf_that_keeps_the_address_until_it_is_cleared_takes_frames_until_then(
    tmp_path: pathlib.Path,
) -> None:
    changes = {
        **DETACHED,
        "mac": host(100, "alpha", "vf-mac-set"),
        "off": host(1205, "alpha", "vf-bus-master-off"),
        "cleared": host(1400, "alpha", "vf-mac-cleared"),
    }
    (window,) = ask(vf_without_driver, tmp_path, changes)

    assert (window.from_ns, window.to_ns) == (1201 * MS, 1400 * MS)
    assert "before the VF's MAC address was cleared" in window.reason
    assert not ask(vf_without_driver, tmp_path, {**changes, "off": None})


def test_a_vf_that_is_given_the_address_after_resume_takes_no_frames_before(
    tmp_path: pathlib.Path,
) -> None:
    changes = {
        "given": host(2300, "beta", "vf-mac-set"),
        "on": host(2450, "beta", "vf-bus-master-on"),
    }
    (window,) = ask(vf_without_driver, tmp_path, changes)

    assert (window.from_ns, window.to_ns) == (2300 * MS, 2450 * MS)
    assert "the VF was given the guest's address" in window.reason
