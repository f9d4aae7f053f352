"""Warm labs against cold ones, side by side in one run.

    python benchmarks/warm.py [--runs 10] [--nested-runs 3] [--variants flat nested]

A case with two seconds of traffic (``two-seconds.yaml``) is run with ``--boot cold`` and
``--boot warm`` in turn; a first warm run of each lab, which makes what warm labs start from, is
told apart and counts for nothing. Printed, with the ratios: the time until the guest could be
reached, from the command and from the begin of the lab; the time from the command to the
verdict; each stage's median. Then whether the verdicts on netdevs and on the order of events
agree, the losses beside each other, and what the warm runs have left: memory, processes, disk.
Needs root, built images and a quiet machine; asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from harness.images.store import default_root
from harness.record import RunDir, StepTiming
from harness.report import Result

ROOT = Path(__file__).resolve().parents[1]
CASE = ROOT / "benchmarks" / "two-seconds.yaml"
BOOTS = ("cold", "warm")
RUN_S = 400.0


@dataclass(frozen=True)
class Run:
    """One run: from the command to its end, its steps and its verdict."""

    seconds: float
    steps: tuple[StepTiming, ...]
    result: Result

    def ended(self, name: str) -> float:
        """Seconds from the command to the end of a step."""
        return next(step.end_s for step in self.steps if step.name == name)

    @property
    def reachable(self) -> float:
        """Seconds from the command until the guest answered."""
        return self.ended("ready g1")

    @property
    def lab_reachable(self) -> float:
        """The same from the begin of the lab: without the loading of the program."""
        return self.reachable - self.ended("turn")

    @property
    def verdicts(self) -> dict[str, str]:
        """What became of the expectations on netdevs and on the order of events."""
        return {
            one.path: one.outcome.value
            for one in self.result.findings
            if one.path.startswith(("expect.netdevs", "expect.order"))
        }

    @property
    def lost(self) -> dict[str, int | None]:
        return {one.stream: one.lost for one in self.result.streams}


@dataclass(frozen=True)
class Left:
    """What runs could leave behind."""

    memory_mib: int
    processes: int
    store_mib: int
    temporary_mib: int

    def __str__(self) -> str:
        return (
            f"{self.memory_mib} MiB of memory in use, {self.processes} processes, "
            f"{self.store_mib} MiB in the store, {self.temporary_mib} MiB of temporary files"
        )


def what_is_there() -> Left:
    words = Path("/proc/meminfo").read_text(encoding="utf-8").split()
    kib = {name.rstrip(":"): int(value) for name, value in pairwise(words) if name[-1] == ":"}
    return Left(
        memory_mib=(kib["MemTotal"] - kib["MemAvailable"]) >> 10,
        processes=sum(name.isdigit() for name in os.listdir("/proc")),
        store_mib=used_mib(default_root()),
        temporary_mib=sum(used_mib(Path(name)) for name in ("/dev/shm", tempfile.gettempdir())),
    )


def used_mib(top: Path) -> int:
    """Blocks in use below a directory, holes not counted, links counted once."""
    seen: dict[tuple[int, int], int] = {}
    for folder, _, names in os.walk(top, onerror=lambda _: None):
        for name in names:
            try:
                found = os.lstat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values()) >> 20


def run(variant: str, boot: str, directory: Path) -> Run:
    argv = [sys.executable, "-m", "harness.cli", "run", str(CASE), "--variant", variant]
    argv += ["--boot", boot, "--quiet", "--run-dir", str(directory)]
    began = time.monotonic()
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    seconds = time.monotonic() - began
    if done.returncode not in (0, 1, 4):
        raise SystemExit(f"{' '.join(argv)}\nended with {done.returncode}:\n{done.stderr}")
    record = RunDir.open(directory)
    result = Result.model_validate_json(record.file(RunDir.RESULT).read_bytes())
    steps = record.timings().steps
    shutil.rmtree(directory)
    ran = Run(seconds, steps, result)
    print(
        f"  {variant} {boot}: {seconds:.1f} s, {result.outcome.value}, lost {ran.lost}", flush=True
    )
    return ran


def compared(what: str, runs: dict[str, list[Run]], value: Callable[[Run], float]) -> None:
    """One line: both medians, their ratio, and all values."""
    values = {boot: sorted(value(one) for one in done) for boot, done in runs.items()}
    medians = {boot: statistics.median(found) for boot, found in values.items()}
    each = "; ".join(
        f"{boot} {' '.join(f'{one:.1f}' for one in found)}" for boot, found in values.items()
    )
    print(f"  {what:<36} cold {medians['cold']:6.2f} s  warm {medians['warm']:6.2f} s  "
          f"ratio {medians['warm'] / medians['cold']:.2f}   ({each})")  # fmt: skip


def stages(runs: dict[str, list[Run]]) -> None:
    names = dict.fromkeys(
        step.name
        for done in runs.values()
        for one in done
        for step in sorted(one.steps, key=lambda step: step.begin_s)
    )
    print("  medians of the stages, in seconds: cold, warm")
    for name in names:
        cells = []
        for boot in BOOTS:
            found = [
                step.end_s - step.begin_s
                for one in runs[boot]
                for step in one.steps
                if step.name == name
            ]
            cells.append(f"{statistics.median(found):8.2f}" if found else f"{'-':>8}")
        print(f"  {' '.join(cells)}  {name}")


def verdicts(runs: dict[str, list[Run]]) -> None:
    every = [(boot, one.verdicts) for boot, done in runs.items() for one in done]
    different = [(boot, found) for boot, found in every if found != every[0][1]]
    print(f"  verdicts on netdevs and order: {len(every)} runs, {len(different)} unlike the first; "
          f"the first: {every[0][1]}")  # fmt: skip
    for boot, found in different:
        print(f"    {boot}: {found}")
    for stream in runs["cold"][0].lost:
        for boot in BOOTS:
            found = [one.lost[stream] for one in runs[boot]]
            known = sorted(lost for lost in found if lost is not None)
            middle = f"median {statistics.median(known):g}" if known else "nothing known"
            unknown = f", {len(found) - len(known)} not known" if len(known) < len(found) else ""
            print(f"  lost {stream:<9} {boot}: {middle}; {' '.join(map(str, known))}{unknown}")


def variant_of(variant: str, count: int, scratch: Path) -> None:
    print(f"{variant}: {count} runs each, in turn", flush=True)
    first = run(variant, "warm", scratch / "first")
    print(f"  the first warm run, which may have to make the states: {first.seconds:.1f} s")
    runs: dict[str, list[Run]] = {boot: [] for boot in BOOTS}
    for number in range(count):
        for boot in BOOTS:
            runs[boot].append(run(variant, boot, scratch / f"{boot}{number}"))
    compared("guest reachable, from the command", runs, lambda one: one.reachable)
    compared("guest reachable, from the lab's begin", runs, lambda one: one.lab_reachable)
    compared("command to verdict", runs, lambda one: one.seconds)
    stages(runs)
    verdicts(runs)
    before = what_is_there()
    for number in range(count):
        run(variant, "warm", scratch / f"again{number}")
    after = what_is_there()
    print(f"  before {count} warm runs: {before}\n  after them:          {after}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--nested-runs", type=int, default=3)
    parser.add_argument("--variants", nargs="+", default=["flat", "nested"])
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        for variant in options.variants:
            count = options.nested_runs if variant == "nested" else options.runs
            variant_of(variant, count, Path(scratch))
    return 0


if __name__ == "__main__":
    sys.exit(main())
