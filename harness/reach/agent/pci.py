"""Virtual functions through sysfs: enable, hand to vfio-pci, watch their bus-master bit.

Runs on the machine, under Python 3.9 and newer; see ``core`` for the protocol.
Sources: Documentation/ABI/testing/sysfs-bus-pci (sriov_numvfs, driver_override); PCI Local
Bus Specification 3.0, 6.2.2 (command register: offset 4, bit 2 is bus master).
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from harness.reach.agent import links, process
from harness.reach.agent.core import Agent, Args, Failure

_DEVICES = "/sys/bus/pci/devices"
_BUS_MASTER = 0x4
_watches: dict[int, threading.Event] = {}


def _read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


def _write(path: str, text: str) -> None:
    # Unbuffered: one write() is one action of the kernel, and its error is raised here.
    with open(path, "wb", buffering=0) as file:
        file.write(text.encode())


def _device(pci: str) -> str:
    path = os.path.join(_DEVICES, pci)
    if not os.path.isdir(path):
        raise Failure(f"PCI device {pci}: not on this machine", "missing")
    return path


def _driver(path: str) -> str | None:
    link = os.path.join(path, "driver")
    return os.path.basename(os.readlink(link)) if os.path.islink(link) else None


def pci_info(agent: Agent, pci: str) -> Args:
    path = _device(pci)
    group = os.path.join(path, "iommu_group")
    net = os.path.join(path, "net")
    return {
        "pci": pci,
        "driver": _driver(path),
        "iommu_group": os.path.basename(os.readlink(group)) if os.path.islink(group) else None,
        "netdevs": sorted(os.listdir(net)) if os.path.isdir(net) else [],
        "vfs": _functions(path),
    }


def _functions(path: str) -> list[str]:
    """PCI addresses of the enabled virtual functions, in order of their numbers."""
    found: list[str] = []
    while os.path.islink(os.path.join(path, f"virtfn{len(found)}")):
        found.append(os.path.basename(os.readlink(os.path.join(path, f"virtfn{len(found)}"))))
    return found


def vfs_enable(agent: Agent, pf: str, count: int) -> list[str]:
    """Enable ``count`` virtual functions of the PCI device ``pf``; returns their addresses.

    Functions that were enabled before are used as they are, and are not disabled at the end.
    """
    path = _device(pf)
    control = os.path.join(path, "sriov_numvfs")
    if not os.path.exists(control):
        raise Failure(f"PCI device {pf}: its driver offers no SR-IOV", "missing")
    present = int(_read(control))
    if present == 0:
        try:
            _write(control, str(count))
        except OSError as error:
            total = _read(os.path.join(path, "sriov_totalvfs"))
            raise Failure(
                f"PCI device {pf}: cannot enable {count} VFs (it has at most {total}): "
                f"{error.strerror}",
                "os",
                error.errno or 0,
            ) from error
        agent.on_undo("VFs of " + pf, lambda: _write(control, "0"))
    elif present < count:
        raise Failure(
            f"PCI device {pf}: {present} VFs are enabled already, {count} are wanted; the "
            "number cannot be changed while there are any"
        )
    functions = _functions(path)
    if len(functions) < count:
        raise Failure(f"PCI device {pf}: {len(functions)} of {count} VFs appeared")
    return functions


def vfio_bind(agent: Agent, pci: str) -> Args:
    """Give a device to vfio-pci; undone to the driver it had."""
    path = _device(pci)
    if not os.path.islink(os.path.join(path, "iommu_group")):
        raise Failure(
            f"PCI device {pci}: has no IOMMU group; the kernel runs without an IOMMU", "missing"
        )
    former = _driver(path)
    if former != "vfio-pci":
        agent.on_undo("vfio-pci for " + pci, lambda: _give_back(path, former))
        _write(os.path.join(path, "driver_override"), "vfio-pci\n")
        if former:
            _write(os.path.join(path, "driver", "unbind"), pci)
        _write("/sys/bus/pci/drivers_probe", pci)
        bound = _driver(path)
        if bound != "vfio-pci":
            raise Failure(
                f"PCI device {pci}: vfio-pci did not take it (driver now: {bound}); is the module "
                "vfio-pci loaded?"
            )
    return pci_info(agent, pci)


def _give_back(path: str, former: str | None) -> None:
    if not os.path.isdir(path):
        return  # the virtual function has been disabled since
    pci = os.path.basename(path)
    if _driver(path) == "vfio-pci":
        # Waits until nobody has the device open: QEMU has been ended before this.
        _write(os.path.join(path, "driver", "unbind"), pci)
    _write(os.path.join(path, "driver_override"), "\n")
    if former:
        _write("/sys/bus/pci/drivers_probe", pci)


def vfio_release(agent: Agent, pci: str) -> None:
    """Undo ``vfio_bind`` now."""
    agent.undo("vfio-pci for " + pci)


def driver_unbind(agent: Agent, pci: str) -> None:
    """Take a device from its driver; undone to the driver it had, if any."""
    path = _device(pci)
    former = _driver(path)
    agent.on_undo("driver of " + pci, lambda: _restore_driver(path, former))
    if former:
        _write(os.path.join(path, "driver", "unbind"), pci)


def _restore_driver(path: str, former: str | None) -> None:
    if not os.path.isdir(path):
        return  # the virtual function has been disabled since
    if _driver(path) not in (None, former):
        _write(os.path.join(path, "driver", "unbind"), os.path.basename(path))
    if former and _driver(path) is None:
        _write("/sys/bus/pci/drivers_probe", os.path.basename(path))


def driver_probe(agent: Agent, pci: str) -> Args:
    """Let the kernel find the device's own driver, whose module is loaded first. What
    ``driver_unbind`` registered brings back how it was."""
    path = _device(pci)
    alias = _read(os.path.join(path, "modalias"))
    process.load_module(agent, alias)
    if _driver(path) is None:  # the module may have taken it already
        _write("/sys/bus/pci/drivers_probe", pci)
    if _driver(path) is None:
        raise Failure(f"PCI device {pci}: no driver of this kernel takes it ({alias})", "missing")
    return pci_info(agent, pci)


def _command(handle: int) -> int:
    data = os.pread(handle, 2, 4)
    # A device that has gone reads as all ones; an emptied file as nothing.
    return int.from_bytes(data, "little") if len(data) == 2 and data != b"\xff\xff" else 0


def pci_command(agent: Agent, pci: str) -> int:
    """The PCI command register."""
    handle = os.open(os.path.join(_device(pci), "config"), os.O_RDONLY)
    try:
        return _command(handle)
    finally:
        os.close(handle)


def bus_master_watch(
    agent: Agent,
    handle: int,
    pci: str,
    interval_s: float = 0.002,
    when_on: list[Args] | None = None,
    when_off: list[Args] | None = None,
) -> Args:
    """Report each change of the bus-master bit as a ``bus-master`` event, and do at once,
    here, what is wanted then (a list of ``{"op": ..., "args": ...}``).

    A guest's driver sets the bit when it takes the device. The change happened between
    ``before_ns`` and ``seen_ns`` (CLOCK_MONOTONIC of this machine). There is no event to
    wait for: the kernel does not tell the host of a write to a VF's config space.
    """
    config = os.open(os.path.join(_device(pci), "config"), os.O_RDONLY)
    on = bool(_command(config) & _BUS_MASTER)
    stop = _watches[handle] = threading.Event()
    actions = {True: when_on or [], False: when_off or []}

    def watch(on: bool) -> None:
        before = _now()
        try:
            while not stop.wait(interval_s):
                try:
                    now_on = bool(_command(config) & _BUS_MASTER)
                except OSError as error:
                    agent.event("bus-master-lost", handle=handle, problem=str(error), at_ns=_now())
                    return
                seen = _now()
                if agent.closing:
                    return  # QEMU is being killed, and what an action would set, undone
                if now_on != on:
                    on = now_on
                    done = [_act(agent, action) for action in actions[on]]
                    agent.event(
                        "bus-master", handle=handle, on=on, before_ns=before, seen_ns=seen,
                        actions=done,
                    )  # fmt: skip
                before = seen
        finally:
            os.close(config)

    def body() -> None:
        if any(actions.values()):
            with links.held():
                watch(on)
        else:
            watch(on)

    threading.Thread(target=body, daemon=True, name="bus master " + pci).start()
    agent.on_undo(f"watch {handle} of {pci}", stop.set)
    return {"on": on, "at_ns": _now()}


def _act(agent: Agent, action: Args) -> Args:
    try:
        agent.perform(action["op"], action["args"])
        problem = ""
    except Failure as error:
        problem = str(error)
    return {"op": action["op"], "done_ns": _now(), "problem": problem}


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def bus_master_unwatch(agent: Agent, handle: int) -> None:
    stop = _watches.pop(handle, None)
    if stop:
        stop.set()


OPS: dict[str, Any] = {
    action.__name__: action
    for action in (
        pci_info, vfs_enable, vfio_bind, vfio_release, driver_unbind, driver_probe,
        pci_command, bus_master_watch, bus_master_unwatch,
    )
}  # fmt: skip
