"""avocado runs cases on real flat labs, with the same outcomes as pytest, and ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.avocado_plugin.places import Avocado, Job
from tests.end_to_end.runs import CASE, ROOT, descendants, must_be_gone, wait_for
from tests.pytest_plugin.checkouts import PLUGIN, TRIO, make_checkout

pytestmark = pytest.mark.lab

EMPTY = "case: nothing is claimed\ntopology: ../topologies/flat.yaml\n"
CASES = {
    "bad": TRIO.replace("failover:", "failovr:"),
    "broken": TRIO.replace("flat.yaml", "broken.yaml"),
    "empty": EMPTY,
    "holds": TRIO,
    "wrong": TRIO.replace("driver: e1000e", "driver: igbvf"),
}
OUTCOMES = {
    # avocado's status; pytest's outcome; whose fault it is, in both
    "bad.yaml": ("ERROR", "collection error", "failovr"),
    "broken.yaml:broken": ("ERROR", "error", "LAB BROKE (3): "),
    "empty.yaml:flat": ("ERROR", "failed", "CANNOT TELL (4): "),
    "holds.yaml:flat": ("PASS", "passed", ""),
    "wrong.yaml:flat": ("FAIL", "failed", "FAILED (1): "),
}


def test_avocado_and_pytest_agree_on_every_kind_of_end(pytester: pytest.Pytester) -> None:
    make_checkout(pytester.path, **CASES)
    job = Avocado(pytester.path).run("testcases", timeout=240)

    by_pytest = {}
    for name in CASES:
        done = pytester.runpytest_subprocess(*PLUGIN, f"testcases/{name}.yaml", timeout=120)
        by_pytest[name] = done.stdout.str()
    for reference, (status, word, told) in OUTCOMES.items():
        test = job.tests[f"testcases/{reference}"]
        assert test["status"] == status, job.out
        assert told in test.get("fail_reason", "")
        text = by_pytest[reference.partition(".")[0]]
        assert told in text
        counted = {"collection error": "1 error in ", "error": "1 error in "}
        assert counted.get(word, f"1 {word} in ") in text
    assert job.code == 1

    board = json.loads(job.tests["testcases/wrong.yaml:flat"]["whiteboard"])
    assert (board["outcome"], board["exit_code"]) == ("failed", 1)
    assert board["versions"]["qemu"][0]["machine"].startswith("pc-q35-")
    kept = Path(board["run_directory"])
    assert kept.parent == Path(job.tests["testcases/wrong.yaml:flat"]["logdir"])
    assert (kept / "result.json").is_file()
    assert "FAILED: the guest has its trio" in (kept.parent / "debug.log").read_text()


def test_variants_choose_and_a_known_failure_is_a_warning(pytester: pytest.Pytester) -> None:
    make_checkout(pytester.path, wrong=CASES["wrong"])
    (pytester.path / "matrix.yaml").write_text(
        "axes: {machine: [pc-q35-9.2]}\n"
        "expect:\n"
        "  - {machine: pc-q35-9.2, outcome: failed, reason: another driver,\n"
        "     finding: expect.netdevs.start}\n",
        encoding="utf-8",
    )
    avocado = Avocado(pytester.path)
    done = subprocess.run(
        [*avocado.command()[:2], "harness.cli", "matrix", "matrix.yaml", "--avocado"],
        cwd=avocado.folder, env=avocado.environment, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    (pytester.path / "variants.json").write_bytes(done.stdout)
    job = avocado.run("testcases", "--json-variants-load", "variants.json")
    test = job.tests["testcases/wrong.yaml:flat;pc-q35-9.2"]
    assert (test["status"], job.code) == ("WARN", 0), job.out
    assert test["fail_reason"].startswith("failed as known: another driver")
    versions = json.loads(test["whiteboard"])["versions"]
    assert {one["machine"] for one in versions["qemu"]} == {"pc-q35-9.2"}

    # The same file in pytest: an expected failure.
    told = pytester.runpytest_subprocess(*PLUGIN, "-rx", "--matrix", "matrix.yaml", timeout=120)
    told.assert_outcomes(xfailed=1)
    told.stdout.fnmatch_lines(["XFAIL testcases/wrong.yaml::flat[[]pc-q35-9.2[]]*another driver"])


@contextmanager
def started(avocado: Avocado, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A job in a session of its own, with a lab whose guest has been started. Its lab waits for
    no other one: a job that is ended after a time would be ended while it waits."""
    argv = avocado.command("run", "--job-results-dir", "job-results", "--disable-sysinfo", *words)
    with subprocess.Popen(
        argv, cwd=avocado.folder, env=avocado.environment | {"HARNESS_CPUS": "64"},
        text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as child:  # fmt: skip
        watchdog = threading.Timer(120, child.kill)
        watchdog.start()
        try:
            wait_for("a lab with a guest", lambda: "qemu-started" in facts(avocado.folder))
            yield child
        finally:
            watchdog.cancel()
            child.kill()


def facts(folder: Path) -> str:
    return "".join(
        path.read_text() for path in folder.glob("job-results/job-*/*/*/run/facts.jsonl")
    )


LONG = """
case: nothing happens for a long time
topology: {topology}
steps: [{{pause: 100s}}]
"""


@pytest.mark.parametrize("words", [(), ("--job-timeout", "20")], ids=["ctrl-c", "timeout"])
def test_a_job_that_is_ended_takes_its_lab_down_and_tells(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    avocado = Avocado(tmp_path)
    case = tmp_path / "long.yaml"
    case.write_text(LONG.format(topology=ROOT / "topologies" / "flat-pair.yaml"))
    with started(avocado, f"{case}:flat-pair", *words) as child:
        lab = descendants(child.pid)
        if not words:
            os.killpg(child.pid, signal.SIGINT)  # as a terminal does
        out, _ = child.communicate(timeout=60)
    must_be_gone(lab)
    (test,) = Job(child.returncode, out, tmp_path).tests.values()
    assert test["status"] == "INTERRUPTED", out
    # The lab went down in its order, with its logs kept: nothing had to be killed.
    (run,) = tmp_path.glob("job-results/job-*/*/*/run")
    assert "the run ended early" in (run / "facts.jsonl").read_text()
    assert list((run / "logs").glob("g1.1@alpha.*"))
    assert child.returncode & 8, out  # avocado: the job was interrupted


def test_a_runner_that_is_killed_leaves_no_lab(tmp_path: Path) -> None:
    avocado = Avocado(tmp_path)
    with started(avocado, f"{ROOT / 'testcases' / CASE.name}:flat") as child:
        lab = descendants(child.pid)
        (runner,) = [pid for pid, line in lab.items() if "avocado_plugin.runner task-run" in line]
        os.kill(runner, signal.SIGKILL)
        must_be_gone(lab)
