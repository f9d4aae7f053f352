"""Cases and Python tests run on real flat labs, and what pytest shows of those that end badly."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.end_to_end.runs import CASE
from tests.pytest_plugin.checkouts import PLUGIN, TRIO, make_checkout

pytestmark = pytest.mark.lab

FRAME = re.compile(r"^\S+\.py:\d+: ", re.MULTILINE)
"""A line of a Python traceback, as pytest shows it."""

EXPECTS_NOTHING = """\
case: nothing is claimed
topology: ../topologies/flat.yaml
"""


def test_failed_broken_and_cannot_tell_are_told_apart(pytester: pytest.Pytester) -> None:
    make_checkout(
        pytester.path,
        broken=TRIO.replace("flat.yaml", "broken.yaml"),
        empty=EXPECTS_NOTHING,
        wrong=TRIO,
    )
    runs = pytester.path / "kept"
    # --case-set goes to all cases that are run: the other two have no such parameter.
    done = pytester.runpytest_inprocess(
        *PLUGIN, f"--lab-dir={runs}", "testcases/broken.yaml", "testcases/empty.yaml"
    )
    done.assert_outcomes(failed=1, errors=1)
    text = done.stdout.str()
    assert "ERROR at setup of broken" in text
    assert "LAB BROKE (3): " in text
    assert "no-such-model" in text
    assert "CANNOT TELL (4): nothing is claimed (flat)" in text
    assert "run directory: " in text
    assert not FRAME.search(text)

    done = pytester.runpytest_inprocess(
        *PLUGIN, f"--lab-dir={runs}", "--case-set", "driver=igbvf", "testcases/wrong.yaml"
    )
    done.assert_outcomes(failed=1)
    text = done.stdout.str()
    assert "FAILED (1): the guest has its trio (flat)" in text
    assert "its driver is e1000e" in text
    assert "Netdevs, as the guest sees them" in text
    assert not FRAME.search(text)

    kept = sorted(path.name for path in runs.iterdir())
    assert [name.split("-")[0] for name in kept] == ["broken", "empty", "wrong"]
    result = json.loads((runs / kept[2] / "result.json").read_text(encoding="utf-8"))
    assert (result["outcome"], result["exit_code"]) == ("failed", 1)
    assert result["parameters"] == {"driver": "igbvf"}


def test_two_workers_run_two_labs_at_once_and_both_can_be_told(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first case, migration, streams and all: neither lab disturbs the other's verdict."""
    monkeypatch.setenv("HARNESS_CPUS", "2")
    case = CASE.read_text(encoding="utf-8").replace("flat-pair.yaml", "flat.yaml")
    case = case.replace("nested-vfio.yaml", "nested.yaml")
    make_checkout(pytester.path, one=case, two=case)
    runs = pytester.path / "kept"
    done = pytester.runpytest_subprocess(
        *PLUGIN, "-n", "2", "-m", "lab", f"--lab-dir={runs}", timeout=240
    )
    done.assert_outcomes(passed=2)
    (_, one_end), (two_begin, _) = spans(runs)
    assert two_begin < one_end  # both were up at one time


def test_where_the_machine_is_full_one_lab_waits_for_the_other_and_says_so(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CPUS", "0.5")
    make_checkout(pytester.path, one=TRIO, two=TRIO)
    runs = pytester.path / "kept"
    done = pytester.runpytest_subprocess(
        *PLUGIN, "-n", "2", "-rP", f"--lab-dir={runs}", timeout=240
    )
    done.assert_outcomes(passed=2)
    done.stdout.re_match_lines(
        [r".*lab (one|two)-\S+ waits for 0\.5 CPU: lab \S+ of process \d+ has 0\.5 CPU and 768 MiB"]
    )
    (_, one_end), (two_begin, _) = spans(runs)
    assert one_end <= two_begin


def spans(runs: Path) -> list[tuple[int, int]]:
    """When each run's lab was up (ns on the machine's clock), the earliest first."""
    found = []
    for path in runs.iterdir():
        lines = (path / "facts.jsonl").read_text(encoding="utf-8").splitlines()
        times = [json.loads(line)["t_ns"] for line in lines]
        found.append((min(times), max(times)))
    assert len(found) == 2
    return sorted(found)


def test_a_clean_up_that_fails_fails_the_test(pytester: pytest.Pytester) -> None:
    make_checkout(pytester.path)
    pytester.makepyfile("""
        import pytest
        from harness.errors import ReachError

        @pytest.mark.topology("topologies/flat.yaml")
        def test_it(lab):
            def undo():
                raise ReachError("the cable is stuck")
            lab.lab._later("cable", undo)

        @pytest.mark.topology("topologies/broken.yaml")
        def test_never_run(lab):
            raise AssertionError("a lab that broke was handed out")
    """)
    done = pytester.runpytest_inprocess(*PLUGIN)
    done.assert_outcomes(passed=1, errors=2)
    text = done.stdout.str()
    assert "ERROR at teardown of test_it" in text
    assert "not everything could be removed" in text
    assert "cable: the cable is stuck" in text
    assert "ERROR at setup of test_never_run" in text
    assert "LAB BROKE (3)" in text


def test_a_lab_is_kept_after_a_failure_until_enter(pytester: pytest.Pytester) -> None:
    make_checkout(pytester.path, wrong=TRIO.replace("driver: e1000e", "driver: igbvf"))
    argv = [sys.executable, "-m", "pytest", *PLUGIN, "--lab-keep", "-p", "no:cacheprovider"]
    with subprocess.Popen(
        argv,
        cwd=pytester.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        watchdog = threading.Timer(90, child.kill)
        watchdog.start()
        try:
            assert child.stderr is not None
            name = ""
            seen = []
            for line in child.stderr:
                seen.append(line)
                if line.startswith("lab ") and "is kept up" in line:
                    name = line.split()[1]
                if line.startswith("press Enter"):
                    break
            assert name, "".join(seen)
            asked = harness("exec", "--lab", name, "g1", "--", "uname", "-s", cwd=pytester.path)
            out, _ = child.communicate("\n", timeout=60)
        finally:
            watchdog.cancel()
            child.kill()
    assert asked.stdout == "Linux\n", asked.stderr
    assert child.returncode == pytest.ExitCode.TESTS_FAILED
    assert "FAILED (1): " in out
    assert name not in harness("status", cwd=pytester.path).stdout


def harness(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *args],
        cwd=cwd,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
