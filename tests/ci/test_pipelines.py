"""The pipelines of ``ci/``: their scripts are run here, with a stand-in for ``harness gate``."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from harness.cli.parser import make_parser

CI = Path(__file__).parents[2] / "ci"
PIPELINES = ("gitlab.yml", "github.yml")
HARNESS = """\
#!/bin/sh
printf '%s\\n' "$@" > "$ARGUMENTS"
while [ $# -gt 0 ]; do
    case $1 in
    --markdown) echo '| endpoint | verdict |' > "$2" ;;
    --gate-dir) gate=$2/case-flat; mkdir -p "$gate/001-baseline"
                echo '{}' > "$gate/001-baseline/run.json"
                echo "{\\"decision\\": {\\"exit_code\\": $CODE}}" > "$gate/gate.json" ;;
    esac
    shift
done
exit "$CODE"
"""


def scripts(name: str) -> Iterator[tuple[str, str]]:
    """Every script of a pipeline, and where it is."""
    pipeline = yaml.safe_load((CI / name).read_text(encoding="utf-8"))
    if name == "github.yml":
        for job, content in pipeline["jobs"].items():
            for number, step in enumerate(content["steps"]):
                if "run" in step:
                    yield f"{job}.{step.get('name', number)}", step["run"]
        return
    for job, content in pipeline.items():
        for key in ("before_script", "script", "after_script"):
            for number, text in enumerate(content.get(key, ())):
                yield f"{job}.{key}.{number}", text


def script(name: str, place: str) -> str:
    return dict(scripts(name))[place]


def options() -> dict[str, set[str]]:
    """The options of each command of the harness."""
    (commands,) = (action for action in make_parser("")._actions
                   if isinstance(action, argparse._SubParsersAction))  # fmt: skip
    return {
        name: {word for action in parser._actions for word in action.option_strings}
        for name, parser in commands.choices.items()
    }


def run(text: str, folder: Path, code: int, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a script as the platforms do, where ``harness`` ends with ``code``."""
    checkout = folder / "failover-harness"
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / "ci").mkdir()
    shutil.copy(CI / "keep-failing", checkout / "ci")
    harness = checkout / ".venv/bin/harness"
    harness.write_text(HARNESS, encoding="utf-8")
    harness.chmod(0o755)
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", text],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {
            "ARGUMENTS": str(folder / "arguments"), "CODE": str(code),
            "GATE_CASES": "a.yaml b.yaml", "GATE_VARIANT": "flat", "GATE_RUNS": "6",
            "GATE_BASELINE": "qemu=qemu-10.0", "GATE_CANDIDATE": "qemu=build",
            "GITHUB_WORKSPACE": str(folder), "CI_PROJECT_DIR": str(folder),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"), "HARNESS_DIR": str(checkout), **more,
        },
    )  # fmt: skip


@pytest.mark.parametrize("name", PIPELINES)
def test_every_script_is_in_order(name: str) -> None:
    found = list(scripts(name))
    assert len(found) >= 4
    for place, text in found:
        done = subprocess.run(
            ["bash", "-n"], input=text, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, f"{place}: {done.stderr}"
        # What is put in by `${{ }}` is run as part of the script, whatever it says.
        assert "${{" not in text, place


@pytest.mark.parametrize("name", PIPELINES)
def test_every_option_of_the_harness_that_is_used_exists(name: str) -> None:
    known = options()
    calls = [
        (match[1], re.findall(r"(?<=\s)--[a-z-]+", match[2]))
        for _, text in scripts(name)
        for match in re.finditer(r"bin/harness ([a-z-]+)(.*)", text.replace("\\\n", " "))
    ]
    assert [command for command, _ in calls] == ["gate"]
    for command, used in calls:
        assert used
        assert set(used) <= known[command]


@pytest.mark.parametrize("name", PIPELINES)
def test_no_mirror_and_no_registry_is_named(name: str) -> None:
    text = (CI / name).read_text(encoding="utf-8")
    assert set(re.findall(r"https?://([^/\s]+)", text)) <= {"gitlab.example.org"}
    assert re.findall(r"image: (\S+)", text) == ["debian:trixie"] * text.count("image: ")


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 130])
def test_on_gitlab_only_no_worse_passes_and_the_log_says_which_it_is(
    code: int, tmp_path: Path
) -> None:
    done = run(script("gitlab.yml", ".failover-gate.script.1"), tmp_path, code)
    assert done.returncode == code, done.stderr
    told = {0: "no worse", 1: "WORSE", 2: "WRONG INPUT", 3: "THE LAB BROKE", 4: "INCONCLUSIVE"}
    assert done.stdout.startswith(told.get(code, f"ended with status {code}"))
    words = (tmp_path / "arguments").read_text(encoding="utf-8").splitlines()
    assert words[:3] == ["gate", "a.yaml", "b.yaml"]
    assert words[words.index("--candidate") + 1] == f"qemu=path:{tmp_path}/build"
    assert (tmp_path / "gate/gate.md").is_file()
    kept = (tmp_path / "gate/runs/case-flat/001-baseline").is_dir()
    assert kept is (code != 0)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 130])
def test_on_github_only_no_worse_passes_and_an_annotation_says_which_it_is(
    code: int, tmp_path: Path
) -> None:
    done = run(script("github.yml", "gate.gate"), tmp_path, code)
    assert done.returncode == code, done.stderr
    told = {1: "worse", 2: "wrong input", 3: "the lab broke", 4: "inconclusive", 130: "gate"}
    assert re.findall(r"^::error title=(.*?)::", done.stdout, re.MULTILINE) == [
        *([told[code]] if code else [])
    ]
    words = (tmp_path / "arguments").read_text(encoding="utf-8").splitlines()
    assert words[words.index("--candidate") + 1] == f"qemu=path:{tmp_path}/sources/build"
    assert (tmp_path / "summary").read_text(encoding="utf-8") == "| endpoint | verdict |\n"
    assert (tmp_path / "gate/runs/case-flat/001-baseline").is_dir() is (code != 0)


@pytest.mark.parametrize(
    ("candidate", "gitlab", "github"),
    [
        ("guest-kernel=.", "guest-kernel=path:{}/.", "guest-kernel=path:{}/sources/."),
        ("module=d/net_failover.ko", "module={}/d/net_failover.ko",
         "module={}/sources/d/net_failover.ko"),
    ],
)  # fmt: skip
def test_what_the_build_makes_is_named_as_the_gate_wants_it(
    candidate: str, gitlab: str, github: str, tmp_path: Path
) -> None:
    for name, place, wanted in (
        ("gitlab.yml", ".failover-gate.script.1", gitlab),
        ("github.yml", "gate.gate", github),
    ):
        folder = tmp_path / name
        folder.mkdir()
        run(script(name, place), folder, 0, GATE_CANDIDATE=candidate)
        words = (folder / "arguments").read_text(encoding="utf-8").splitlines()
        assert words[words.index("--candidate") + 1] == wanted.format(folder)


def test_gitlab_tries_again_only_what_says_nothing_of_the_patch() -> None:
    job = yaml.safe_load((CI / "gitlab.yml").read_text(encoding="utf-8"))[".failover-gate"]
    assert job["retry"] == {"max": 1, "exit_codes": [3]}
    assert "allow_failure" not in job
    assert job["artifacts"]["when"] == "always"
    assert job["cache"]["paths"] == [".harness-cache"]


def test_a_build_that_fails_ends_the_job_with_its_last_lines(tmp_path: Path) -> None:
    text = script("gitlab.yml", ".failover-gate.script.0")
    done = run(text, tmp_path, 0, GATE_BUILD="echo no such header; false")
    assert done.returncode == 1
    assert "no such header" in done.stdout


@pytest.mark.parametrize("record", ["{", "{}", json.dumps({"decision": None})])
def test_the_runs_of_a_gate_without_a_decision_are_kept(record: str, tmp_path: Path) -> None:
    folder = tmp_path / "case-flat"
    (folder / "001-baseline").mkdir(parents=True)
    (folder / "001-baseline/run.json").write_text("{}", encoding="utf-8")
    (folder / "gate.json").write_text(record, encoding="utf-8")
    subprocess.run([CI / "keep-failing", tmp_path], check=True, timeout=30)
    assert (folder / "001-baseline").is_dir()
