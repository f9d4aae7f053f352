"""Verbs about a guest's devices: plug, unplug, links, and what the host takes away.

Neighbours: ``step`` makes steps of them; ``harness.scenario.devices`` carries them out.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from harness.case.references import Reference
from harness.case.values import Duration, Part

REFUSED = "QEMU has to refuse it, with this text in its error; else the step fails"


class _OfNic(Part):
    guest: str
    nic: str = Field(description="id of a NIC of the guest, as the topology names it")

    def refers(self) -> Iterator[Reference]:
        yield Reference(("guest",), "guest", self.guest)
        yield Reference(("nic",), "nic", self.nic, self.guest)


class Plug(_OfNic):
    """Plug a NIC of the topology into a guest that runs (`netdev_add`, `device_add`).

    It gets the arguments that it would have on the command line. The step is over when QEMU has
    taken it, and not when the guest has: `wait` for that.
    """

    refused: str | None = Field(None, min_length=1, description=REFUSED)


class Unplug(_OfNic):
    """Unplug a NIC (`device_del`) and wait until QEMU has deleted it (DEVICE_DELETED)."""

    refused: str | None = Field(None, min_length=1, description=REFUSED)
    ignored: bool = Field(
        False, description="the guest has to ignore it: the device is still there after `within`"
    )
    within: Duration = Field(30.0, description="deadline for the guest's part; 30s when absent")


class SetLink(_OfNic):
    """Set the link of a NIC as the guest sees it (QMP `set_link`)."""

    up: bool


class SetTap(_OfNic):
    """Set the NIC's tap up or down on the host; the guest is not told."""

    up: bool


class SetHostLink(Part):
    """Set a NIC of a host up or down: the cable of all guests behind it."""

    host: str
    nic: str = Field(description="a NIC of the host, as the topology names it")
    up: bool

    def refers(self) -> Iterator[Reference]:
        yield Reference(("host",), "host", self.host)
        yield Reference(("nic",), "host-nic", self.nic, self.host)


class TakeAway(_OfNic):
    """Surprise removal: the host takes the virtual function away from under QEMU.

    The host's kernel is told to remove all virtual functions of that NIC; QEMU hears of it by
    vfio's request, and the guest is not asked first.
    """

    within: Duration = Field(30.0, description="until the function is gone; 30s when absent")
