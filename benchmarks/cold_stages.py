"""Where the seconds of a cold run go: the first case on both labs, side by side in one run.

    python benchmarks/cold_stages.py [--runs N]

Prints, per stage, the median over the runs, the whole, the harness's own peak memory, and
the ratio of the two labs. Needs root and built images; asserts nothing.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CASE = ROOT / "testcases" / "migrate-under-traffic.yaml"
STAGE = re.compile(rb"\[ *([\d.]+) s\] (.+): done in ([\d.]+) s")


@dataclass(frozen=True)
class Run:
    """One cold run: seconds by stage, seconds in all, peak memory of the harness in MiB."""

    stages: dict[str, float]
    seconds: float
    peak_mib: float
    status: int


def peak_of(pid: int) -> float:
    """VmHWM of one process in MiB; its children (agents, QEMUs) are not in it."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else 0.0


def run(variant: str, directory: Path) -> Run:
    argv = [sys.executable, "-m", "harness.cli", "run", str(CASE), "--variant", variant]
    argv += ["--boot", "cold"]
    began = time.monotonic()
    with subprocess.Popen(
        [*argv, "--run-dir", str(directory)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as child:
        over, peak = threading.Event(), [0.0]

        def sample() -> None:
            while not over.wait(0.1):
                peak[0] = max(peak[0], peak_of(child.pid))

        sampler = threading.Thread(target=sample)
        sampler.start()
        lines = child.stderr.read() if child.stderr else b""
        status = child.wait()
        seconds = time.monotonic() - began
        over.set()
        sampler.join()
    stages = {match[2].decode(): float(match[3]) for match in STAGE.finditer(lines)}
    return Run(stages, seconds, peak[0], status)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    results: dict[str, list[Run]] = {"flat": [], "nested": []}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(runs):
            for variant, done in results.items():
                done.append(run(variant, Path(scratch, f"{variant}{number}")))
    medians = {}
    for variant, done in results.items():
        medians[variant] = statistics.median(one.seconds for one in done)
        print(f"{variant}: {medians[variant]:.1f} s (median of {runs}: "
              f"{', '.join(f'{one.seconds:.1f}' for one in done)}), exit codes "
              f"{[one.status for one in done]}, peak memory of the harness "
              f"{max(one.peak_mib for one in done):.0f} MiB")  # fmt: skip
        names = dict.fromkeys(name for one in done for name in one.stages)
        for name in names:
            times = [one.stages[name] for one in done if name in one.stages]
            print(f"  {statistics.median(times):6.1f} s  {name}")
    print(f"nested / flat: {medians['nested'] / medians['flat']:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
