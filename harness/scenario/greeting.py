"""A first packet from every guest that streams lead to, before anything is measured.

Bridges learn where a guest is from what it sends. One whose primary was plugged a moment ago
has said its last words through the standby, and may keep silent for seconds: until its next
router solicitation, what others send to it would go to the standby's port, where net_failover
drops it. A guest in use has spoken; so each one pings the other end of its streams once.
What happens to a guest that is silent *afterwards* is left as it is.

Neighbours: ``streams`` calls this, with ``tcp``'s ends too, before it starts receivers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from harness.errors import HarnessError
from harness.lab import Lab
from harness.observe import Note
from harness.observe.record import now_ns
from harness.reach.deadline import Deadline
from harness.scenario.ends import End

_GREETING_ID = 65_535
"""Streams count from 1: nobody takes the reply for one of theirs."""
_GREETING_S = 5.0
_POLL_S = 0.02


def greet(lab: Lab, ends: Iterable[tuple[End, End]]) -> None:
    """Have each guest of ``ends`` (source, target) that is a target ping the source once.

    A guest that does not is noted, not an error: whether the traffic flows is proven later.
    """
    done: set[tuple[str, str]] = set()
    for source, target in ends:
        if target.kind != "guest" or (target.machine, source.address) in done:
            continue
        done.add((target.machine, source.address))
        try:
            _ping(lab, target.machine, source.address)
        except HarnessError as error:
            text = f"{target.machine} did not greet {source.machine}: {error.message}"
            lab.facts.add(Note(t_ns=now_ns(), text=text))


def _ping(lab: Lab, guest: str, address: str) -> None:
    link, pause = lab.guests[guest].link, threading.Event()
    link.start_sender(_GREETING_ID, address, None, rate=1, size=84, count=1)
    deadline = Deadline(_GREETING_S)
    # Until it is sent, or refused by the guest's kernel.
    while not link.dump(_GREETING_ID).totals.attempted and not deadline.expired:
        pause.wait(_POLL_S)
    link.forget(_GREETING_ID)
