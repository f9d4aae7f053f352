"""Wrong input gives one clear message and exit code 2, and never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main
from tests.case.files import HEAD, TRAFFIC, write

ROOT = Path(__file__).parents[2]
FLAT = str(ROOT / "topologies" / "flat-pair.yaml")
CASE = str(ROOT / "testcases" / "migrate-under-traffic.yaml")
RUN = str(Path(__file__).parent / "data" / "run")

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def harness(capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command in this process: its exit code, output and messages."""

    def run(*args: object) -> tuple[int, str, str]:
        try:
            code = main([str(word) for word in args])
        except SystemExit as ended:  # argparse, on options that do not exist
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize("command", ["check", "plan", "run", "report", "up"])
def test_a_missing_file_is_told_by_its_name(harness: Said, command: str, tmp_path: Path) -> None:
    code, out, err = harness(command, tmp_path / "nowhere.yaml")
    assert (code, out) == (2, "")
    assert "nowhere.yaml" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["check", "plan", "run", "up"])
@pytest.mark.parametrize("text", ["", "{", "- 1\n", "a: &a [*a]\n", "\x00\x01", "x: 1\nx: 2\n"])
def test_a_file_that_is_no_yaml_of_ours_is_told_with_its_place(
    harness: Said, command: str, text: str, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(text, encoding="utf-8")
    code, out, err = harness(command, bad)
    assert (code, out) == (2, "")
    assert err.startswith(str(bad))
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["check", "plan", "run", "up", "report"])
def test_a_directory_is_no_file(harness: Said, command: str, tmp_path: Path) -> None:
    code, _, err = harness(command, tmp_path)
    assert code == 2
    assert str(tmp_path) in err


def test_all_problems_of_all_files_are_told_at_once(harness: Said, tmp_path: Path) -> None:
    topology = tmp_path / "lab.yaml"
    topology.write_text("networks: {data: {mtuu: 1}}\nhosts: []\n", encoding="utf-8")
    case = write(tmp_path, HEAD + "step: []\nexpekt: {}\n")
    topology.write_text("networks: {data: {mtuu: 1}}\nhosts: []\n", encoding="utf-8")
    code, out, err = harness("check", topology, FLAT, case)
    assert code == 2
    assert out == f"{FLAT}: a topology: ok\n"
    for place in ("lab.yaml:1:19 ", "lab.yaml:2:1 hosts", "case.yaml:3:1 step", "case.yaml:4:1 "):
        assert place in err


def test_a_case_without_its_claim_is_still_checked_as_a_case(harness: Said, tmp_path: Path) -> None:
    code, _, err = harness("check", write(tmp_path, "topology: lab.yaml\nsteps: []\n"))
    assert code == 2
    assert "case" in err
    assert "networks" not in err


def test_shipped_files_are_in_order(harness: Said) -> None:
    files = [*(ROOT / "topologies").glob("*.yaml"), *(ROOT / "testcases").glob("*.yaml")]
    code, out, err = harness("check", *files)
    assert (code, err) == (0, "")
    assert out.count(": ok\n") == len(files)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--variant", "flta"], "did you mean 'flat'?"),
        (["--set", "primary_driver"], "wanted NAME=VALUE"),
        (["--set", "primary_drivr=x", "--variant", "flat"], "primary_driver"),
        (["--topology", "nowhere.yaml", "--variant", "flat"], "nowhere.yaml"),
        (["--run-dir", "somewhere"], "--variant"),
        (["--variant", "flat", "--run-dir", RUN], "exists already"),
        (["--variant", "flat", "--json", "/no/such/place/out.json"], "/no/such/place/out.json"),
        (["--variant", "flat", "--junit", "/"], "is a directory"),
    ],
)
def test_wrong_options_of_run_are_told_before_anything_is_made(
    harness: Said, options: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_RUNS", str(tmp_path / "runs"))
    code, out, err = harness("run", CASE, *options)
    assert (code, out) == (2, "")
    assert told in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [[], ["go"], ["plan"], ["schema", "lab"], ["migrate", "g1"]])
def test_a_command_line_that_is_none_shows_its_usage(harness: Said, words: list[str]) -> None:
    code, out, err = harness(*words)
    assert (code, out) == (2, "")
    assert err.startswith("usage: harness")


def test_a_plan_is_the_same_every_time_and_touches_nothing(
    harness: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for topology in ("flat-pair.yaml", "nested-vfio.yaml", "reference.yaml"):
        path = ROOT / "topologies" / topology
        first, second = harness("plan", path), harness("plan", path)
        assert first == second
        assert first[0] == 0
        assert "qemu" in first[1]
        assert json.loads(harness("plan", path, "--json")[1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("of", [[], ["topology"], ["case"], ["matrix"], ["result"]])
def test_a_schema_is_json(harness: Said, of: list[str]) -> None:
    code, out, err = harness("schema", *of)
    schema = json.loads(out)
    assert (code, err) == (0, "")
    assert schema["properties"]


def test_a_result_has_the_keys_of_its_schema(harness: Said) -> None:
    schema = json.loads(harness("schema", "result")[1])
    result = json.loads(harness("report", RUN, "--json")[1])
    assert set(result) == set(schema["properties"])
    assert set(schema["required"]) <= set(result)


def test_a_case_that_cannot_be_bound_is_told_with_every_variant(
    harness: Said, tmp_path: Path
) -> None:
    case = write(tmp_path, HEAD + TRAFFIC.replace("to: g1", "to: g2"))
    code, _, err = harness("run", case)
    assert code == 2
    assert err.count("'g2'") == 2
