"""``run --matrix`` goes on after a cell that breaks, and shows what it has when it is stopped.

The runs themselves are stood in for here; ``tests/matrix/test_running.py`` has real labs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.case import BoundCase, Scalar, load_case
from harness.cli import main
from harness.cli.matrices import run_matrix
from harness.cli.run_options import RunOptions
from harness.errors import HarnessError, InputError, Interrupted, LabError
from harness.record import RunDir
from harness.report import Result, judge_run, result_of
from harness.topology import Choices

ROOT = Path(__file__).parents[2]
CASE = ROOT / "testcases" / "migrate-under-traffic.yaml"
RUN = Path(__file__).parent / "data" / "run"
MATRIX = "axes: {variant: [flat], machine: [q35, pc-q35-9.2, pc-q35-9.1]}\n"


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    (tmp_path / "m.yaml").write_text(MATRIX, encoding="utf-8")
    return argparse.Namespace(
        case=CASE, matrix=tmp_path / "m.yaml", variant=None, run_dir=None, topology=None,
        boot="warm", quiet=True,
        json=tmp_path / "out.json", junit=tmp_path / "out.xml", markdown=tmp_path / "out.md",
    )  # fmt: skip


def running(
    options: argparse.Namespace, runs: Path, *ends: HarnessError | None
) -> tuple[Callable[[], int], list[str]]:
    """A run over the matrix whose cells end so, and the machine types that were run."""
    result = result_of(judge_run(RunDir.open(RUN)))
    ran: list[str] = []

    def run_one(
        _options: RunOptions, bound: BoundCase, _set: dict[str, Scalar], _dir: RunDir
    ) -> Result:
        ran.append(bound.topology.guests["g1"].machine)
        end = ends[len(ran) - 1]
        if end is not None:
            raise end
        return result

    def go() -> int:
        return run_matrix(
            options,
            load_case(CASE),
            {},
            Choices(),
            new_run=lambda _given, title: RunDir.create(runs / title),
            run_one=run_one,
            write=lambda path, text: path.write_text(text, encoding="utf-8") and None,
        )

    return go, ran


def test_a_lab_that_breaks_does_not_stop_the_others(
    options: argparse.Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go, ran = running(options, tmp_path / "runs", None, LabError("alpha: gone"), None)
    assert go() == 3
    assert ran == ["q35", "pc-q35-9.2", "pc-q35-9.1"]
    out, err = capsys.readouterr()
    assert "3 cells: 2 passed, 1 lab broke" in out
    assert "cell 2 of 3, flat[pc-q35-9.2]: lab broke; " in err
    cells = json.loads(options.json.read_text(encoding="utf-8"))["cells"]
    assert [cell["outcome"] for cell in cells] == ["passed", "lab broke", "passed"]
    assert options.markdown.read_text(encoding="utf-8").count("\n| flat[") == 3
    directories = [Path(cell["run_directory"]) for cell in cells]
    assert len(set(directories)) == 3
    assert all(path.is_dir() for path in directories)


@pytest.mark.parametrize("end", [Interrupted("stopped"), KeyboardInterrupt()])
def test_what_was_run_before_ctrl_c_is_shown(
    options: argparse.Namespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    end: HarnessError,
) -> None:
    go, ran = running(options, tmp_path / "runs", None, end, None)
    with pytest.raises(type(end)):
        go()
    assert len(ran) == 2
    assert "3 cells: 1 passed, 2 not run" in capsys.readouterr().out
    data = json.loads(options.json.read_text(encoding="utf-8"))
    assert len(data["cells"]) == 1
    assert data["not_run"] == ["flat[pc-q35-9.2]", "flat[pc-q35-9.1]"]
    assert data["exit_code"] == 130
    junit = options.junit.read_text(encoding="utf-8")
    assert 'tests="3" failures="0" errors="2"' in junit


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--matrix", "m.yaml", "--run-dir", "x"], "--run-dir is for a single run, and --matrix"),
        (["--matrix", "m.yaml", "--topology", "x"], "--topology is for a single run, and --mat"),
        (["--matrix", "m.yaml", "--variant", "flta"], "'flta' is not a topology of this case"),
        (["--matrix", "m.yaml", "--variant", "nested"], "m.yaml: no cell is on nested"),
        (["--matrix", "m.yaml", "--markdown", "."], "cannot be written: it is a directory"),
        (["--markdown", "x.md"], "--markdown is the table of a matrix"),
        (["--matrix", "m.yml"], "m.yml: there is no such file (did you mean 'm.yaml'?)"),
    ],
)
def test_options_that_do_not_go_with_a_matrix_are_refused(
    words: list[str],
    told: str,
    options: argparse.Namespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(options.matrix.parent)
    assert main(["run", str(CASE), *words]) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert out == ""
    assert not Path("runs").exists()


def test_a_matrix_is_checked_and_listed_like_other_files(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(options.matrix)]) == 0
    assert capsys.readouterr().out == f"{options.matrix}: a matrix of 3 cells: ok\n"
    assert main(["matrix", str(options.matrix)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        *("flat[q35]", "flat[pc-q35-9.2]", "flat[pc-q35-9.1]")
    ]
    assert main(["matrix", str(options.matrix), "--avocado"]) == 0
    variants = json.loads(capsys.readouterr().out)
    assert [one["variant_id"] for one in variants] == [
        *("flat-q35", "flat-pc-q35-9.2", "flat-pc-q35-9.1")
    ]
    options.matrix.write_text("axes: {}\nincldue: []\n", encoding="utf-8")
    assert main(["check", str(options.matrix)]) == 2
    assert "did you mean 'include'?" in capsys.readouterr().err
    with pytest.raises(InputError):
        running(options, options.matrix.parent / "runs")[0]()
