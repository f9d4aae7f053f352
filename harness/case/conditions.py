"""What a step can wait for: a netdev of a failover pair, an event of QEMU, words of QEMU.

Part of the vocabulary of steps. Nothing here waits.

Neighbours: ``steps`` has the verb `wait`; ``harness.scenario.waiting`` looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from harness.case.netdevs import Role
from harness.case.qmp import QMP_EVENTS
from harness.case.references import Reference
from harness.case.statuses import Status
from harness.case.values import Part
from harness.document import nearest

State = Literal["up", "present", "absent", "down"]

_KINDS = ("primary", "standby", "failover", "event", "qemu-says", "migration")


def _event(name: str) -> str:
    if name not in QMP_EVENTS:
        near = nearest(name, QMP_EVENTS)
        raise ValueError(
            f"'{name}' is not a QMP event" + (f" (did you mean '{near}'?)" if near else "")
        )
    return name


class Condition(Part):
    """One thing to wait for, about one guest.

    A netdev is that of the role which is named; an event or words count when they come
    after the step before the `wait` began.
    """

    guest: str
    primary: str | None = Field(
        None, description="the primary of the pair with this standby: `net1`"
    )
    standby: str | None = Field(None, description="the standby itself, by its id")
    failover: str | None = Field(None, description="the master of the pair with this standby")
    state: State | None = Field(
        None,
        description="of that netdev. `up`: operationally up, and enslaved if it is no master; "
        "`present`: there; `down`: there and without carrier; `absent`: gone",
    )
    event: Annotated[str, AfterValidator(_event)] | None = Field(
        None, description="a QMP event of the guest's QEMU: `DEVICE_DELETED`"
    )
    device: str | None = Field(None, description="only an event about this device id")
    side: Literal["destination"] | None = Field(
        None, description="an event of the QEMU that the guest migrates to, since it was started"
    )
    migration: Status | None = Field(
        None,
        description="a status of a migration that was begun with `wait: no`, by its source. With "
        "`completed`, `failed` or `cancelled` it is over: the guest goes on where it is then",
    )
    error: str | None = Field(
        None,
        min_length=1,
        description="with `migration: failed`: part of what QEMU says of it, on either side",
    )
    qemu_says: str | None = Field(
        None, alias="qemu-says", min_length=1, description="a text in what QEMU prints"
    )

    @model_validator(mode="after")
    def _one_thing(self) -> Condition:
        given = [kind for kind in _KINDS if getattr(self, kind.replace("-", "_")) is not None]
        if len(given) != 1:
            found = "none" if not given else " and ".join(given)
            raise ValueError(f"wait for exactly one of {', '.join(_KINDS)}; found {found}")
        if (self.role is None) != (self.state is None):
            raise ValueError("`state` goes with primary, standby or failover, and they with it")
        if self.device is not None and self.event is None:
            raise ValueError("`device` goes with `event`")
        if self.side is not None and self.event is None:
            raise ValueError("`side` goes with `event`")
        if self.error is not None and self.migration != "failed":
            raise ValueError("`error` goes with `migration: failed`")
        return self

    @property
    def role(self) -> Role | None:
        """The role whose netdev is meant; None for an event or words."""
        if self.primary is not None:
            return "primary"
        if self.standby is not None:
            return "standby"
        return "failover" if self.failover is not None else None

    @property
    def pair(self) -> str:
        """The pair, by the id of its standby; empty for an event or words."""
        return self.primary or self.standby or self.failover or ""

    def __str__(self) -> str:
        if self.role is not None:
            return f"{self.role} of {self.pair} {self.state}"
        if self.event is not None:
            parts = (self.side, "event", self.event, self.device)
            return " ".join(part for part in parts if part)
        if self.migration is not None:
            return f"migration {self.migration}"
        return f"QEMU to say '{self.qemu_says}'"

    def refers(self) -> Iterator[Reference]:
        yield Reference(("guest",), "guest", self.guest)
        if self.role is not None:
            yield Reference((self.role,), "standby", self.pair, self.guest)
        if self.device is not None:
            yield Reference(("device",), "nic", self.device, self.guest)
