"""Every rule of the topology language: what is wrong, where, and the hint, to the letter."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field

import pytest

from harness.errors import ProblemsError
from harness.topology import load

HERE = pathlib.Path(__file__).parent


@dataclass
class Case:
    """One paragraph of ``bad-input.txt``."""

    name: str
    base: str = ""
    edits: list[tuple[list[str], list[str]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        text = (HERE / f"{self.base}.yaml").read_text()
        for old, new in self.edits:
            assert "\n".join(old) in text, f"{self.name}: not in {self.base}.yaml: {old}"
            text = text.replace("\n".join(old), "\n".join(new), 1)
        return text


def cases() -> list[Case]:
    result: list[Case] = []
    for paragraph in (HERE / "bad-input.txt").read_text().split("\n\n")[1:]:
        first, *lines = paragraph.splitlines()
        case = Case(first.removeprefix("# "))
        last = ""
        for line in lines:
            sign, rest = line[:2], line[2:]
            if sign == "- ":
                if last != "- ":
                    case.edits.append(([], []))
                case.edits[-1][0].append(rest)
            elif sign == "+ ":
                case.edits[-1][1].append(rest)
            elif sign == "> ":
                case.problems.append(rest)
            else:
                case.base = line.removeprefix("base: ")
            last = sign
        result.append(case)
    return result


def test_the_table_is_read_whole() -> None:
    text = (HERE / "bad-input.txt").read_text()
    assert len(cases()) == text.count("\nbase: ")
    assert sum(len(case.problems) for case in cases()) == text.count("\n> ")
    assert all(case.problems for case in cases())


@pytest.mark.parametrize("base", ["flat", "nested"])
def test_the_topologies_that_the_cases_start_from_are_good(base: str) -> None:
    load(HERE / f"{base}.yaml")


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_all_problems_are_found_and_worded(
    case: Case, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pathlib.Path("t.yaml").write_text(case.text())

    with pytest.raises(ProblemsError) as caught:
        load(pathlib.Path("t.yaml"))

    assert [str(problem) for problem in caught.value.problems] == case.problems


def test_many_problems_come_in_one_go_in_the_order_of_the_file(tmp_path: pathlib.Path) -> None:
    text = (HERE / "nested.yaml").read_text()
    for old, new in (
        ("network: data, address", "network: dta, address"),
        ("model: igb", "model: igbb"),
        ("br0: [pf]", "br0: [pf, xy]"),
        ("host: alpha", "host: gamma"),
        ("failover_pair_id: net1", "failover_pair_id: net9"),
    ):
        text = text.replace(old, new, 1)
    path = tmp_path / "many.yaml"
    path.write_text(text)

    with pytest.raises(ProblemsError) as caught:
        load(path)

    assert [problem.path for problem in caught.value.problems] == [
        "namespaces.client.nics.eth0.network",
        "hosts.alpha.nics.pf.model",
        "hosts.alpha.bridges.br0[1]",
        "guests.g1.host",
        "guests.g1.nics.hostdev0.failover_pair_id",
    ]


def test_a_wrong_reference_taken_over_by_like_is_reported_once(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text((HERE / "nested.yaml").read_text().replace("br0: [pf]", "br0: [xy]"))

    with pytest.raises(ProblemsError) as caught:
        load(path)

    assert [problem.path for problem in caught.value.problems] == ["hosts.alpha.bridges.br0[0]"]
