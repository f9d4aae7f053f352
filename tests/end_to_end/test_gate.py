"""A gate on real flat labs: builds in turns, each run kept, the candidate's with its build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.record import RunDir
from tests.pytest_plugin.checkouts import ROOT, make_checkout

pytestmark = pytest.mark.lab

CASE = """\
case: packets reach the guest
topology: ../topologies/flat.yaml
traffic:
  inbound: {from: client, to: g1, udp: {rate: 200/s, size: 128}, before: 1s, after: 500ms,
            waiting_time: 300ms}
expect:
  streams: {inbound: {duplicates: 0}}
gate:
  # Nothing in this lab copies a packet; what is lost while the guest takes its primary, varies.
  streams: {inbound: {duplicates: 1 packet}}
"""


def test_the_same_qemu_as_another_machine_type_is_no_worse(tmp_path: Path) -> None:
    make_checkout(tmp_path, reach=CASE)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "harness.cli", "gate", "testcases/reach.yaml", "--quiet"),
            *("--candidate", "machine=pc-q35-9.2", "--runs", "4", "--gate-dir", "g"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "g" / "reach-flat"
    data = json.loads((folder / "gate.json").read_text(encoding="utf-8"))
    sides = [run["side"] for run in data["runs"] if not run["trouble"]]
    assert (sides.count("baseline"), sides.count("candidate")) == (4, 4)
    for run in data["runs"]:
        versions = RunDir.open(tmp_path / run["run_directory"]).versions()
        pinned = {one.machine for one in versions.qemu} == {"pc-q35-9.2"}
        assert pinned == (run["side"] == "candidate")
    assert "no worse" in done.stdout
    assert "Traceback" not in done.stderr
