"""``harness bisect`` over real git repositories; only the runs are stood in for."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from harness.cli import main
from tests.bisect.repositories import bisect, environment, over, repository
from tests.end_to_end.runs import descendants, must_be_gone, wait_for


def steps(folder: Path) -> dict[str, str]:
    """The commits that were tried, and what became of them."""
    found = [json.loads(path.read_text(encoding="utf-8"))
             for path in sorted((folder / "bisect").glob("*/step.json"))]  # fmt: skip
    return {one["title"]: one["answer"] for one in found}


def test_the_first_bad_commit_is_found_and_told_with_the_runs_on_both_sides(
    tmp_path: Path,
) -> None:
    tree = repository(tmp_path, "good", "good", "good", "bad", "bad", "bad", "bad")
    before = tree.state()
    done = bisect(tree, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    first = tree.commits["4-bad"]
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        f"{first} is the first bad commit",
        "  4-bad",
        "  fails: stream inbound: lost <= 4000 (expect.streams.inbound.lost): because of lost",
    ]
    bad, good = (next(line for line in lines if line.startswith(f"  {word}")).split()[-1]
                 for word in ("bad ", "good"))  # fmt: skip
    assert Path(bad).is_dir()
    assert Path(good).is_dir()
    assert first[:12] in bad
    assert tree.commits["3-good"][:12] in good
    assert tree.state() == before
    tried = steps(tmp_path)
    assert list(tried)[:2] == ["1-good", "7-bad"]
    assert tried["3-good"] == "good"
    assert tried["4-bad"] == "bad"
    assert len(tried) <= 5
    assert " more after this): " in done.stderr
    assert "$ mkdir -p built" in (Path(bad).parent / "build.log").read_text(encoding="utf-8")
    result = json.loads((tmp_path / "bisect" / "result.json").read_text(encoding="utf-8"))
    assert result["first_bad"] == [first]


def test_what_cannot_be_built_run_or_told_is_skipped_and_not_called_bad(tmp_path: Path) -> None:
    tree = repository(
        tmp_path,
        *("good", "unbuildable", "broken", "dark", "unusable", "good", "broken-once", "bad"),
    )
    before = tree.state()
    done = bisect(tree, tmp_path, "--repeat", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert tree.commits["8-bad"] in done.stdout.splitlines()[0]
    tried = steps(tmp_path)
    assert tried["7-broken-once"] == "good"
    assert set(tried.values()) >= {"skip", "good", "bad"}
    assert tree.state() == before


def test_all_that_lies_between_is_named_when_it_had_to_be_skipped(tmp_path: Path) -> None:
    tree = repository(tmp_path, "good", "unbuildable", "dark", "broken", "unusable", "bad", "bad")
    done = bisect(tree, tmp_path, "--repeat", "2")
    assert done.returncode == 4, done.stdout + done.stderr
    assert done.stdout.startswith("CANNOT TELL which is the first bad commit")
    result = json.loads((tmp_path / "bisect" / "result.json").read_text(encoding="utf-8"))
    names = {commit: name for name, commit in tree.commits.items()}
    assert [names[one] for one in result["first_bad"]] == [
        *("2-unbuildable", "3-dark", "4-broken", "5-unusable", "6-bad")
    ]
    reasons = {one["title"]: one["reason"] for one in result["steps"]}
    assert "the build ended with status 1; log: " in reasons["2-unbuildable"]
    assert reasons["3-dark"] == "tried 2 times, the last time: cannot-tell: because of lost"
    assert reasons["4-broken"] == "tried 2 times, the last time: lab broke: alpha: the host is gone"
    assert reasons["5-unusable"].startswith("what was built cannot be used: ")


def test_only_the_named_expectation_makes_a_commit_bad(tmp_path: Path) -> None:
    words = ("good", "good", "other", "both", "bad", "bad")
    tree = repository(tmp_path, *words)
    named = bisect(tree, tmp_path, "--expect", "expect.streams.inbound")
    assert named.returncode in (0, 4), named.stdout + named.stderr
    result = json.loads((tmp_path / "bisect" / "result.json").read_text(encoding="utf-8"))
    assert result["first_bad"][-1] == tree.commits["4-both"]
    assert steps(tmp_path).get("3-other", "skip") == "skip"

    (tmp_path / "any").mkdir()
    plain = bisect(tree, tmp_path / "any")
    assert plain.returncode == 0, plain.stdout + plain.stderr
    assert plain.stdout.startswith(tree.commits["3-other"])


@pytest.mark.parametrize(
    ("words", "options", "code", "told"),
    [
        (("bad", "bad"), (), 2, "(1-bad) fails: it is not good"),
        (("good", "other"), ("--expect", "expect.streams"), 2,
         "(2-other) is not bad: fails, and not by 'expect.streams'"),
        (("broken", "bad"), (), 3, "(1-broken) cannot be called good: tried 3 times"),
        (("good", "wrong-input", "bad"), (), 2, "topology.yaml: no such bridge"),
    ],
)  # fmt: skip
def test_an_end_that_is_not_as_told_ends_it_and_the_tree_is_put_back(
    words: tuple[str, ...], options: tuple[str, ...], code: int, told: str, tmp_path: Path
) -> None:
    tree = repository(tmp_path, *words)
    before = tree.state()
    done = bisect(tree, tmp_path, *options)
    assert done.returncode == code, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert tree.state() == before


def test_trusted_ends_are_not_run(tmp_path: Path) -> None:
    tree = repository(tmp_path, "bad", "good", "bad", "broken")
    done = bisect(tree, tmp_path, "--trust")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(tree.commits["3-bad"])
    assert set(steps(tmp_path)) == {"2-good", "3-bad"}

    (tmp_path / "next").mkdir()
    bare = bisect(tree, tmp_path / "next", "--trust", "--good", "main~1")
    assert bare.returncode == 0, bare.stdout + bare.stderr
    assert bare.stdout.startswith(tree.commits["4-broken"])
    assert "was not run" in bare.stdout
    assert steps(tmp_path / "next") == {}


def test_a_tree_with_changes_or_in_a_bisection_is_refused_and_not_touched(tmp_path: Path) -> None:
    tree = repository(tmp_path, "good", "bad")
    (tree.path / "source").write_text("mine\n", encoding="utf-8")
    before = tree.state()
    dirty = bisect(tree, tmp_path)
    assert dirty.returncode == 2
    assert "has changes that are not committed" in dirty.stderr
    assert " M source" in dirty.stderr
    assert tree.state() == before
    assert (tree.path / "source").read_text(encoding="utf-8") == "mine\n"

    tree.git("checkout", "--", "source")
    tree.git("bisect", "start")
    before = tree.state()
    busy = bisect(tree, tmp_path)
    assert busy.returncode == 2
    assert f"{tree.path}: is being bisected already" in busy.stderr
    assert f"hint: git -C {tree.path} bisect reset" in busy.stderr
    assert tree.state() == before
    assert not (tmp_path / "bisect").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--good", "nowhere"), "--good nowhere: is no commit of "),
        (("--good", "main", "--bad", "main~1"), "--good comes after --bad"),
        (("--good", "main"), "--good and --bad are the same commit"),
        (("--tree", "/"), "--tree /: is not the working tree of a git repository"),
        (("--tree", "/nowhere"), "--tree /nowhere: there is no such directory"),
        (("--as", "firmware"), "--as firmware: wanted qemu, guest-kernel, host-kernel or module"),
        (("--as", "module=net_failover"), "--result built is no net_failover.ko"),
        (("--as", "host-kernel"), "has no host of kind vm"),
        (("--qemu", "qemu-11"), "--qemu and --as qemu both choose the qemu"),
        (("--repeat", "0"), "--repeat 0: wanted 1 or more"),
        (("--between", "qemu-7.2", "qemu-11"), "--build is for a git tree"),
        (("--suite", "sid"), "--suite goes with --suite-versions"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_done(
    words: tuple[str, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tree = repository(tmp_path, "good", "bad")
    before = tree.state()
    monkeypatch.chdir(tmp_path)
    assert main(over(tree, tmp_path, *words)[3:]) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert out == ""
    assert tree.state() == before
    assert not (tmp_path / "bisect").exists()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["a run", "a build"])
def test_ctrl_c_ends_what_is_under_way_and_puts_the_tree_back(
    end: signal.Signals, when: str, tmp_path: Path
) -> None:
    tree = repository(tmp_path, "good", "good", "waits", "bad", "bad")
    before = tree.state()
    slow = ("--build", "grep -q waits source && touch is-building && exec sleep 60; "
            "mkdir -p built && cp source built/word")  # fmt: skip
    mark = "*/run-1/is-running" if when == "a run" else "../tree/is-building"
    told = tmp_path / "told"
    with told.open("w") as out, subprocess.Popen(
        over(tree, tmp_path, *(slow if when == "a build" else ())),
        cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
    ) as child:  # fmt: skip
        try:
            wait_for(when, lambda: list((tmp_path / "bisect").glob(mark)))
            below = descendants(child.pid)
            child.send_signal(end)
            wait_for("word", lambda: "what is under way is taken down" in told.read_text("utf-8"))
            child.send_signal(end)  # by somebody who cannot wait
            child.wait(30)
        finally:
            child.kill()
    said = told.read_text(encoding="utf-8")
    assert child.returncode == 130, said
    assert "Traceback" not in said
    must_be_gone(below)
    (tree.path / "is-building").unlink(missing_ok=True)
    assert tree.state() == before


def test_kill_minus_9_ends_what_is_under_way(tmp_path: Path) -> None:
    tree = repository(tmp_path, "good", "waits", "bad")
    with subprocess.Popen(
        over(tree, tmp_path), cwd=tmp_path, env=environment(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as child:  # fmt: skip
        try:
            wait_for("run", lambda: list((tmp_path / "bisect").glob("*/run-1/is-running")))
            below = descendants(child.pid)
        finally:
            child.kill()
        child.wait(30)
    must_be_gone(below)


def test_a_build_that_changes_what_git_tracks_is_told_in_gits_words(tmp_path: Path) -> None:
    tree = repository(tmp_path, "good", "good", "bad", "bad")
    done = bisect(tree, tmp_path, "--build", "mkdir -p built; cp source built/word; echo >>number")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "could not be put back to refs/heads/main" in done.stderr
    assert "would be overwritten by checkout" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_harness_that_cannot_even_start_is_not_taken_for_a_bad_commit(tmp_path: Path) -> None:
    tree = repository(tmp_path, "good", "good", "bad", "bad")
    before = tree.state()
    breaks = "rm -f '{}' ; mkdir -p built; cp source built/word".format(
        tmp_path / "bisect" / "bisect.json"
    )
    done = bisect(tree, tmp_path, "--trust", "--build", breaks)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "git bisect run stopped" in done.stderr
    assert "is the first bad commit" not in done.stdout
    assert tree.state() == before
