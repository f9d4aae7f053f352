"""What is known of mutants, and the table of it: pure, from ``mutants.yaml`` and recorded runs.

Neighbours: ``mutants`` builds and runs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.document import read, validate

HERE = Path(__file__).parent / "mutants"
Kind = Literal["kernel", "qemu"]
KINDS: tuple[Kind, ...] = ("kernel", "qemu")
TITLES: Mapping[Kind, str] = {
    "kernel": "Linux 6.12: net_failover and failover",
    "qemu": "QEMU 10.0",
}
LONGEST = 240
"""Characters of a reason that the table shows."""
SHOWN = 4
"""Cases that missed a mutant and are named; more are counted."""
STOCK = ""
"""The name of no mutant: what the topologies mean."""


Judged = Literal["finds", "passes", "useless", "run mutant", "run stock"]
"""``useless``: the case does not pass without the mutant, or does not fail twice in one way."""
TWICE = 2
HOPELESS = 3


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Mutant(_Part):
    """What is known of a mutant before it runs: see the head of ``mutants.yaml``."""

    changes: str
    seen: str = ""
    unseen: str = ""
    cases: tuple[str, ...]
    by: str = ""
    missed: str = ""

    @model_validator(mode="after")
    def _observable(self) -> Mutant:
        if bool(self.seen) == bool(self.unseen):
            raise ValueError("wanted `seen:` (who can observe it) or `unseen:` (why nobody can)")
        return self


class Index(_Part):
    """``mutants.yaml``."""

    kernel: dict[str, Mutant]
    qemu: dict[str, Mutant]

    def of(self, kind: Kind) -> dict[str, Mutant]:
        return self.kernel if kind == "kernel" else self.qemu


class Ran(_Part):
    """One run of a case. ``broke``: the lab did, or the input was refused."""

    mutant: str
    case: str
    outcome: Literal["passed", "failed", "cannot-tell", "broke"]
    failed: tuple[str, ...] = Field((), description="expectations that failed")
    reason: str = Field("", description="of the first of them, or what broke")
    seconds: float = 0.0


class Known(_Part):
    """``results.json``: all runs in their order, and which mutants could not be built."""

    runs: tuple[Ran, ...] = ()
    unbuilt: dict[str, str] = Field(default_factory=dict)

    def of(self, mutant: str, case: str) -> tuple[Ran, ...]:
        return tuple(one for one in self.runs if (one.mutant, one.case) == (mutant, case))

    def cases_of(self, mutant: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.case for one in self.runs if one.mutant == mutant))

    def judged(self, mutant: str, case: str) -> Judged:
        """What a case makes of a mutant, or which run would tell more."""
        found, stock = self.of(mutant, case), self.of(STOCK, case)
        if any(one.outcome == "passed" for one in found):
            return "passes"
        if not found:
            return "run mutant"
        if not any(one.outcome == "passed" for one in stock):
            return "run stock" if len(stock) < TWICE else "useless"
        if len(found) < TWICE:
            return "run mutant"
        return "finds" if common(found) else "useless"

    def hopeless(self, mutant: str) -> bool:
        """No lab comes up with it: nothing but broken ones, in several cases."""
        broken = all(one.outcome == "broke" for one in self.runs if one.mutant == mutant)
        return broken and len(self.cases_of(mutant)) >= HOPELESS

    def decided(self, mutant: str) -> bool:
        """Whether it was run, and every case that was run with it often enough."""
        judged = [self.judged(mutant, case) for case in self.cases_of(mutant)]
        return bool(judged) and not any(one.startswith("run ") for one in judged)

    def finder(self, mutant: str) -> str:
        """The case that finds it, or nothing."""
        cases = self.cases_of(mutant)
        return next((one for one in cases if self.judged(mutant, one) == "finds"), "")


def common(runs: Sequence[Ran]) -> tuple[str, ...]:
    """What failed in every one of the runs."""
    if any(one.outcome != "failed" for one in runs):
        return ()
    return tuple(what for what in runs[0].failed if all(what in one.failed for one in runs))


def recipe(kind: Kind, mutant: str) -> Path:
    return HERE / kind / f"{mutant}.yaml"


def index() -> Index:
    """All mutants; ProblemsError tells what is wrong in the file."""
    return validate(read(HERE / "mutants.yaml"), Index)


def page(mutants: Index, known: Known, prose: str) -> str:
    """``docs/mutants.md``: the prose, and a table for each kind."""
    parts = [prose.rstrip(), "", *_sum(mutants, known)]
    for kind, title in TITLES.items():
        parts += ["", f"## {title}", "", "| mutant | what it does | who can see it | found by |"]
        parts += ["|---|---|---|---|"]
        parts += [
            f"| [{name}](../benchmarks/mutants/{kind}/{name}.patch) | {one.changes} "
            f"| {one.seen or 'nobody: ' + one.unseen} | {_found(name, one, known)} |"
            for name, one in mutants.of(kind).items()
        ]
    return "\n".join(parts) + "\n"


def _sum(mutants: Index, known: Known) -> Iterator[str]:
    for kind in KINDS:
        seen = [name for name, one in mutants.of(kind).items() if one.seen]
        tried = [name for name in seen if known.decided(name)]
        found = [name for name in tried if known.finder(name)]
        share = f" ({100 * len(found) / len(tried):.0f} %)" if tried else ""
        yield (
            f"* {TITLES[kind]}: {len(found)} of the {len(tried)} that were run and can be seen "
            f"are found{share}; {len(seen) - len(tried)} were not run, or not to the end."
        )


def _found(name: str, mutant: Mutant, known: Known) -> str:
    """How a mutant was found, or why not."""
    if name in known.unbuilt:
        return "not built: " + _cell(known.unbuilt[name])
    if case := known.finder(name):
        runs = known.of(name, case)
        also = "" if case in mutant.cases else " (not expected to)"
        return f"`{case}`{also}: {_cell('; '.join(common(runs)))}. {_cell(runs[-1].reason)}"
    judged = {case: known.judged(name, case) for case in known.cases_of(name)}
    if not judged:
        likely = ", ".join(f"`{case}`" for case in mutant.cases)
        return f"not run; should be by {likely}: {mutant.by}" if likely else "not run"
    if not known.decided(name):
        return "not run to the end"
    broke = [one for one in known.runs if one.mutant == name and one.outcome == "broke"]
    passed = [f"`{case}`" for case, one in judged.items() if one == "passes"]
    rest = f"; the lab broke {len(broke)} times: {_cell(broke[0].reason)}" if broke else ""
    why = f": {mutant.missed}" if mutant.missed else ""
    by = ", ".join(passed) if len(passed) <= SHOWN else f"{len(passed)} cases"
    return f"{'not found' if mutant.unseen else '**missed**'} by {by}{rest}{why}"


def _cell(text: str) -> str:
    """Of a text, what fits into a cell."""
    line = " ".join(text.split()).replace("|", "\\|")
    return line if len(line) <= LONGEST else line[:LONGEST] + "..."
