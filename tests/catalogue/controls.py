"""What a negative control is, and how one is run: for the modules that list them.

A control is the case with some of its text, or of its topology's, replaced, so that QEMU or the
guest really does something else; and the expectation that has to fail then.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.case import load_case
from harness.cli import main
from tests.cli.places import ROOT

Edits = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Control:
    """``fails`` is the path of the finding that must have failed (or its beginning)."""

    case: str
    fails: str
    edits: Edits = ()
    topology: Edits = ()


def on(old: str, new: str) -> tuple[str, str]:
    """Another topology for a case."""
    return (f"topologies/{old}.yaml", f"topologies/{new}.yaml")


def group_of(case: str) -> str:
    document = load_case(ROOT / "testcases" / f"{case}.yaml").document
    return str(document.data["group"])


def with_marks(controls: Sequence[Control], nested: Collection[str]) -> Iterator[object]:
    """Each with its marks: all but the first of a group, and those with host VMs, are slow."""
    seen: set[str] = set()
    for control in controls:
        group = group_of(control.case)
        inside = control.case in nested
        marks = [pytest.mark.nested if inside else pytest.mark.lab, getattr(pytest.mark, group)]
        if group in seen or inside:
            marks.append(pytest.mark.slow)
        else:
            seen.add(group)
        yield pytest.param(control, marks=marks, id=control.case)


def edited(text: str, edits: Edits) -> str:
    for old, new in edits:
        assert old in text, f"{old!r} is not there"
        text = text.replace(old, new)
    return text


def broken(control: Control, folder: Path) -> Path:
    """The case with its edits; its topology is edited beside it."""
    text = (ROOT / "testcases" / f"{control.case}.yaml").read_text(encoding="utf-8")
    text = edited(text, control.edits)
    for path in sorted((ROOT / "topologies").glob("*.yaml")):
        there = folder / path.name
        topology = path.read_text(encoding="utf-8")
        if f"../topologies/{path.name}" in text:
            topology = edited(topology, control.topology)
        there.write_text(topology, encoding="utf-8")
    case = folder / "case.yaml"
    case.write_text(text.replace("../topologies", str(folder)), encoding="utf-8")
    return case


def must_fail(control: Control, folder: Path) -> None:
    """Run the control, which has to fail, and there where it says."""
    case, run = broken(control, folder), folder / "run"
    variant = load_case(case).variants[0]

    code = main(["run", str(case), "--variant", variant, "--quiet", "--run-dir", str(run)])

    findings = json.loads((run / "result.json").read_text(encoding="utf-8"))["findings"]
    failed = [one["path"] for one in findings if one["outcome"] == "failed"]
    assert code == 1, findings
    assert [path for path in failed if path.startswith(control.fails)], failed


def cases_of(groups: Collection[str]) -> set[str]:
    """The names of the cases of some groups."""
    found = sorted((ROOT / "testcases").rglob("*.yaml"))
    return {one.stem for one in found if load_case(one).document.data.get("group") in groups}
