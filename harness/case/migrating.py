"""The verbs of a migration: begin it, steer it, disturb it.

One class per verb, as in ``steps``. Nothing here acts. Neighbours: ``step`` makes a step of
them; ``check_migrations`` says where their order makes no sense; ``harness.scenario.migrating``
carries them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr, model_validator

from harness.case.references import Reference
from harness.case.statuses import Status
from harness.case.values import CountText, Duration, Part
from harness.topology.model import BitRate, Switch

Side = Literal["source", "destination"]
ManagementStep = Literal["standby-up", "fdb-del", "detach", "vf-mac", "attach", "standby-down"]
Text = Annotated[str, Field(min_length=1)]


class QmpCommand(Part):
    """A command to a QEMU, in QMP's words: `{execute: netdev_del, arguments: {id: tap-net1}}`."""

    execute: Text
    arguments: dict[str, object] = Field(default_factory=dict)
    error: Text | None = Field(
        None, description="QEMU refuses it, and this is part of what it says; else it must not"
    )


class CancelAt(Part):
    """Cancel the migration when the source reports a status."""

    at: Status


class KillAt(Part):
    """End a side's QEMU by SIGKILL when the source reports a status."""

    side: Literal["destination"]
    at: Status


class Migrate(Part):
    """Migrate a guest to another host; unless `wait: no`, the step lasts until that has ended.

    What QEMU calls capabilities and parameters is set on both sides; those with a key of
    their own here are the usual ones. `outcome` is how it has to end, whatever `expect` says.
    """

    guest: str
    to: str = Field(description="the destination host")
    within: Duration = Field(60.0, description="deadline of the whole migration; 60s when absent")
    mode: Literal["precopy", "postcopy"] = Field(
        "precopy", description="`postcopy`: it is started as soon as the source is `active`"
    )
    multifd: Annotated[StrictInt, Field(ge=1, le=255)] | None = Field(
        None, description="number of channels of a multifd migration"
    )
    return_path: Switch | None = Field(None, description="the destination answers the source")
    pause_before_switchover: Switch = Field(
        False,
        description="QEMU stops at `pre-switchover` until it is told to go on: by the step "
        "itself, or with `wait: no` by `migration: {do: continue}`",
    )
    bandwidth: BitRate | None = Field(None, description="max-bandwidth: `100Mbit/s`")
    downtime_limit: Duration | None = Field(None, description="downtime-limit: `300ms`")
    capabilities: dict[str, Switch] = Field(
        default_factory=dict, description="any others, by QEMU's names"
    )
    parameters: dict[str, StrictInt | StrictBool | StrictStr] = Field(
        default_factory=dict, description="any others, by QEMU's names and in its units"
    )
    destination: tuple[QmpCommand, ...] = Field(
        (), description="commands that the destination's QEMU gets before it listens"
    )
    listen: Text | None = Field(
        None, description="address at which the destination listens; that of its host when absent"
    )
    orchestration: Literal["qemu", "management"] = Field(
        "qemu",
        description="`management`: the steps of the kernel's net_failover page around a plain "
        "migration; for a guest whose primary has `orchestration: management` in the topology",
    )
    leave_out: tuple[ManagementStep, ...] = Field(
        (), description="steps of the management layer that it forgets"
    )
    cancel: CancelAt | None = Field(None, description="`{at: wait-unplug}`")
    kill: KillAt | None = Field(None, description="`{side: destination, at: active}`")
    outcome: Literal["completed", "failed", "cancelled", "refused"] | None = Field(
        None,
        description="how it has to end; `refused`: QEMU does not begin it. When absent: "
        "`cancelled` with `cancel`, `failed` with `kill`, else `completed`",
    )
    error: Text | None = Field(
        None, description="part of what QEMU says of the failure, on either side"
    )
    passes: CountText | None = Field(
        None, description="over the guest's memory, of one that completes: `>= 4`"
    )
    wait: Switch = Field(
        True,
        description="no: the step ends when the migration has begun; a later "
        "`wait: {for: {guest: ..., migration: completed}}` ends it",
    )

    @model_validator(mode="after")
    def _fits(self) -> Migrate:
        ends = self.model_fields_set & {"outcome", "error", "cancel", "kill", "passes"}
        if not self.wait and self.outcome != "refused" and ends:
            raise ValueError(
                f"`{sorted(ends)[0]}` is of the end, which this step does not wait for "
                "(`wait: no`): it belongs to the step that does"
            )
        if self.error and self.ends in ("completed", "cancelled"):
            raise ValueError(f"`error`: a migration that is {self.ends} has none")
        if self.leave_out and self.orchestration == "qemu":
            raise ValueError("`leave_out` is of `orchestration: management`")
        if self.orchestration == "management" and not self.wait:
            raise ValueError(
                "`orchestration: management` has steps after the migration: without `wait: no`, or "
                "step by step (set-link, fdb-del, unplug, vf-mac, migrate, plug)"
            )
        if self.cancel and self.kill:
            raise ValueError("`cancel` or `kill`, not both")
        return self

    @property
    def ends(self) -> Literal["completed", "failed", "cancelled", "refused"]:
        """How the migration has to end."""
        if self.outcome is not None:
            return self.outcome
        if self.cancel is not None:
            return "cancelled"
        return "completed" if self.kill is None else "failed"

    def wanted_capabilities(self) -> dict[str, bool]:
        """By QEMU's names: those with a key of their own, and the others."""
        named: dict[str, bool] = {}
        if self.mode == "postcopy":
            named["postcopy-ram"] = True
        if self.multifd is not None:
            named["multifd"] = True
        if self.return_path is not None:
            named["return-path"] = self.return_path
        if self.pause_before_switchover:
            named["pause-before-switchover"] = True
        return named | self.capabilities

    def wanted_parameters(self) -> dict[str, int | bool | str]:
        """By QEMU's names, in its units: octets a second, milliseconds."""
        named: dict[str, int | bool | str] = {}
        if self.multifd is not None:
            named["multifd-channels"] = self.multifd
        if self.bandwidth is not None:
            named["max-bandwidth"] = self.bandwidth // 8
        if self.downtime_limit is not None:
            named["downtime-limit"] = round(self.downtime_limit * 1000)
        return named | self.parameters

    def refers(self) -> Iterator[Reference]:
        yield Reference(("guest",), "guest", self.guest)
        yield Reference(("to",), "host", self.to)


class Steer(Part):
    """Tell a migration that was begun with `wait: no` what to do next."""

    guest: str
    do: Literal["cancel", "continue", "start-postcopy", "pause", "recover"] = Field(
        description="`continue`: after pre-switchover; `pause`: break its connection (postcopy); "
        "`recover`: connect both sides again"
    )

    def refers(self) -> Iterator[Reference]:
        yield Reference(("guest",), "guest", self.guest)


class Kill(Part):
    """End the QEMU of a guest by SIGKILL; `side: destination` is the one that it migrates to."""

    guest: str
    side: Literal["destination"] = Field(description="of the migration that is going on")

    def refers(self) -> Iterator[Reference]:
        yield Reference(("guest",), "guest", self.guest)


class FdbDel(Part):
    """Delete the guest's address from the host's bridge, at the port of a NIC: its tap, or the
    physical function of its VF (`bridge fdb del MAC dev PF master`)."""

    guest: str
    nic: str

    def refers(self) -> Iterator[Reference]:
        yield Reference(("guest",), "guest", self.guest)
        yield Reference(("nic",), "nic", self.nic, self.guest)


class VfMac(Part):
    """Set the MAC address of a NIC's virtual function (`ip link set PF vf N mac ...`)."""

    guest: str
    nic: str
    mac: Literal["own", "none"] = Field(description="the guest's, or 00:00:00:00:00:00")

    def refers(self) -> Iterator[Reference]:
        yield Reference(("guest",), "guest", self.guest)
        yield Reference(("nic",), "nic", self.nic, self.guest)


class Qmp(QmpCommand):
    """A QMP command to the QEMU that a guest runs in, or to that which waits for it."""

    guest: str
    side: Side = Field("source", description="`destination`: of the migration that is going on")

    def refers(self) -> Iterator[Reference]:
        yield Reference(("guest",), "guest", self.guest)
