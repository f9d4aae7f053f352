"""What saved states save on the nested lab: the first case, warm and cold, side by side in one run.

    python benchmarks/warm_nested.py [--runs N]

Prints the medians and the ratio, from the command to the verdict and stage by stage, and where
the seconds between the destination's RESUME and the return of the primary go. Needs root and built
images; the first warm run of all makes the states, and is not counted. Asserts nothing.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.observe import Fact, HostEvent, KernelMessage, LinkEvent, QmpEvent, read_facts

ROOT = Path(__file__).resolve().parents[1]
CASE = ROOT / "testcases" / "migrate-under-traffic.yaml"
STAGE = re.compile(r"\[ *[\d.]+ s\] (.+): done in ([\d.]+) s")


def _kernel(words: str) -> Callable[[Fact], bool]:
    return lambda fact: isinstance(fact, KernelMessage) and fact.guest != "" and words in fact.text


def _link(event: str) -> Callable[[Fact], bool]:
    return lambda fact: (
        isinstance(fact, LinkEvent) and fact.event == event and fact.link.driver == "igbvf"
    )


RETURN: tuple[tuple[str, Callable[[Fact], bool]], ...] = (
    ("the guest's kernel finds the function (PCI hotplug)", _kernel("type 00 class")),
    ("it has its address windows", _kernel("BAR 3 [mem 0xf")),
    ("igbvf begins its probe", _kernel("enabling device")),
    (
        "bus-master enable is seen on the host",
        lambda fact: isinstance(fact, HostEvent) and fact.event == "vf-bus-master-on",
    ),
    ("the netdev is there, and enslaved", _link("enslaved")),
    ("igbvf is open, and looks for its link", _link("down")),
    ("it has looked again: the primary is up", _link("up")),
)
"""The stages after RESUME, in their order."""


@dataclass(frozen=True)
class Run:
    """One run; seconds. ``back``: from RESUME to each stage of ``RETURN``."""

    whole: float
    stages: dict[str, float]
    back: tuple[float | None, ...]
    status: int


def run(boot: str, directory: Path) -> Run:
    argv = [sys.executable, "-m", "harness.cli", "run", str(CASE), "--variant", "nested"]
    began = time.monotonic()
    done = subprocess.run(
        [*argv, "--boot", boot, "--run-dir", str(directory)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    whole = time.monotonic() - began
    stages = {name: float(seconds) for name, seconds in STAGE.findall(done.stderr)}
    return Run(whole, stages, back(directory / "facts.jsonl"), done.returncode)


def back(file: Path) -> tuple[float | None, ...]:
    facts = read_facts(file)
    resumed = next(
        (
            fact.t_ns
            for fact in facts
            if isinstance(fact, QmpEvent) and fact.name == "RESUME" and fact.role == "destination"
        ),
        None,
    )
    if resumed is None:
        return (None,) * len(RETURN)
    # Of each the first that came after RESUME, whatever the order in which they were recorded.
    times = [
        min((f.t_ns for f in facts if f.t_ns > resumed and wanted(f)), default=None)
        for _, wanted in RETURN
    ]
    return tuple(None if t is None else (t - resumed) / 1e9 for t in times)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    results: dict[str, list[Run]] = {"warm": [], "cold": []}
    with tempfile.TemporaryDirectory() as scratch:
        run("warm", Path(scratch, "first"))
        for number in range(runs):
            for boot, done in results.items():
                done.append(run(boot, Path(scratch, f"{boot}{number}")))
    medians = {}
    for boot, done in results.items():
        medians[boot] = statistics.median(one.whole for one in done)
        wholes = ", ".join(f"{one.whole:.1f}" for one in done)
        print(f"{boot}: {medians[boot]:.1f} s from the command to the verdict ({wholes}), exit "
              f"codes {[one.status for one in done]}")  # fmt: skip
        for name in dict.fromkeys(name for one in done for name in one.stages):
            times = [one.stages[name] for one in done if name in one.stages]
            print(f"  {statistics.median(times):6.1f} s  {name}")
    print(f"warm / cold: {medians['warm'] / medians['cold']:.2f}")
    print("seconds after RESUME on the destination, median of all runs:")
    for number, (stage, _) in enumerate(RETURN):
        seen = [one.back[number] for done in results.values() for one in done]
        there = [seconds for seconds in seen if seconds is not None]
        print(f"  {statistics.median(there):6.2f}  {stage}" if there else f"       -  {stage}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
