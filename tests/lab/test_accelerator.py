"""An accelerator is believed only after a guest has run on it, and that is asked once a boot."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import LabError
from harness.lab.accelerator import Trial, choose, remembered, try_accelerator
from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import Sandbox

WORKS = (Trial("kvm", False, "broken"), Trial("tcg", True, "ran"))


@pytest.fixture(scope="module")
def machine() -> Iterator[NamespaceMachine]:
    with Sandbox("trials") as sandbox, NamespaceMachine(sandbox, sandbox.root) as machine:
        yield machine


def stand_in(directory: Path, script: str) -> list[str]:
    """A program in QEMU's place that ends, or does not, as ``script`` says."""
    path = directory / "qemu"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return [str(path)]


def test_only_the_status_that_the_tiny_guest_gives_counts(
    machine: NamespaceMachine, tmp_path: Path
) -> None:
    assert try_accelerator(machine, stand_in(tmp_path, "exit 33"), "tiny", "tcg").works
    for status in (0, 1, 65):
        trial = try_accelerator(
            machine, stand_in(tmp_path, f"echo no luck; exit {status}"), "tiny", "tcg"
        )
        assert not trial.works
        assert trial.evidence == f"tiny guest: QEMU ended with status {status}: no luck"


def test_a_qemu_that_reports_an_internal_error_and_stays_is_ended(
    machine: NamespaceMachine, tmp_path: Path
) -> None:
    qemu = stand_in(tmp_path, "echo 'KVM internal error. Suberror: 1'; exec sleep 1000")
    trial = try_accelerator(machine, qemu, "tiny", "tcg")
    assert not trial.works
    assert trial.evidence == "tiny guest: QEMU said: KVM internal error. Suberror: 1"
    assert "sleep 1000" not in machine.run(["ps", "ax"], check=False).stdout


def test_a_machine_on_which_nothing_runs_is_an_error_that_names_both(
    machine: NamespaceMachine, tmp_path: Path
) -> None:
    with pytest.raises(LabError, match="no accelerator runs a guest") as raised:
        choose(machine, stand_in(tmp_path, "exit 1"), "tiny")
    assert [line.split(":")[0] for line in raised.value.evidence] == ["kvm", "tcg"]


def test_a_boot_is_asked_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def find_out() -> tuple[Trial, ...]:
        asked.append(1)
        return WORKS

    assert remembered(tmp_path, "qemu 1", find_out) == WORKS
    assert remembered(tmp_path, "qemu 1", find_out) == WORKS
    assert len(asked) == 1
    remembered(tmp_path, "qemu 2", find_out)
    assert len(asked) == 2
    # A matrix goes from one QEMU to the next and back: none of them is forgotten.
    remembered(tmp_path, "qemu 1", find_out)
    assert len(asked) == 2


def test_what_an_earlier_boot_has_found_is_removed(tmp_path: Path) -> None:
    (tmp_path / "0123456789abcdef-0123456789abcdef.json").write_text("[]", encoding="utf-8")
    remembered(tmp_path, "qemu", lambda: WORKS)
    (file,) = tmp_path.glob("*.json")
    assert not file.name.startswith("0123456789abcdef")


def test_a_damaged_memory_is_no_memory(tmp_path: Path) -> None:
    remembered(tmp_path, "qemu", lambda: WORKS)
    (file,) = tmp_path.glob("*.json")
    file.write_text('[{"accelerator": "kvm"', encoding="utf-8")
    better = (Trial("kvm", True, "ran"),)
    assert remembered(tmp_path, "qemu", lambda: better) == better
