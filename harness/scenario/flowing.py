"""Proof that streams flow: packets seen where their arrivals are recorded.

That a sender sends proves nothing: its packets may go nowhere, and a migration under traffic
that never flowed shows no loss of it. The lab is as its topology says by then, with every
pair complete: that its traffic does not flow is a finding, as a step that failed is.

Neighbours: ``streams`` knows where to look; nothing is kept here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.reach.deadline import Deadline

_POLL_S = 0.1
"""A capture's file grows 20 times a second; a guest is not asked more often than it must be."""


class NotFlowing(HarnessError):
    """Of a stream nothing has arrived; judged, not an error."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Awaited:
    """A stream whose first arrival is waited for.

    ``arrived``: how many packets (of an echo: replies) were seen so far. ``sent`` ends the
    sender, and says what it sent. ``where`` are words for the place of the arrivals.
    """

    name: str
    where: str
    arrived: Callable[[], int]
    sent: Callable[[], str]


def wait_arriving(streams: Sequence[Awaited], deadline: Deadline) -> None:
    """Return once of every stream a packet was seen. NotFlowing says of which none was."""
    waiting, pause = list(streams), threading.Event()
    while True:
        waiting = [stream for stream in waiting if not stream.arrived()]
        if not waiting:
            return
        if deadline.expired:
            break
        pause.wait(min(_POLL_S, deadline.left))
    told = [f"stream {one.name}: {one.sent()}, none was seen at {one.where}" for one in waiting]
    raise NotFlowing(
        f"the traffic does not flow: {told[0]} within {deadline.seconds:g} s; no step was begun",
        hint="are both ends' netdevs up, with the addresses of the plan? the captures in the run "
        "directory show what came; with --keep the lab stays up to look around",
        evidence=told[1:],
    )
