"""A lab is cold where the case or the command says so, and warm otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from harness.case import bind, load_case
from harness.images import Store
from harness.lab import Progress
from harness.record import RunDir
from harness.scenario import make_lab

CASE = Path(__file__).parents[2] / "testcases" / "migrate-under-traffic.yaml"

Boot = Literal["warm", "cold"]


@pytest.mark.parametrize(
    ("case", "command", "warm"),
    [("warm", "warm", True), ("warm", "cold", False), ("cold", "warm", False),
     ("cold", "cold", False)],
)  # fmt: skip
def test_neither_the_case_nor_the_command_warms_what_the_other_wants_cold(
    case: Boot, command: Boot, warm: bool, tmp_path: Path
) -> None:
    bound = replace(bind(load_case(CASE), "flat"), boot=case)
    lab = make_lab(
        bound, RunDir.create(tmp_path / "run"), store=Store(tmp_path), progress=Progress(None),
        name="x", boot=command,
    )  # fmt: skip
    lab.facts.close()
    assert lab.warm is warm
