"""A matrix on real flat labs: what happens in one cell does not stop the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.pytest_plugin.checkouts import ROOT, TRIO, make_checkout

pytestmark = pytest.mark.lab

MATRIX = """\
axes: {machine: [pc-q35-0.1, q35, pc-q35-9.2], accelerator: [tcg]}
include: [{machine: pc-q35-9.1}]
exclude: [{machine: q35, reason: pinned ones only}]
expect: [{machine: pc-q35-9.1, outcome: failed, reason: long gone}]
"""


def test_a_broken_lab_and_an_unexpected_pass_are_told_beside_the_cells_that_pass(
    tmp_path: Path,
) -> None:
    make_checkout(tmp_path, trio=TRIO)
    (tmp_path / "m.yaml").write_text(MATRIX, encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "harness.cli", "run", "testcases/trio.yaml", "--quiet"),
            *("--matrix", "m.yaml", "--json", "out.json", "--junit", "out.xml"),
            *("--markdown", "out.md"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    data = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert {cell["cell"]: cell["outcome"] for cell in data["cells"]} == {
        "pc-q35-0.1+tcg": "lab broke",
        "pc-q35-9.2+tcg": "passed",
        "pc-q35-9.1": "passed unexpectedly",
    }
    assert "pc-q35-0.1" in data["cells"][0]["reason"]
    assert [one["cell"] for one in data["excluded"]] == ["q35+tcg"]
    # What was run is what was chosen, and its own record says so.
    good = data["cells"][1]
    versions = good["result"]["versions"]
    assert {one["machine"] for one in versions["qemu"]} == {"pc-q35-9.2"}
    assert all(one["image"] in versions["images"] for one in versions["qemu"])
    again = subprocess.run(
        [sys.executable, "-m", "harness.cli", "report", good["run_directory"]],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "  chosen --machine pc-q35-9.2 --accelerator tcg\n" in again.stdout
    assert "machine type pc-q35-9.2 (image qemu:qemu)" in again.stdout

    assert "3 cells: 1 passed, 1 lab broke, 1 passed unexpectedly, 1 excluded" in done.stdout
    assert "was to fail (long gone) and passes" in done.stdout
    assert (tmp_path / "out.md").read_text(encoding="utf-8").count("\n|") == 6
    suite = ElementTree.parse(tmp_path / "out.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("1", "1", "1")
    assert "Traceback" not in done.stderr
