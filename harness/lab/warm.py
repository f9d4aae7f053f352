"""Starts a guest warm where that can be: loads its saved state, made first where there is none.

Where it cannot be saved or loaded, it boots: that costs time and nothing else, and the reason
is told. Which of the two it was is a fact of the run.

Neighbours: ``seed`` makes a state, ``statekey`` names it, ``guest`` loads it; ``lab`` calls
this for each guest.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from harness.errors import ImageError, StateError
from harness.images import State
from harness.lab.guest import LabGuest
from harness.lab.host import LabHost
from harness.lab.hostvm import COLD
from harness.lab.images import LabImages
from harness.lab.progress import Progress
from harness.lab.seed import make_state
from harness.lab.statekey import guest_key
from harness.observe import FactLog, GuestStart, Note
from harness.observe.record import now_ns
from harness.reach.sandbox import Sandbox


def start_guest(
    guest: LabGuest,
    host: LabHost,
    images: LabImages,
    sandbox: Sandbox,
    facts: FactLog,
    progress: Progress,
    *,
    logs: Path,
    warm: bool,
    emulated_by: str = "",
) -> None:
    """Load the guest's state, or boot it where it is not to be ``warm`` or cannot be."""
    why = COLD
    if warm:
        try:
            state = _load(guest, host, images, sandbox, facts, progress, logs, emulated_by)
        except (StateError, ImageError) as error:
            why = error.message
            progress.say(f"{guest.name} boots: {error}")
        else:
            facts.add(
                GuestStart(
                    t_ns=now_ns(), guest=guest.name, host=host.name, how="loaded",
                    state=state.digest, made=state.made,
                )
            )  # fmt: skip
            return
    guest.start(host)
    facts.add(GuestStart(t_ns=now_ns(), guest=guest.name, host=host.name, how="booted", why=why))


def _load(
    guest: LabGuest,
    host: LabHost,
    images: LabImages,
    sandbox: Sandbox,
    facts: FactLog,
    progress: Progress,
    logs: Path,
    emulated_by: str,
) -> State:
    if not guest.plan.placements[host.name].seed:
        raise StateError(
            f"{guest.name}: cannot be saved: not all that it starts with is plugged again by "
            "QEMU's failover"
        )

    def note(text: str) -> None:
        progress.say(text)
        facts.add(Note(t_ns=now_ns(), text=text))

    key = guest_key(guest.plan, host, images, guest.accelerator, emulated_by)
    states = images.states
    if there := states.glance(key):
        # Read whole while its QEMU starts, and used only then.
        with ThreadPoolExecutor(1, thread_name_prefix="state") as pool:
            reading = pool.submit(states.find, key, note)
            try:
                guest.load(host, there, logs, whole=lambda: reading.result() is not None)
            except StateError:
                if reading.result() is not None:
                    raise
            else:
                return there
    make = partial(make_state, guest.plan, host, images, sandbox, guest.accelerator)
    with progress.step(f"state of {guest.name}"):
        state = states.obtain(key, make, progress.say, note)
    guest.load(host, state, logs)
    return state
