"""The case that the benchmarks of warm labs run is a valid one."""

from __future__ import annotations

from pathlib import Path

from harness.case.load import bind, load_case

CASE = Path(__file__).parents[2] / "benchmarks" / "two-seconds.yaml"


def test_it_can_be_run_on_both_labs() -> None:
    case = load_case(CASE)
    assert [bind(case, name).variant for name in case.variants] == ["flat", "nested"]
