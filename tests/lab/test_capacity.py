"""What labs may take of this machine."""

import os
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.lab.capacity import capacity


def test_labs_may_take_the_processors_and_most_of_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HARNESS_CPUS", raising=False)
    monkeypatch.delenv("HARNESS_MEMORY", raising=False)
    found = capacity()
    total = int(Path("/proc/meminfo").read_text(encoding="utf-8").split()[1]) << 10
    assert 0 < found.cpus <= len(os.sched_getaffinity(0))
    assert 0 < found.memory <= 0.9 * total


def test_a_process_that_is_kept_to_one_processor_counts_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HARNESS_CPUS", raising=False)
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})
    try:
        assert capacity().cpus <= 1
    finally:
        os.sched_setaffinity(0, everywhere)


def test_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CPUS", "1.5")
    monkeypatch.setenv("HARNESS_MEMORY", "3G")
    assert (capacity().cpus, capacity().memory) == (1.5, 3 << 30)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HARNESS_CPUS", "two"),
        ("HARNESS_CPUS", "0"),
        ("HARNESS_CPUS", "nan"),
        ("HARNESS_MEMORY", "lots"),
        ("HARNESS_MEMORY", "0"),
    ],
)
def test_a_variable_that_says_nothing_sensible_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"{name}={value}: wanted a "):
        capacity()
