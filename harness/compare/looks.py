"""When a gate looks at its runs, and how much of the error each look may spend.

Looking several times and stopping at the first good moment would find a difference that is not
there more often than promised. So the looks are fixed before the first run, and the error is
spent over them as Lan and DeMets (1983) describe, by the power family of Kim and DeMets (1987):
up to the share t of the budget, error * t^2 may be spent. The errors of the looks are added up
(Bonferroni) without credit for what they have in common, so the sum holds exactly, whatever
the distribution of the figures is.

A look at which the test cannot reach its level with any outcome would waste what it spends;
it is left out, and the next one may spend its share. Three runs against three are never looked
at: they reach 0.1 on both sides at best.

Neighbours: ``ranks`` has the test; ``schedule`` runs as far as the next look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.compare.ranks import least_chance
from harness.errors import InputError

ERROR = 0.025
"""Of each claim in a whole gate: worse though it is not, and no worse though it is."""

FEWEST = 4
_SHARES = (0.4, 0.6, 1.0)
_POWER = 2
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Look:
    """After ``runs`` runs of each build the test is made at ``level``, one-sided."""

    runs: int
    level: float


def plan_looks(runs: int, endpoints: int, *, error: float = ERROR) -> tuple[Look, ...]:
    """The looks of a gate with a budget of ``runs`` runs of each build.

    The level of a look is for all ``endpoints`` together (Holm). Raises InputError for a
    budget with which nothing could ever be claimed.
    """
    if runs > _MOST:
        raise InputError(f"{runs} runs of each build: at most {_MOST} can be asked for")
    looks: list[Look] = []
    spent = 0.0
    for share in _SHARES:
        # Whole blocks of A B B A have an even number of each.
        count = min(runs, 2 * math.ceil(share * runs / 2))
        if count < FEWEST or (looks and looks[-1].runs >= count):
            continue
        level = error * (count / runs) ** _POWER - spent
        if least_chance(count) <= level / max(1, endpoints):
            looks.append(Look(count, level))
            spent += level
    if not looks or looks[-1].runs != runs:
        raise InputError(
            f"{runs} runs of each build cannot show a difference in {endpoints} endpoints: "
            f"even if all pairs differed, chance could be the reason",
            hint=f"ask for at least {fewest(endpoints, error=error)} runs of each build",
        )
    return tuple(looks)


def fewest(endpoints: int, *, error: float = ERROR) -> int:
    """The smallest budget with which something can be claimed."""
    runs = FEWEST
    while least_chance(runs) > error / max(1, endpoints):
        runs += 1
    return runs
