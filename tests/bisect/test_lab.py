"""A bisection on real labs: a tree whose build makes a QEMU, in one commit one with a defect.

The build takes the store's QEMU and edits it by the commit's `qemu.sed`: a minute, where QEMU's
own build would take six for each commit.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from harness.images import Store
from tests.bisect.repositories import Repository
from tests.cli.places import place
from tests.end_to_end.runs import FLAT

CASE = f"""\
case: the guest is asked to give its primary up before the memory is copied
topology: {FLAT}
steps:
  - migrate: {{guest: g1, to: beta, within: 60s}}
expect:
  migration: completed
  order: [[source UNPLUG_PRIMARY, guest primary removed, source active]]
"""
COMMITS = {
    "a QEMU as it is": "",
    "another name for an event": "s/UNPLUG_PRIMARY/UNPLUG_PRIMARX/g",
    "half an edit": "s/UNPLUG_PRIMARY/UNPLUG_PRIMARX/g\ns/unfinished",
    "the edit is whole again": "s/UNPLUG_PRIMARY/UNPLUG_PRIMARX/g",
}


def repository(path: Path) -> Repository:
    """A repository with ``COMMITS``."""
    path.mkdir()
    tree = Repository(path, {})
    tree.git("init", "--quiet", "--initial-branch=main")
    (path / ".gitignore").write_text("out\n", encoding="utf-8")
    for number, (subject, edit) in enumerate(COMMITS.items()):
        (path / "qemu.sed").write_text(f"# {number}\n{edit}\n", encoding="utf-8")
        tree.git("add", ".")
        tree.git("commit", "--quiet", "-m", subject)
        tree.commits[subject] = tree.git("rev-parse", "HEAD")
    return tree


@pytest.mark.lab
def test_the_commit_that_broke_a_qemu_is_found(tmp_path: Path) -> None:
    stock = shlex.quote(str(Store().toolchain("qemu").root))
    tree = repository(tmp_path / "qemu")
    before = tree.state()
    (tmp_path / "case.yaml").write_text(CASE, encoding="utf-8")
    build = (
        f"set -e; rm -rf out; cp -a {stock} out; "
        "LC_ALL=C sed -i -f qemu.sed out/usr/bin/qemu-system-x86_64"
    )
    with place(tmp_path) as here:
        done = here.harness(
            *("bisect", "case.yaml", "--tree", "qemu", "--as", "qemu", "--result", "out"),
            *("--build", build, "--good", "main~3", "--bad", "main", "--bisect-dir", "bisect"),
            timeout=280,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(
        f"{tree.commits['another name for an event']} is the first bad commit\n"
        "  another name for an event\n  fails: "
    )
    assert "source UNPLUG_PRIMARY" in done.stdout
    assert tree.state() == before
    result = json.loads((tmp_path / "bisect" / "result.json").read_text(encoding="utf-8"))
    answers = {one["title"]: one["answer"] for one in result["steps"]}
    assert answers.pop("half an edit", "skip") == "skip"
    assert set(answers.values()) == {"good", "bad"}
    # Every run can be judged again, from its directory alone.
    for step in result["steps"]:
        for run in step["runs"]:
            seen = json.loads(Path(run["directory"], "result.json").read_text(encoding="utf-8"))
            assert seen["outcome"] == run["outcome"]
            assert seen["choices"] == {"qemu": f"path:{tree.path}/out"}
