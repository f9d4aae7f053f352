"""Starts a guest warm where that can be: loads its saved state, made first where there is none.

Where it cannot be saved or loaded, it boots: that costs time and nothing else, and the reason
is told. Which of the two it was is a fact of the run.

Neighbours: ``seed`` makes a state, ``statekey`` names it, ``guest`` loads it; ``lab`` calls
this for each guest.
"""

from __future__ import annotations

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
            state = _state(guest, host, images, sandbox, facts, progress, emulated_by)
            guest.load(host, state, logs)
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


def _state(
    guest: LabGuest,
    host: LabHost,
    images: LabImages,
    sandbox: Sandbox,
    facts: FactLog,
    progress: Progress,
    emulated_by: str,
) -> State:
    if not guest.plan.placements[host.name].seed:
        raise StateError(f"{guest.name}: it has a VF that is no primary, and cannot be saved")

    def note(text: str) -> None:
        progress.say(text)
        facts.add(Note(t_ns=now_ns(), text=text))

    key = guest_key(guest.plan, host, images, guest.accelerator, emulated_by)
    make = partial(make_state, guest.plan, host, images, sandbox, guest.accelerator)
    with progress.step(f"state of {guest.name}"):
        return images.states.obtain(key, make, progress.say, note)
