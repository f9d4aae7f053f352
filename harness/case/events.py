"""Names of events, as an order expectation writes them.

::

    source UNPLUG_PRIMARY [DEVICE]       a QMP event of the source's QEMU, of one device
    destination RESUME
    source active                        a MIGRATION event, by its status word
    guest [STANDBY] primary removed      a netlink event of the pair's primary, standby or
                                         failover (master); STANDBY where a guest has several
    guest primary changed                any other netlink message about it
    guest failover address-added         its addresses became more, or others (also -removed)
    guest primary carrier-on             its carrier came (also carrier-off)
    host alpha vf-mac-cleared [DEVICE]   something the lab did, or saw, on a host
    host lab fdb-moved [PORT]            the same of the networks' bridges, which are the lab's
    step 2 begin, step wait end          a step of the case, by its number or its verb

Neighbours: ``expect`` holds these; ``harness.verdict.order`` finds the facts they name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from harness.case.qmp import QMP_EVENTS
from harness.case.statuses import MIGRATION_STATUSES
from harness.case.step import VERBS
from harness.document import nearest

LINK_EVENTS = (
    "added",
    "removed",
    "enslaved",
    "released",
    "up",
    "down",
    "changed",
    "address-added",
    "address-removed",
    "carrier-on",
    "carrier-off",
)
"""Those that a fact names itself, then those that follow from two messages in a row."""

STEP_MOMENTS = ("begin", "end")
ROLES = ("primary", "standby", "failover")
_SIDES = ("source", "destination", "guest", "host", "step")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class EventName:
    """One named event. ``what`` is a QMP event, a MIGRATION status, a link or a host event, or
    `begin` or `end` of the ``step`` (its number from 1, or its verb)."""

    side: Literal["source", "destination", "guest", "host", "step"]
    what: str
    role: Literal["primary", "standby", "failover", ""] = ""
    standby: str = ""
    host: str = ""
    device: str = ""
    step: str = ""

    @property
    def step_number(self) -> int | None:
        """The number of the step that is meant; None for a verb or no step at all."""
        return int(self.step) if self.step.isdecimal() else None

    @property
    def is_status(self) -> bool:
        """Whether ``what`` is a status word of a MIGRATION event."""
        return self.side in ("source", "destination") and self.what in MIGRATION_STATUSES

    def __str__(self) -> str:
        parts = (self.side, self.host, self.standby, self.role, self.step, self.what, self.device)
        return " ".join(part for part in parts if part)


def _nearest(word: str, names: tuple[str, ...]) -> str:
    near = nearest(word, names)
    return f" (did you mean '{near}'?)" if near else ""


def parse_event(text: object) -> EventName:
    """An ``EventName`` from its text; ValueError says what is wrong and the nearest name."""
    if isinstance(text, EventName):
        return text
    if not isinstance(text, str) or not text.strip():
        raise ValueError("an event is named like `source STOP` or `guest primary removed`")
    words = text.split()
    if words[0] == "step":
        return _step_event(text, words[1:])
    if bad := [word for word in words if not _WORD.fullmatch(word)]:
        raise ValueError(f"'{bad[0]}' in '{text}' is not a word of an event's name")
    side, rest = words[0], words[1:]
    if side not in _SIDES:
        raise ValueError(
            f"'{text}': an event starts with source, destination, guest, host or step"
            + _nearest(side, _SIDES)
        )
    if side == "guest":
        return _link_event(text, rest)
    if side == "host":
        if len(rest) not in (2, 3):
            raise ValueError(f"'{text}': wanted `host HOST EVENT [DEVICE]`")
        return EventName("host", rest[1], host=rest[0], device=rest[2] if rest[2:] else "")
    if len(rest) not in (1, 2):
        raise ValueError(f"'{text}': wanted `{side} EVENT [DEVICE]` or `{side} STATUS`")
    what, device = rest[0], rest[1] if rest[1:] else ""
    if what == "MIGRATION":
        raise ValueError(f"'{text}': name a MIGRATION event by its status: `{side} active`")
    if what not in QMP_EVENTS and what not in MIGRATION_STATUSES:
        raise ValueError(
            f"'{text}': '{what}' is neither a QMP event nor a migration status"
            + _nearest(what, QMP_EVENTS + MIGRATION_STATUSES)
        )
    return EventName("source" if side == "source" else "destination", what, device=device)


def _step_event(text: str, rest: list[str]) -> EventName:
    if len(rest) != 2 or rest[1] not in STEP_MOMENTS:
        raise ValueError(f"'{text}': wanted `step NUMBER begin` or `step VERB end`")
    step, what = rest
    if step.isdecimal():
        if not int(step):
            raise ValueError(f"'{text}': steps count from 1")
        step = str(int(step))
    elif step not in VERBS:
        raise ValueError(
            f"'{text}': '{step}' is neither the number of a step nor a verb"
            + _nearest(step, VERBS)
            + ": "
            + ", ".join(VERBS)
        )
    return EventName("step", what, step=step)


def _link_event(text: str, rest: list[str]) -> EventName:
    standby = rest.pop(0) if len(rest) == 3 else ""
    if len(rest) != 2:
        raise ValueError(f"'{text}': wanted `guest [STANDBY] ROLE EVENT`: `guest primary removed`")
    role, what = rest
    if role not in ROLES:
        raise ValueError(
            f"'{text}': '{role}' is not a role"
            + _nearest(role, ROLES)
            + ": primary, standby, failover"
        )
    if what not in LINK_EVENTS:
        raise ValueError(
            f"'{text}': '{what}' is not an event of a netdev"
            + _nearest(what, LINK_EVENTS)
            + ": "
            + ", ".join(LINK_EVENTS)
        )
    return EventName("guest", what, role=role, standby=standby)  # type: ignore[arg-type]


def parse_chain(value: object) -> tuple[EventName, ...]:
    """Events from a YAML list or from one comma-separated string, at least two."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list | tuple):
        raise ValueError("wanted events in their order: a list or one comma-separated string")
    events = tuple(parse_event(item) for item in value)
    if len(events) < 2:
        raise ValueError("an order needs at least two events; `order` is a list of such lists")
    return events
