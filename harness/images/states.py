"""Saved states of machines: kept beside the images that they were made from.

A state is named by the digest of everything that matters (``StateKey``); what that is, the
lab knows. A state that fits no more has another name and is never taken; one that fits is read
whole and compared with the list of its contents before it is used, at every use. What was cut
off or changed is refused with the reason, and made again.

Not here: how a machine is saved and loaded (``harness.lab``). Neighbours: ``cache`` makes
each state once, whole or not at all, whoever is killed meanwhile.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ImageError
from harness.images.cache import Cache, Entry, Key, Made, digest_of
from harness.images.reporter import Reporter
from harness.images.tools import Progress

KIND = "state"
FORMAT = "1"
"""Of what states hold and how they are made: another one makes every older state unfit."""
HOLDS = "holds"
"""Fact of a manifest: digests of the images that the thing was made from."""
_PART = "part "

Make = Callable[[Path, Reporter], None]
"""Fills an empty directory with a state. May raise any HarnessError; then nothing is kept."""

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StateKey:
    """What a state is of: ``parts`` by words that people know (``QEMU``, ``kernel``, ...).

    ``name`` is the machine's; ``needs`` are the digests of the images that it was made from:
    they do not count (the parts do), but the state goes when they go.
    """

    name: str
    parts: Mapping[str, str]
    needs: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return digest_of({"format": FORMAT, **self.parts})


@dataclass(frozen=True, slots=True)
class State:
    """A finished state. ``size`` in octets; ``made_at`` in seconds since 1970."""

    name: str
    digest: str
    directory: Path
    size: int
    made_at: float

    def file(self, name: str) -> Path:
        """One of the files that its maker put there."""
        return self.directory / name

    @property
    def made(self) -> str:
        """When it was made, in UTC (ISO 8601)."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.made_at))


class States:
    """The states of a cache. Safe for several threads and processes."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def glance(self, key: StateKey) -> State | None:
        """The state as far as sizes tell: for what can be done while ``find`` reads it."""
        entry = self._cache.find(_key(key))
        return _state(entry) if entry else None

    def find(self, key: StateKey, note: Note) -> State | None:
        """The state, read whole and found to be as it was made; None: there is none.

        One that is damaged is removed; ``note`` gets the reason.
        """
        wanted = _key(key)
        entry = self._cache.find(wanted)
        damage = self._cache.damage(entry) if entry else self._cache.refused(wanted)
        if damage:
            note(
                f"the state {key.digest[:16]} of {key.name} is damaged and is not used: "
                + "; ".join(damage)
            )
            if entry:
                # Another process may have seen the same, and been quicker.
                with suppress(ImageError):
                    self._cache.remove(entry)
            return None
        if entry is None:
            return None
        self._cache.mark_used(entry)
        return _state(entry)

    def obtain(self, key: StateKey, make: Make, progress: Progress, note: Note) -> State:
        """The state, made by ``make`` if need be; waits for another process that makes it.

        ``note`` gets the reason why there was none: a damaged one, or how the nearest differs.
        """
        there = self.find(key, note)
        if there:
            return there
        if differs := self.nearest(key):
            note(differs)

        def build(into: Path, report: Reporter) -> Made:
            make(into, report)
            facts = {f"{_PART}{name}": text for name, text in key.parts.items()}
            return Made(version=FORMAT, facts={HOLDS: " ".join(key.needs), **facts})

        return _state(self._cache.obtain(_key(key), build, progress))

    def nearest(self, key: StateKey) -> str:
        """How the state of that name that differs least differs; empty if there is none."""
        found = []
        for entry in self._cache.entries():
            made = entry.manifest
            if made.kind == KIND and made.name == key.name and made.digest != key.digest:
                found.append((differences(_parts(entry), key.parts), -made.made_at, entry))
        if not found:
            return ""
        differs, _, entry = min(found, key=lambda one: (len(one[0]), one[1]))
        what = "; ".join(differs) or "another format of states"
        return f"the state of {key.name} that was made at {_state(entry).made} does not fit: {what}"


def differences(had: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """What differs between the parts of two states, in words; of long texts only what differs."""
    told = []
    for name in dict.fromkeys([*had, *wanted]):
        before, now = had.get(name, ""), wanted.get(name, "")
        if before == now:
            continue
        had_words, now_words = _short(before).split(), _short(now).split()
        lost = [word for word in had_words if word not in now_words]
        new = [word for word in now_words if word not in had_words]
        told.append(f"{name}: was {' '.join(lost) or 'without'}, is {' '.join(new) or 'without'}")
    return told


def _short(text: str) -> str:
    """Whole digests say no more to people than their beginnings."""
    return re.sub(r"\b([0-9a-f]{16})[0-9a-f]{48}\b", r"\1", text)


def _key(key: StateKey) -> Key:
    images = [
        f"{part} {text.split()[0]}" for part, text in key.parts.items() if text != _short(text)
    ]
    origin = ", ".join([f"saved state of {key.name}", *images])
    return Key(KIND, key.name, key.digest, origin)


def _parts(entry: Entry) -> dict[str, str]:
    return {
        name.removeprefix(_PART): text
        for name, text in entry.manifest.made.facts.items()
        if name.startswith(_PART)
    }


def _state(entry: Entry) -> State:
    made = entry.manifest
    return State(made.name, made.digest, entry.path, made.size, made.made_at)
