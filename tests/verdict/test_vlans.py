"""A VLAN on top of a failover pair has the pair's MAC address, and is none of its netdevs."""

from __future__ import annotations

import pathlib

from harness.observe import VLAN_DRIVER, LinkState, Snapshot
from harness.verdict import Outcome, judge
from harness.verdict.links import role_of, view
from tests.verdict.story import MAC, MASTER, PAIR, PRIMARY, STANDBY, Story, link
from tests.verdict.test_netdevs import WHOLE

VLAN = LinkState(index=9, name="vlan100", mac=MAC, operstate="up", driver=VLAN_DRIVER)


def test_a_vlan_has_no_role() -> None:
    seen = view([MASTER, STANDBY, VLAN], PAIR)

    assert role_of(VLAN, PAIR) is None
    assert seen.primary == ()
    assert view([MASTER, STANDBY, PRIMARY, VLAN], PAIR).primary == (PRIMARY,)


def test_a_good_migration_with_a_vlan_passes(tmp_path: pathlib.Path) -> None:
    story = Story(tmp_path, WHOLE)
    end = story.facts["end"]
    assert isinstance(end, Snapshot)
    # The snapshot asks sysfs, where a VLAN has no driver.
    bare = VLAN.model_copy(update={"driver": None})
    story.facts["end"] = end.model_copy(update={"links": (*end.links, bare)})
    start = {"start": story.facts["start"], "vlan": link(100, "added", VLAN)}
    story.facts = {**start, **story.facts}

    verdict = judge(story.evidence())

    assert verdict.outcome is Outcome.PASSED, verdict.findings
