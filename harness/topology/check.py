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
from harness.topology.rules_guests import RULES as GUEST_RULES
from harness.topology.rules_hosts import RULES as HOST_RULES
from harness.topology.rules_networks import RULES as NETWORK_RULES

Rule = Callable[[Topology], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    *NETWORK_RULES,
    *HOST_RULES,
    *GUEST_RULES,
    *FAILOVER_RULES,
    *ADDRESS_RULES,
)


def check(topology: Topology) -> tuple[Finding, ...]:
    """All findings, each once."""
    return tuple(dict.fromkeys(finding for rule in RULES for finding in rule(topology)))
