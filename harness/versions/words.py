"""The words of a QEMU, as its `query-qmp-schema` lists them: statuses, capabilities, events.

QEMU hides the names of its types (they are numbers, and differ between builds), so each
enumeration is found from the command that uses it. Source: docs/devel/qapi-code-gen.rst of
QEMU, "Client JSON Protocol introspection".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

EVENTS = (
    "DEVICE_DELETED",
    "DEVICE_UNPLUG_GUEST_ERROR",
    "FAILOVER_NEGOTIATED",
    "MIGRATION",
    "MIGRATION_PASS",
    "NIC_RX_FILTER_CHANGED",
    "RESUME",
    "STOP",
    "UNPLUG_PRIMARY",
    "VFIO_MIGRATION",
)
"""Those of QEMU's events that say something of a failover or a migration."""


class QemuWords(BaseModel):
    """What a QEMU knows, as it says itself. Empty: it did not say, or nobody asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    statuses: tuple[str, ...] = Field((), description="MigrationStatus, in QEMU's order")
    capabilities: tuple[str, ...] = Field((), description="MigrationCapability")
    parameters: tuple[str, ...] = Field((), description="those of migrate-set-parameters")
    events: tuple[str, ...] = Field((), description="of those that concern a migration")


def words_of_schema(schema: object) -> QemuWords:
    """From the answer to `query-qmp-schema`; what cannot be found in it is empty."""
    entities = [one for one in schema if _named(one)] if isinstance(schema, list) else []
    named: dict[str, Mapping[str, Any]] = {one["name"]: one for one in entities}
    status = _member(named, named.get("query-migrate", {}).get("ret-type"), "status")
    given = _member(
        named, named.get("migrate-set-capabilities", {}).get("arg-type"), "capabilities"
    )
    element = named.get(given, {}).get("element-type")
    return QemuWords(
        statuses=_values(named.get(status)),
        capabilities=_values(named.get(_member(named, element, "capability"))),
        parameters=_members(named, named.get("migrate-set-parameters", {}).get("arg-type")),
        events=tuple(name for name in EVENTS if named.get(name, {}).get("meta-type") == "event"),
    )


def _named(entity: object) -> bool:
    return isinstance(entity, Mapping) and isinstance(entity.get("name"), str)


def _members(named: Mapping[str, Mapping[str, Any]], type_: object) -> tuple[str, ...]:
    """The names of an object type's members."""
    return tuple(
        str(one["name"]) for one in named.get(str(type_), {}).get("members", ()) if _named(one)
    )


def _member(named: Mapping[str, Mapping[str, Any]], type_: object, name: str) -> str:
    """The type of a member of an object type; empty when there is none."""
    for member in named.get(str(type_), {}).get("members", ()):
        if isinstance(member, Mapping) and member.get("name") == name:
            return str(member.get("type", ""))
    return ""


def _values(entity: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The values of an enumeration. QEMU has `members` since 6.2 and deprecates `values`."""
    if entity is None or entity.get("meta-type") != "enum":
        return ()
    members = entity.get("members")
    if isinstance(members, list):
        return tuple(str(one["name"]) for one in members if _named(one))
    return tuple(str(one) for one in entity.get("values", ()))
