"""However a run ends, its exit code says how, and nothing of its lab is left."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.cli.places import Place
from tests.end_to_end.runs import (
    CASE,
    RUN_S,
    descendants,
    left,
    must_be_gone,
    qemus,
    running,
    says,
    wait_for,
    write_case,
)

pytestmark = pytest.mark.lab

RUN = ("run", CASE, "--variant", "flat", "--quiet", "--run-dir")
MIGRATING = ('"role":"destination"', '"MIGRATION"', '"setup"')


def test_a_destination_that_is_killed_breaks_the_lab(here: Place) -> None:
    before = left(here)
    run = here.folder / "run"
    with running(here, *RUN, run) as child:
        (destination,) = wait_for("destination", lambda: qemus(child.pid, incoming=True))
        wait_for("migration", says(run / "facts.jsonl", *MIGRATING))
        os.kill(destination, signal.SIGKILL)
        out, err = child.communicate(timeout=RUN_S)
    assert child.returncode == 3, out + err
    assert "beta" in err
    assert f"run directory: {run}" in err
    assert "Traceback" not in err
    assert left(here) == before


def test_ctrl_c_during_a_migration_takes_the_lab_down(here: Place) -> None:
    before = left(here)
    run = here.folder / "run"
    with running(here, *RUN, run) as child:
        wait_for("migration", says(run / "facts.jsonl", *MIGRATING))
        lab = descendants(child.pid)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 130, out + err
    assert f"what was recorded is in {run}" in err
    assert "Traceback" not in err
    must_be_gone(lab)
    assert left(here) == before
    assert (run / "logs").iterdir()


def test_sigterm_while_the_guest_boots_takes_the_lab_down(here: Place) -> None:
    before = left(here)
    run = here.folder / "run"
    with running(here, *RUN, run) as child:
        wait_for("guest", says(run / "facts.jsonl", '"qemu-started"'))
        lab = descendants(child.pid)
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 130, out + err
    assert "Traceback" not in err
    must_be_gone(lab)
    assert left(here) == before


def test_kill_minus_9_leaves_nothing(here: Place) -> None:
    before = left(here)
    run = here.folder / "run"
    with running(here, *RUN, run) as child:
        wait_for("migration", says(run / "facts.jsonl", *MIGRATING))
        lab = descendants(child.pid)
        assert len(qemus(child.pid, incoming=True) + qemus(child.pid, incoming=False)) == 2
        assert left(here).labs != before.labs
        child.kill()
        child.communicate(timeout=30)
    must_be_gone(lab)
    assert left(here) == before
    assert before.labs == "no lab is up\n"


def test_two_labs_side_by_side_both_pass(here: Place) -> None:
    # Two guests on the processors of one: half the packets, or the senders miss their rate.
    case = write_case(here.folder, **{"1000/s": "250/s", "500/s": "125/s"})
    outs = [here.folder / name for name in ("one.json", "two.json")]
    words = [("run", case, "--variant", "flat", "--quiet", "--json", out) for out in outs]
    with running(here, *words[0]) as one, running(here, *words[1]) as two:
        both = {one.pid, two.pid}
        wait_for("both labs", lambda: here.harness("status").stdout.count("run directory") == 2)
        texts = [child.communicate(timeout=RUN_S) for child in (one, two)]
    assert len(both) == 2
    assert (one.returncode, two.returncode) == (0, 0), texts
    results = [json.loads(out.read_text(encoding="utf-8")) for out in outs]
    assert [result["outcome"] for result in results] == ["passed", "passed"]
    assert here.harness("status").stdout == "no lab is up\n"
