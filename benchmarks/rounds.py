"""The flat catalogue again and again: does any case say something else another time?

    python benchmarks/rounds.py DIRECTORY [--rounds 10] [--at-once 2] [--slow] [CASE...]

Every flat case of ``testcases/`` that `make test` runs (or the given ones; with ``--slow`` those
that only `make test-all` runs, too) is run once a round, as many at once as said; the rounds
follow each other. What each expectation came to is kept in DIRECTORY, with the whole run where it
did not pass, so that rounds that were broken off go on where they were. Printed at the end: the
expectations whose outcome was not the same in all rounds, with how often it was which, and the
reason of the rarest. Exit status 1 when there are any, or when one did not pass. Needs root and
built images.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.case.load import bind, load_case
from harness.record import RunDir
from harness.report import Result

ROOT = Path(__file__).resolve().parents[1]
RUN_S = 600.0


@dataclass(frozen=True)
class Item:
    """One case on one topology."""

    case: Path
    variant: str

    @property
    def name(self) -> str:
        return f"{self.case.stem}.{self.variant}"


@dataclass(frozen=True)
class Seen:
    """What an expectation came to in one round."""

    outcome: str
    reason: str


def flat_items(paths: Sequence[Path], *, slow: bool) -> Iterator[Item]:
    """The cases on topologies that have no host VMs."""
    for path in paths:
        case = load_case(path)
        for variant in case.variants:
            bound = bind(case, variant)
            nested = any(host.kind == "vm" for host in bound.topology.hosts.values())
            if not nested and (slow or not bound.about.slow):
                yield Item(path, bound.variant)


def run(item: Item, kept: Path) -> None:
    """Run it and write what came of it to ``kept``, unless that is there already."""
    if kept.exists():
        return
    directory = kept.with_suffix(".run")
    argv = [sys.executable, "-m", "harness.cli", "run", str(item.case), "--variant", item.variant]
    argv += ["--quiet", "--run-dir", str(directory)]
    shutil.rmtree(directory, ignore_errors=True)  # of a run that was broken off
    began = time.monotonic()
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    seen = {"(the run)": {"outcome": f"status {done.returncode}", "reason": done.stderr[-2000:]}}
    if done.returncode in (0, 1, 4):
        record = RunDir.open(directory)
        result = Result.model_validate_json(record.file(RunDir.RESULT).read_bytes())
        seen |= {
            one.path: {"outcome": one.outcome.value, "reason": one.reason}
            for one in result.findings
        }
    kept.write_text(json.dumps(seen), encoding="utf-8")
    if done.returncode == 0:
        shutil.rmtree(directory)
    print(f"  {kept.parent.name} {item.name}: status {done.returncode}, "
          f"{time.monotonic() - began:.0f} s", flush=True)  # fmt: skip


def told(items: Sequence[Item], rounds: Sequence[Path]) -> int:
    """Print what differed or did not pass; how many expectations that were."""
    bad = 0
    for item in items:
        seen: dict[str, list[Seen]] = defaultdict(list)
        for place in rounds:
            kept = json.loads((place / f"{item.name}.json").read_text(encoding="utf-8"))
            for path, one in kept.items():
                seen[path].append(Seen(one["outcome"], one["reason"]))
        for path, found in seen.items():
            counts = Counter(one.outcome for one in found)
            if set(counts) <= {"passed"} or set(counts) == {"status 0"}:
                continue
            bad += 1
            rarest = min(counts, key=lambda outcome: (outcome == "passed", counts[outcome]))
            reason = next(one.reason for one in found if one.outcome == rarest)
            print(f"{item.name}: {path}: {dict(counts)}\n    {reason}")
    return bad


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("cases", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--slow", action="store_true")
    options = parser.parse_args(argv)
    paths = options.cases or sorted((ROOT / "testcases").glob("*.yaml"))
    items = list(flat_items(paths, slow=options.slow or bool(options.cases)))
    rounds = [options.directory / f"round{number}" for number in range(options.rounds)]
    for place in rounds:
        place.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with ThreadPoolExecutor(options.at_once) as pool:
            kept = [place / f"{item.name}.json" for item in items]
            for _ in pool.map(run, items, kept):
                pass  # what it raised is raised here
        print(f"{place.name}: {time.monotonic() - began:.0f} s", flush=True)
    bad = told(items, rounds)
    print(f"{len(items)} cases, {len(rounds)} rounds: {bad} expectations differed or did not pass")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
