"""What saved states save: the flat lab, warm and cold, side by side in one run.

    python benchmarks/warm.py [--runs N]

Each round runs one case with about two seconds of traffic, warm and cold. Printed, as medians and
ratios: from ready hosts until the guest answers, and from the command to the verdict; the
losses of each run; what the warm runs left (memory, disk, processes). Needs root and built images;
asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.images import Store
from harness.observe import Accelerator, GuestClock, GuestStart, StepFact, StreamFact, read_facts

ROOT = Path(__file__).resolve().parents[1]
CASE = f"""\
case: a guest keeps its traffic through a migration, shortly
topology: {ROOT}/topologies/flat-pair.yaml
traffic:
  inbound: {{from: client, to: g1, udp: {{rate: 500/s, size: 128}}, rate_tolerance: 30%,
             before: 300ms, after: 500ms, waiting_time: 500ms}}
steps:
  - migrate: {{guest: g1, to: beta, within: 60s}}
  - wait: {{for: {{guest: g1, primary: net1, state: up}}, within: 60s}}
expect:
  migration: completed
  netdevs:
    start: &trio
      g1: {{net1: {{failover: net_failover, standby: virtio_net, primary: e1000e}}}}
    end: *trio
  order:
    - [source UNPLUG_PRIMARY, source STOP, destination RESUME, guest primary enslaved]
"""


WAITING_S = 0.5


@dataclass(frozen=True)
class Run:
    """One run; seconds. ``verdicts``: the outcome of each expectation."""

    how: str
    answers: float
    traffic: float
    whole: float
    lost: int
    verdicts: tuple[str, ...]


def run(case: Path, boot: str, directory: Path) -> Run:
    argv = [sys.executable, "-m", "harness.cli", "run", str(case), "--boot", boot]
    began = time.monotonic()
    done = subprocess.run(
        [*argv, "--run-dir", str(directory)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    whole = time.monotonic() - began
    if not (directory / "result.json").exists():
        raise SystemExit(done.stderr)
    result = json.loads((directory / "result.json").read_text())
    facts = read_facts(directory / "facts.jsonl")
    (start,) = [fact for fact in facts if isinstance(fact, GuestStart)]
    # The state is read through after the hosts are ready: that counts.
    ready = max(f.t_ns for f in facts if isinstance(f, Accelerator) and "@" not in f.machine)
    first = next(fact for fact in facts if isinstance(fact, GuestClock))
    steps = [fact.t_ns for fact in facts if isinstance(fact, StepFact)]
    over = min(fact.t_ns for fact in facts if isinstance(fact, StreamFact))
    return Run(
        start.how,
        (first.t_ns + first.err_ns - ready) / 1e9,
        (over - steps[1]) / 1e9 - WAITING_S,
        whole,
        sum(stream["lost"] or 0 for stream in result["streams"]),
        tuple(finding["outcome"] for finding in result["findings"]),
    )


def left() -> dict[str, float]:
    """Memory in use and the store's size in MiB, and how many processes there are."""
    memory = dict(
        line.replace(":", "").split()[:2]
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith(("MemTotal", "MemAvailable"))
    )
    used = int(memory["MemTotal"]) - int(memory["MemAvailable"])
    size = sum(entry.manifest.size for entry in Store().list())
    processes = sum(name.isdigit() for name in os.listdir("/proc"))
    return {"memory": used / 1024, "store": size / (1 << 20), "processes": processes}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    results: dict[str, list[Run]] = {"warm": [], "cold": []}
    with tempfile.TemporaryDirectory() as scratch:
        case = Path(scratch, "short.yaml")
        case.write_text(CASE)
        run(case, "warm", Path(scratch, "first"))  # makes the state, if there is none
        before = left()
        for number in range(runs):
            for boot, done in results.items():
                done.append(run(case, boot, Path(scratch, f"{boot}-{number}")))
                print(f"round {number + 1} {boot}: {done[-1]}", flush=True)
        after = left()
    rows = {
        "from ready hosts until the guest answers": lambda one: one.answers,
        "traffic": lambda one: one.traffic,
        "from the command to the verdict": lambda one: one.whole,
    }
    print(f"{'':<42}{'warm':>8}{'cold':>8}   ratio")
    for title, figure in rows.items():
        warm, cold = (statistics.median(map(figure, results[boot])) for boot in ("warm", "cold"))
        print(f"{title:<42}{warm:>7.2f}s{cold:>7.2f}s{warm / cold:>8.2f}")
    for boot, done in results.items():
        print(f"lost, {boot}: {' '.join(map(str, sorted(one.lost for one in done)))}")
    same = len({one.verdicts for done in results.values() for one in done}) == 1
    print(f"verdicts: {'the same in every run' if same else 'they differ'}")
    print("left: " + ", ".join(f"{k} {before[k]:.0f} to {after[k]:.0f}" for k in before))
    return 0


if __name__ == "__main__":
    sys.exit(main())
