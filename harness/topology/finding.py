"""What a rule finds, before it has a place in a file.

``load`` gives a finding its line and column, and leaves out those that only follow from a
part that could not be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.document import Damage, Path, nearest


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not agree with the rest.

    ``relies_on``: paths that the rule looked at; with one of them unreadable, it cannot tell.
    ``lacks_in``: parts that the rule searched whole and in vain.
    ``at_key``: the place is the key of ``path``, not its value.
    """

    path: Path
    message: str
    hint: str = ""
    relies_on: tuple[Path, ...] = ()
    lacks_in: tuple[Path, ...] = ()
    at_key: bool = False

    def is_sound(self, damage: Damage) -> bool:
        """Whether it holds although the parts in ``damage`` are unknown."""
        looked_at = (self.path, *self.relies_on, *self.lacks_in)
        return not (
            any(damage.covers(path) for path in looked_at)
            or any(damage.is_within(path) for path in self.lacks_in)
        )


def unknown(path: Path, message: str, name: str, names: Iterable[str], where: Path) -> Finding:
    """A name that stands for nothing: ``where`` is the part that ought to hold it."""
    known = list(names)
    close = nearest(name, known)
    if close:
        hint = f"did you mean '{close}'?"
    elif known:
        hint = f"it has {', '.join(known)}" if len(known) <= 12 else ""
    else:
        hint = "there are none"
    return Finding(path, message, hint, relies_on=((*where, name),))
