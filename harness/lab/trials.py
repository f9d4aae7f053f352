"""Which accelerator each machine of a lab has: tried once in each place, for each QEMU.

Neighbours: ``accelerator`` does the trial; ``lab`` asks before it starts a QEMU.
"""

from __future__ import annotations

import threading

from harness.lab.accelerator import Trial, choose, remembered
from harness.lab.images import LabImages
from harness.observe import LAB, Accelerator, FactLog
from harness.observe.record import now_ns
from harness.reach.machine import Machine


class Trials:
    """The trials of one lab. Thread-safe; what is tried by two at once is tried once."""

    def __init__(self, images: LabImages, facts: FactLog) -> None:
        self._images = images
        self._facts = facts
        self._known: dict[str, tuple[str, str]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def works(
        self, place: str, machine: Machine, qemu: str, at: str | None = None, *, state: str = ""
    ) -> str:
        """The accelerator that works for the QEMU of recipe ``qemu``, which ``machine`` has ``at``.

        Machines in one ``place`` share a processor. ``state``: digest of the saved state that the
        place was loaded from; every one that was loaded from it is the same machine up to here.
        """
        which = f"{place} {qemu}"  # another QEMU may make another use of the same /dev/kvm
        with self._lock:
            lock = self._locks.setdefault(which, threading.Lock())
        with lock:
            known = self._known.get(which)
            if known is None:
                trials = self._trials(place, machine, qemu, at, state)
                evidence = "; ".join(f"{t.accelerator}: {t.evidence}" for t in trials)
                known = self._known[which] = (trials[-1].accelerator, evidence)
        self._add(machine.name, *known)
        return known[0]

    def given(self, machine: str, accelerator: str) -> None:
        """Record what a QEMU that is a machine is started with."""
        self._add(machine, accelerator, f"QEMU was started with -accel {accelerator}")

    def _add(self, machine: str, accelerator: str, evidence: str) -> None:
        self._facts.add(
            Accelerator(
                t_ns=now_ns(),
                machine=machine,
                accelerator="kvm" if accelerator == "kvm" else "tcg",
                evidence=evidence,
            )
        )

    def _trials(
        self, place: str, machine: Machine, qemu: str, at: str | None, state: str
    ) -> tuple[Trial, ...]:
        tiny, toolchain = self._images.tiny_guest(), self._images.toolchain(qemu)
        about = f"{toolchain.digest}/{tiny.parent.name}"
        if place == LAB:
            return remembered(
                self._images.memory, about, lambda: choose(machine, toolchain.argv(at), str(tiny))
            )

        def there() -> tuple[Trial, ...]:
            path = f"{machine.scratch}/tiny"
            machine.write_file(path, tiny.read_bytes(), mode=0o755)
            return choose(machine, toolchain.argv(at), path)

        return remembered(self._images.memory, f"{state}/{about}", there) if state else there()
