"""A recorded run is judged again anywhere, by anybody; a damaged one is never judged.

``data/run`` was recorded on a real flat lab; its capture was left out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main
from harness.record import RunDir, StepTiming, Timings

RUN = Path(__file__).parent / "data" / "run"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(RUN, tmp_path / "copy")


def test_a_copy_is_judged_the_same_by_a_user_without_privileges(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = json.loads((copy / "result.json").read_text(encoding="utf-8"))
    assert main(["report", str(RUN), "--json"]) == 0
    by_root = json.loads(capsys.readouterr().out)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    # In a user namespace that maps nobody: no privilege anywhere, and no file can be written,
    # yet a checkout in root's home can be read.
    program = (
        "import os, sys\n"
        "from harness.cli import main\n"
        "print(os.geteuid(), file=sys.stderr)\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        ["unshare", "--user", sys.executable, "-B", "-c", program, "report", copy, "--json"],
        cwd="/", env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr != "0\n"
    result = json.loads(done.stdout)
    assert result == by_root
    for key in ("outcome", "findings", "netdevs", "migrations"):
        assert result[key] == recorded[key]


def test_the_text_and_the_timeline_name_what_happened(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(copy)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("PASSED: a guest keeps its traffic through a migration\n")
    assert f"Run directory: {copy}" in text
    assert main(["report", str(copy), "--timeline"]) == 0
    timeline = capsys.readouterr().out
    assert "UNPLUG_PRIMARY" in timeline
    assert "STOP" in timeline


def _cut_facts(run: Path) -> None:
    facts = run / "facts.jsonl"
    facts.write_bytes(facts.read_bytes()[:-40])


def _lose(name: str) -> Callable[[Path], None]:
    def lose(run: Path) -> None:
        (run / name).unlink()

    return lose


def _cut_stream(run: Path) -> None:
    sends = run / "streams" / "inbound.sends"
    sends.write_bytes(sends.read_bytes()[:-7])


def _expect(old: str, new: str) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        case = run / "case.yaml"
        text = case.read_text(encoding="utf-8")
        assert old in text
        case.write_text(text.replace(old, new), encoding="utf-8")

    return edit


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (_cut_facts, 4),
        (_lose("facts.jsonl"), 4),
        (_lose("versions.json"), 4),
        (_lose("case.yaml"), 4),
        (_lose("streams/inbound.arrivals"), 4),
        (_cut_stream, 4),
        (_expect("primary: absent", "primary: e1000e"), 1),
        (_expect('"<= 1000"', "0"), 1),
        (_expect("steps:", "stepps:"), 4),
        (_lose("run.json"), 2),
    ],
)
def test_a_run_that_was_damaged_or_claims_otherwise_does_not_pass(
    copy: Path, damage: Callable[[Path], None], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copy)
    assert main(["report", str(copy)]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert (out + err).strip()


def test_the_timings_of_a_run_are_shown_from_its_directory(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(copy), "--timings"]) == 4
    assert "timings.json: the run has no such record" in capsys.readouterr().err
    steps = (
        StepTiming(name="start g1", begin_s=0.5, end_s=1.0, after=()),
        StepTiming(name="ready g1", begin_s=1.0, end_s=3.5, after=("start g1",)),
    )
    RunDir.open(copy).write_timings(Timings(steps=steps))
    assert main(["report", str(copy), "--timings"]) == 0
    shown = capsys.readouterr().out
    assert "ready g1  start g1\n" in shown
    assert "Critical path: 3.5 s\n" in shown
