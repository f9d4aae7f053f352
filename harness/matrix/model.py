"""The frozen, typed model of a matrix file: exactly what a matrix may say.

Field names (or their aliases) are the YAML keys, and the axes are named like the options of
``harness run``. Shapes are checked here, the rest in ``cells``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from harness.topology.model import Name


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("wanted some words")
    return text.strip()


Said = Annotated[str, AfterValidator(_said)]
Qemu = Said | dict[Name, Said]
Chosen = Literal["kvm", "tcg"]

AXES = ("variant", "qemu", "guest-kernel", "host-kernel", "machine", "accelerator")
"""The axes, in the order in which a cell's name lists their values."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Axes(_Part):
    """The values of each axis; the cells are all their combinations."""

    variant: tuple[Name, ...] = Field(
        (), description="topologies of the case; all of them when absent"
    )
    qemu: tuple[Qemu, ...] = Field(
        (),
        description="recipes of the QEMU that runs guests; a mapping of hosts to recipes for a "
        "migration between versions",
    )
    guest_kernel: tuple[Said, ...] = Field(
        (), alias="guest-kernel", description="recipes of the guests' kernel"
    )
    host_kernel: tuple[Said, ...] = Field(
        (), alias="host-kernel", description="recipes of the host VMs' kernel"
    )
    machine: tuple[Said, ...] = Field((), description="QEMU machine types")
    accelerator: tuple[Chosen, ...] = Field((), description="`kvm`, `tcg`")


class Pattern(_Part):
    """One value for some of the axes: a cell, or all the cells that have these values."""

    variant: Name | None = None
    qemu: Qemu | None = None
    guest_kernel: Said | None = Field(None, alias="guest-kernel")
    host_kernel: Said | None = Field(None, alias="host-kernel")
    machine: Said | None = None
    accelerator: Chosen | None = None


class Exclusion(Pattern):
    """Cells that are not run."""

    reason: Said = Field(description="why; it stands in the table")


class Inclusion(Pattern):
    """A cell that the axes do not give; an axis that it does not name is left to the topology."""


class Expectation(Pattern):
    """Cells in which the case is known to fail."""

    outcome: Literal["failed"] = Field(description="`failed`")
    reason: Said = Field(description="why; it stands in the table")
    finding: Said | None = Field(
        None,
        description="the expectation of the case that fails, as in `expect.netdevs.end`; "
        "another one failing is no known failure",
    )


class MatrixFile(_Part):
    """A whole matrix file."""

    axes: Axes = Field(Axes(), description="the values of each axis")
    exclude: tuple[Exclusion, ...] = Field((), description="cells that are not run, and why")
    include: tuple[Inclusion, ...] = Field((), description="further cells")
    expect: tuple[Expectation, ...] = Field((), description="cells that are known to fail, and why")


def matrix_schema() -> dict[str, Any]:
    """The JSON Schema of a matrix file, for editors."""
    schema = MatrixFile.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A matrix: combinations of QEMU, kernel, machine type and accelerator"
    return schema
