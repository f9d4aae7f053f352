"""A run directory: which file of a run is where, written whole or not at all.

Everything a verdict needs is in it, so that the verdict can be recomputed elsewhere,
later, without root. Nothing is judged here, and no fact is interpreted.

Neighbours: ``scenario`` and the CLI write through ``RunDir``, ``report`` reads through it;
imports ``observe`` and ``errors`` only, so that every room above can use it.
"""

from harness.record.run_dir import QemuVersion, RunDir, RunInfo, StepTiming, Timings, Versions

__all__ = ["QemuVersion", "RunDir", "RunInfo", "StepTiming", "Timings", "Versions"]
