"""Which defects the catalogue finds: mutants of Linux 6.12's net_failover and of QEMU 10.0.

    python -m benchmarks.mutants DIR [--kind kernel|qemu] [--only NAME...] [--likely] [--minutes N]
                                 [--labs N]
    python -m benchmarks.mutants DIR --table docs/mutants.md      # the table of what is known

Each mutant of ``mutants/mutants.yaml`` is built by its recipe and given the cases that should
find it, then (not with ``--likely``) the whole flat catalogue, until one does. A case *finds* a
mutant when it fails with it twice, by the same expectation, and passes without it on this
machine. A lab that does not come up is told and finds nothing. What was run is in
``DIR/results.json`` after each run, so the same command goes on where it was stopped; run
directories of failures are kept beside it. ``--through`` is put before each run (``flock FILE``);
``--labs`` mutants are run at once, and built one at a time.

Not a test: it takes minutes to hours, and its result is a table. Needs root, the package mirror
(for builds) and a quiet machine. Neighbours: ``docs/mutants.md`` explains the table.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.mutant_table import KINDS, STOCK, Kind, Known, Mutant, Ran, index, page, recipe
from harness.case import check_case
from harness.errors import EXIT_CANNOT_TELL, EXIT_FAILED, EXIT_PASSED, HarnessError
from harness.images import Store
from harness.report import Result
from harness.verdict import Outcome

ROOT = Path(__file__).resolve().parents[1]
PROSE = ROOT / "benchmarks" / "mutants" / "mutants.md"
"""What stands above the table."""
OPTIONS: dict[Kind, str] = {"kernel": "--guest-kernel", "qemu": "--qemu"}
RUN_S = 3600.0
"""A run that takes longer hangs: a flat case takes minutes, and may wait for others' labs."""


class Bench:
    """Where results are kept, and how runs are started. For several threads."""

    def __init__(self, folder: Path, through: Sequence[str], until_s: float) -> None:
        self._folder = folder
        self._results = folder / "results.json"
        self._through = through
        self._until_s = until_s
        self._lock = threading.Lock()
        self.building = threading.Lock()
        self.known = Known()
        if self._results.exists():
            self.known = Known.model_validate_json(self._results.read_bytes())
        self._begun = Counter((ran.mutant, ran.case) for ran in self.known.runs)

    def over(self) -> bool:
        return time.monotonic() > self._until_s

    def add(self, ran: Ran) -> None:
        with self._lock:
            self._keep(self.known.model_copy(update={"runs": (*self.known.runs, ran)}))

    def built(self, mutant: str, wrong: str) -> None:
        """Keep what went wrong with a build, if anything did."""
        with self._lock:
            rest = {name: text for name, text in self.known.unbuilt.items() if name != mutant}
            unbuilt = rest | ({mutant: wrong} if wrong else {})
            self._keep(self.known.model_copy(update={"unbuilt": unbuilt}))

    def _keep(self, known: Known) -> None:
        self.known = known
        part = self._results.with_suffix(".part")
        self.copy(part)
        part.replace(self._results)

    def copy(self, there: Path) -> None:
        """Write what is known, as ``results.json`` has it."""
        text = self.known.model_dump_json(indent=1, exclude_defaults=True)
        there.write_text(text + "\n", encoding="utf-8")

    def _directory(self, mutant: str, case: str) -> Path:
        with self._lock:
            self._begun[mutant, case] += 1
            number = self._begun[mutant, case]
        return self._folder / "runs" / f"{mutant or 'stock'}-{case}-{number}"

    def run(self, mutant: str, kind: Kind, case: str, variant: str) -> None:
        """Run a case once more, and keep what came of it."""
        directory = self._directory(mutant, case)
        out = directory.with_suffix(".json")
        shutil.rmtree(directory, ignore_errors=True)
        out.unlink(missing_ok=True)
        directory.parent.mkdir(parents=True, exist_ok=True)
        argv = [*self._through, sys.executable, "-m", "harness.cli", "run"]
        argv += [f"testcases/{case}.yaml", "--variant", variant, "--boot", "warm", "--quiet"]
        argv += ["--run-dir", str(directory), "--json", str(out)]
        if mutant:
            argv += [OPTIONS[kind], str(recipe(kind, mutant))]
        began = time.monotonic()
        # A run that takes too long is an error of this program: nothing is known of it then.
        done = subprocess.run(
            argv, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
            text=True, timeout=RUN_S, check=False,
        )  # fmt: skip
        ran = told(mutant, case, done, out, time.monotonic() - began)
        if ran.outcome == "passed":
            shutil.rmtree(directory, ignore_errors=True)
        print(f"  {mutant or 'stock'}: {case}: {ran.outcome} in {ran.seconds:.0f} s"
              f"{': ' if ran.reason else ''}{ran.reason[:160]}", flush=True)  # fmt: skip
        self.add(ran)


def told(
    mutant: str, case: str, done: subprocess.CompletedProcess[str], out: Path, seconds: float
) -> Ran:
    """What a run came to."""
    base = Ran(mutant=mutant, case=case, outcome="broke", seconds=round(seconds, 1))
    if done.returncode not in (EXIT_PASSED, EXIT_FAILED, EXIT_CANNOT_TELL) or not out.exists():
        said = [line for line in done.stderr.splitlines() if line.strip()]
        reason = f"exit code {done.returncode}: {said[0] if said else 'it said nothing'}"
        return base.model_copy(update={"reason": reason})
    result = Result.model_validate_json(out.read_bytes())
    out.unlink()
    wrong = [one for one in result.findings if one.outcome is not Outcome.PASSED]
    failed = [one for one in wrong if one.outcome is Outcome.FAILED]
    return base.model_copy(
        update={
            "outcome": result.outcome.value,
            "failed": tuple(one.expectation for one in failed),
            "reason": next((one.reason for one in failed or wrong), ""),
        }
    )


def flat_cases() -> Iterator[tuple[str, str]]:
    """Every case that has a lab of namespaces alone, with that topology; slow ones last."""
    every = sorted((ROOT / "testcases").glob("*.yaml"))
    bound = [
        next((one for one in check_case(path) if is_flat(one.topology.hosts)), None)
        for path in every
    ]
    found = [one for one in bound if one is not None]
    for one in sorted(found, key=lambda one: one.about.slow):
        yield one.case.path.stem, one.variant


def is_flat(hosts: Mapping[str, object]) -> bool:
    return all(getattr(host, "kind", "") == "netns" for host in hosts.values())


def build(kind: Kind, mutant: str) -> str:
    """Build a mutant, and the guest for a kernel; what went wrong, or nothing."""
    store, reference = Store(), str(recipe(kind, mutant))
    try:
        if kind == "kernel":
            store.guest("guest", store.kernel(reference))
        else:
            store.toolchain(reference)
    except HarnessError as error:
        return str(error)
    return ""


def hunt(
    bench: Bench, kind: Kind, name: str, mutant: Mutant, variants: Mapping[str, str], whole: bool
) -> None:
    """Run cases on a mutant until one finds it, none is left or the time is over."""
    if bench.known.finder(name) or bench.over():
        return
    with bench.building:
        began = time.monotonic()
        wrong = build(kind, name)
    print(f"{kind} {name}: {wrong or 'built'} in {time.monotonic() - began:.0f} s", flush=True)
    bench.built(name, wrong)
    if wrong:
        return
    rest = [case for case in variants if case not in mutant.cases] if whole else []
    for case in [*mutant.cases, *rest]:
        while (judged := bench.known.judged(name, case)) in ("run mutant", "run stock"):
            if bench.over():
                return
            bench.run(name if judged == "run mutant" else STOCK, kind, case, variants[case])
        if judged == "finds" or bench.known.hopeless(name):
            return


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where results are, or shall be")
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--likely", action="store_true", help="not the whole catalogue")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run later")
    parser.add_argument("--through", default="", help="words before each run: 'flock FILE'")
    parser.add_argument("--labs", type=int, default=1, metavar="N", help="so many at once")
    parser.add_argument(
        "--table", type=Path, help="run nothing; write the table there, the results beside it"
    )
    options = parser.parse_args(argv)
    until = time.monotonic() + options.minutes * 60
    bench = Bench(options.folder.absolute(), tuple(shlex.split(options.through)), until)
    mutants = index()
    if options.table:
        options.table.write_text(page(mutants, bench.known, PROSE.read_text("utf-8")), "utf-8")
        bench.copy(options.table.with_suffix(".json"))
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    every = [(kind, name, one) for kind in KINDS for name, one in mutants.of(kind).items()]
    if unknown := set(options.only or ()) - {name for _, name, _ in every}:
        parser.error(f"no mutant is named {', '.join(sorted(unknown))}")
    wanted = [
        (kind, name, mutant)
        for kind, name, mutant in every
        if options.kind in (None, kind) and name in (options.only or [name])
    ]
    variants = dict(flat_cases())
    with ThreadPoolExecutor(options.labs) as pool:
        hunts = [
            pool.submit(hunt, bench, *one, variants, whole=not options.likely) for one in wanted
        ]
        for one in hunts:
            one.result()
    return 0


if __name__ == "__main__":
    sys.exit(main())
