"""Commands for labs that stay up, where there is none, or the wrong one, or several."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.places import ROOT, Place, place

FLAT = ROOT / "topologies" / "flat-pair.yaml"

_LABS = """\
import sys
from pathlib import Path
from harness.lab import Lab, LabImages
from harness.images import Store
from harness.observe import FactLog
from harness.plan import make_plan
from harness.scenario.service import LabService
from harness.topology import load

plan = make_plan(load(Path(sys.argv[1])))
for name in sys.argv[2:]:
    lab = Lab(plan, LabImages(Store(), print), FactLog(None), logs=Path("."), name=name)
    LabService(lab, run_dir="nowhere", title="a lab that is not up yet")
print("listed", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as made:
        yield made


@contextmanager
def labs(here: Place, *names: str) -> Iterator[None]:
    """Labs that answer and never go up."""
    holder = here.spawn(sys.executable, "-c", _LABS, str(FLAT), *names)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "listed\n"
        yield
    finally:
        holder.communicate(timeout=20)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The message of a command that refused its input."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_without_a_lab_every_command_says_so(here: Place) -> None:
    assert here.harness("status").stdout == "no lab is up\n"
    for words in (["exec", "g1", "--", "true"], ["migrate", "g1", "--to", "beta"], ["down"]):
        told = refused(here.harness(*words))
        assert told == "no lab is up\n  hint: harness up TOPOLOGY\n"
    assert "no lab called 'x' is up" in refused(here.harness("status", "--lab", "x"))
    done = here.harness("down", "--all")
    assert (done.returncode, done.stdout) == (0, "no lab is up\n")


def test_with_several_labs_one_has_to_be_named(here: Place) -> None:
    with labs(here, "one", "two"):
        told = refused(here.harness("exec", "g1", "--", "true"))
        assert "several labs are up: one, two" in told
        assert "--lab NAME" in told
        listed = here.harness("status").stdout
        assert "one: new" in listed
        assert "two: new" in listed
        assert "two: new" not in here.harness("status", "--lab", "one").stdout


def test_a_lab_that_is_not_up_runs_nothing(here: Place) -> None:
    with labs(here, "one"):
        for words in (["exec", "g1", "--", "true"], ["migrate", "g1", "--to", "beta"]):
            assert "wait until it is up" in refused(here.harness(*words))
        assert "give a command" in refused(here.harness("exec", "g1"))
        assert "give a command" in refused(here.harness("exec", "g1", "--"))
        assert "needs a terminal" in refused(here.harness("console", "g1"))


def test_a_name_that_is_taken_or_is_none_is_refused_before_anything_is_made(here: Place) -> None:
    with labs(here, "flat-pair"):
        assert "already up" in refused(here.harness("up", FLAT))
        assert "lab name 'a/b'" in refused(here.harness("up", FLAT, "--name", "a/b"))
    assert not (here.folder / "runs").exists()


def test_up_makes_a_run_directory_of_its_own(here: Place) -> None:
    told = refused(here.harness("up", FLAT, "--run-dir", here.folder))
    assert "exists already" in told
    assert here.harness("status").stdout == "no lab is up\n"
