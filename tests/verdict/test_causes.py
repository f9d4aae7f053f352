"""Each rule: where it applies, and where it must not."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from harness.measure import Matched, Trace, match
from harness.observe import Fact, HostEvent
from harness.verdict.causes import (
    RULES,
    Rule,
    Scene,
    Window,
    before_first_arrival,
    filter_open_before_driver,
    giving_up_primary,
    guest_stopped,
    stale_primary_port,
    standby_drops,
    windows,
)
from tests.verdict.story import MAC, MS, PAIR, Story, link, qmp
from tests.verdict.story import PRIMARY as P

Changes = Mapping[str, Fact | None]


def story(folder: pathlib.Path, changes: Changes) -> Story:
    made = Story(folder, "  migration: completed\n")
    facts: dict[str, Fact | None] = {**made.facts, **changes}
    made.facts = {name: fact for name, fact in facts.items() if fact is not None}
    return made


def ask(rule: Rule, folder: pathlib.Path, changes: Changes) -> Window | None:
    evidence = story(folder, changes).evidence()
    return rule(Scene(evidence, evidence.migrations[0], PAIR))


def host(at: float, name: str, event: str, mac: str = MAC) -> HostEvent:
    return HostEvent(t_ns=int(at * MS), host=name, event=event, data={"mac": mac})


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
]


@pytest.mark.parametrize(("rule", "changes", "begin", "end", "reason"), APPLIES)
def test_a_rule_gives_its_reason_between_its_facts(
    rule: Rule, changes: Changes, begin: float, end: float, reason: str, tmp_path: pathlib.Path
) -> None:
    found = ask(rule, tmp_path, changes)

    assert found is not None
    assert (found.from_ns, found.to_ns, found.reason) == (begin * MS, end * MS, reason)


@pytest.mark.parametrize(("rule", "changes"), MUST_NOT)
def test_a_rule_whose_facts_are_missing_or_are_others_says_nothing(
    rule: Rule, changes: Changes, tmp_path: pathlib.Path
) -> None:
    assert ask(rule, tmp_path, changes) is None


def test_every_rule_has_a_test_of_each_kind() -> None:
    rules: set[Callable[[Scene], Window | None]] = set(RULES)

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

    assert windows(evidence, "client", sent(lost=0)) == ()
    assert {one.rule for one in windows(evidence, "g1", sent(lost=0))} == {
        "guest-stopped",
        "standby-drops",
        "giving-up-primary",
        "stale-primary-port",
    }
