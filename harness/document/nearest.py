"""Which name did the user mean? The hints that end a problem."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import islice

_LIKE_ENOUGH = 0.6
_MOST_COMPARED = 200


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that looks most like ``name``, the first of equals; or None."""
    matcher = SequenceMatcher(b=name[:100].lower())
    best, best_ratio = None, _LIKE_ENOUGH
    for other in islice(names, _MOST_COMPARED):
        matcher.set_seq1(other[:100].lower())
        if matcher.real_quick_ratio() < best_ratio:
            continue
        ratio = matcher.ratio()
        if ratio > best_ratio or (best is None and ratio == best_ratio):
            best, best_ratio = other, ratio
    return best


def one_of(names: Iterable[str]) -> str:
    """``'a', 'b' or 'c'`` for a sentence."""
    quoted = [f"'{name}'" for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if quoted[1:] else quoted)


def suggestion(name: str, names: Iterable[str], *, none: str = "") -> str:
    """A hint: the nearest name, else all names (when they are few), else ``none``."""
    known = list(names)
    if not known:
        return none
    if close := nearest(name, known):
        return f"did you mean '{close}'?"
    if len(known) <= 24:
        return f"known: {', '.join(known)}"
    return none
