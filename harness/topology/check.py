"""What must agree within a topology: every rule about how its parts fit together.

The rules are in ``rules_*``, one module for each kind of part. They see a whole topology and
read no file; ``load`` adds the places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.topology.finding import Finding
from harness.topology.model import Topology
from harness.topology.rules_addresses import RULES as ADDRESS_RULES
from harness.topology.rules_failover import RULES as FAILOVER_RULES
from harness.topology.rules_guests import RESTRICTIONS as GUEST_RESTRICTIONS
from harness.topology.rules_guests import RULES as GUEST_RULES
from harness.topology.rules_hosts import RULES as HOST_RULES
from harness.topology.rules_networks import RULES as NETWORK_RULES

Rule = Callable[[Topology], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    *NETWORK_RULES,
    *HOST_RULES,
    *GUEST_RULES,
    *ADDRESS_RULES,
)

RESTRICTIONS: tuple[Rule, ...] = (*GUEST_RESTRICTIONS, *FAILOVER_RULES)
"""What QEMU or the guest's kernel does not take; not said of a guest that is `unchecked`."""


def check(topology: Topology) -> tuple[Finding, ...]:
    """All findings, each once."""
    found = [finding for rule in RULES for finding in rule(topology)]
    for rule in RESTRICTIONS:
        found += [one for one in rule(topology) if not _unchecked(topology, one)]
    return tuple(dict.fromkeys(found))


def _unchecked(topology: Topology, finding: Finding) -> bool:
    """Whether it is about a guest that the topology wants to be left to QEMU."""
    if finding.path[:1] != ("guests",) or len(finding.path) < 2:
        return False
    guest = topology.guests.get(str(finding.path[1]))
    return guest is not None and guest.unchecked
