"""Read-only questions to a machine, through testinfra; the answers are facts.

``host_of`` gives a user ``host.interface("eth0").addresses`` and everything else
that testinfra knows, over whatever reaches the machine; ``snapshot`` reads all netdevs of a
guest in one round trip, as a second witness next to labprobe.

Neighbours: ``harness.reach`` has the machines, ``scenario`` asks, ``verdict`` reads the facts.
"""

from harness.probe.backend import Answers, Runs, host_of
from harness.probe.netdevs import read_netdevs, snapshot

__all__ = ["Answers", "Runs", "host_of", "read_netdevs", "snapshot"]
