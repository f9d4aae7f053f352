"""A name in a case that has to exist in the topology.

Neighbours: the verbs and the expectations yield these; ``check`` follows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Reference:
    """A name in a case that has to exist in the topology.

    ``path`` leads from the referring part to the value. ``kind`` says among what: ``guest``,
    ``host``, ``machine`` (a guest, host or namespace), ``endpoint`` (a guest or namespace
    that has an address), ``standby`` (a NIC of ``guest`` with ``failover: on``), ``nic`` (any
    NIC of ``guest``) or ``host-nic`` (a NIC of the host whose name is in ``guest``).
    """

    path: tuple[str | int, ...]
    kind: Literal["guest", "host", "machine", "endpoint", "standby", "nic", "host-nic"]
    name: str
    guest: str = ""
