"""One command in a guest: virtme-ng against a flat guest of ours, in one run.

    python3 -m venv vng && vng/bin/pip install virtme-ng
    python benchmarks/against_vng.py [--vng vng/bin/vng] [--runs 5] [--boots cold warm]

Both run ``uname -r`` in one guest with one processor and 256 MiB, on the same kernel (vmlinuz and
modules of our package, from the store), by the same QEMU (our toolchain's) under TCG, in turn.
vng's time is that of the whole command ``vng``; its guest has this machine's file system. Ours is
that of a program that makes a flat lab, with namespaces, bridges, taps and a guest with a failover
pair, and asks the guest through its agent: until the answer, the same without the loading of the
program, and until the lab is down and the program has ended. A first warm run, which makes the
state, is left out. Needs root, built images, busybox and a quiet
machine; asserts nothing. The goal is a warm guest in 0.3 of vng's time.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.images import Store
from harness.images.artifacts import Kernel
from harness.lab import Lab, LabImages, Progress, process_began
from harness.observe import FactLog
from harness.plan import make_plan
from harness.topology import load

ROOT = Path(__file__).resolve().parents[1]
TOPOLOGY = ROOT / "topologies" / "flat-pair.yaml"
COMMAND = ("uname", "-r")
RUN_S = 120.0
MEMORY = "256M"
GOAL = 0.3


@dataclass(frozen=True)
class Took:
    """Seconds until the answer, the same without the loading of the program, until its end."""

    program: float
    lab: float
    end: float


def work(boot: str) -> None:
    """In a process of its own: a flat lab up, its guest asked, the lab down."""
    began, loaded = process_began(), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        facts = FactLog(Path(scratch, "facts.jsonl"))
        progress = Progress(None)
        lab = Lab(
            make_plan(load(TOPOLOGY)),
            LabImages(Store(), progress.say),
            facts,
            logs=Path(scratch, "logs"),
            progress=progress,
            name=f"against-vng-{os.getpid()}",
            warm=boot == "warm",
        )
        with lab:
            lab.up()
            said = lab.machine("g1").run(COMMAND, timeout=RUN_S).stdout.strip()
            now = time.monotonic()
        facts.close()
    print(json.dumps([said, now - began, now - loaded]))


def ours(boot: str, release: str) -> Took:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, __file__, "--work", boot],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=RUN_S, check=False,
    )  # fmt: skip
    end = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"our guest, {boot}: {done.stderr}")
    said, program, lab = json.loads(done.stdout.splitlines()[-1])
    must_be(said, release, f"our guest, {boot}", done.stderr)
    return Took(program, lab, end)


def vng_tree(top: Path, store: Store, kernel: Kernel) -> None:
    """What vng takes as a kernel with its modules, and our QEMU as one program."""
    modules = top / "lib/modules"
    modules.mkdir(parents=True)
    (modules / kernel.release).symlink_to(kernel.modules)
    (top / "vmlinuz").write_bytes(kernel.vmlinuz.read_bytes())
    qemu = top / "qemu"
    qemu.write_text(f'#!/bin/sh\nexec {shlex.join(store.toolchain("qemu").argv())} "$@"\n')
    qemu.chmod(0o755)


def vng(program: str, tree: Path, release: str) -> float:
    # The answer comes in a file: on a machine without udev vng's guest does not find the
    # channels for its output, and says nothing.
    answers = tree / "answers"
    answers.mkdir(exist_ok=True)
    answer = answers / "said"
    answer.unlink(missing_ok=True)
    words = [program, "--run", str(tree / "vmlinuz"), "--qemu", str(tree / "qemu")]
    words += ["--disable-kvm", "--cpus", "1", "--memory", MEMORY, "--rwdir", str(answers)]
    words += ["--exec", f"{shlex.join(COMMAND)} > {shlex.quote(str(answer))}"]
    began = time.monotonic()
    # vng wants a terminal; script(1) gives it one. Its other programs it looks for by PATH.
    beside = str(Path(shutil.which(program) or program).absolute().parent)
    done = subprocess.run(
        ["script", "-qec", shlex.join(words), "/dev/null"],
        env=os.environ | {"PATH": f"{beside}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_S, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - began
    said = answer.read_text(encoding="utf-8").strip() if answer.exists() else ""
    must_be(said, release, "vng", done.stdout + done.stderr)
    return seconds


def must_be(said: object, wanted: object, who: str, evidence: str) -> None:
    if said != wanted:
        raise SystemExit(f"{who}: answered {said!r}, not {wanted!r}\n{evidence}")


def told(values: list[float]) -> str:
    each = " ".join(f"{one:.2f}" for one in sorted(values))
    return f"median {statistics.median(values):6.2f} s  ({each})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vng", default="vng", help="the program (default: from PATH)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--boots", nargs="+", choices=["cold", "warm"], default=["cold", "warm"])
    parser.add_argument("--work", choices=["cold", "warm"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return 0
    store = Store()
    kernel, toolchain = store.kernel("kernel"), store.toolchain("qemu")
    version = subprocess.run(
        [options.vng, "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    print(f"{version}; kernel {kernel.release}; QEMU {toolchain.version}; TCG; "
          f"{os.cpu_count()} processors")  # fmt: skip
    theirs: list[float] = []
    took: dict[str, list[Took]] = {boot: [] for boot in options.boots}
    # Not below /tmp, which vng's guest hides by a file system of its own.
    with tempfile.TemporaryDirectory(dir=store.root, prefix="vng-") as scratch:
        tree = Path(scratch)
        vng_tree(tree, store, kernel)
        if "warm" in took:
            print(f"the first warm run: {ours('warm', kernel.release).program:.2f} s", flush=True)
        for _ in range(options.runs):
            theirs.append(vng(options.vng, tree, kernel.release))
            for boot, done in took.items():
                done.append(ours(boot, kernel.release))
    print(f"vng, the whole command:         {told(theirs)}")
    for boot, done in took.items():
        for what, values in {
            "the whole program": [one.program for one in done],
            "from the lab's begin": [one.lab for one in done],
            "lab down as well": [one.end for one in done],
        }.items():
            ratio = statistics.median(values) / statistics.median(theirs)
            print(f"ours, {boot}, {what:<20}  {told(values)}  {ratio:.2f} of vng's"
                  f"{f' (goal: {GOAL})' if boot == 'warm' else ''}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
