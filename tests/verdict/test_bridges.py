"""Where a bridge had an address: from the facts, or nothing."""

from __future__ import annotations

import pathlib

from harness.observe import Fact, HostEvent
from harness.verdict.bridges import stays
from tests.verdict.story import MAC, MS, Story


def fdb(at: float, event: str, port: str, was: str = "", **more: str) -> HostEvent:
    data = {"mac": MAC, "bridge": "br0", "behind": port.upper(), **more}
    if was:
        data |= {"from": was, "from_behind": was.upper()}
    return HostEvent(t_ns=int(at * MS), host="alpha", event=f"fdb-{event}", device=port, data=data)


def told(folder: pathlib.Path, *facts: Fact) -> list[tuple[str, str, int, int | None, str]]:
    made = Story(folder, "  migration: completed\n")
    made.facts = {str(number): fact for number, fact in enumerate(facts)}
    return [
        (one.bridge, one.behind, one.begin.t_ns // MS, one.end and one.end.t_ns // MS, one.then)
        for one in stays(made.evidence(), "alpha", MAC)
    ]


def test_each_stay_lasts_until_the_address_moves_or_goes(tmp_path: pathlib.Path) -> None:
    assert told(
        tmp_path,
        fdb(1, "learned", "a"),
        fdb(2, "moved", "b", "a"),
        fdb(4, "removed", "b"),
        fdb(6, "learned", "a"),
    ) == [("br0", "A", 1, 2, "B"), ("br0", "B", 2, 4, ""), ("br0", "A", 6, None, "")]


def test_bridges_are_told_apart(tmp_path: pathlib.Path) -> None:
    assert told(
        tmp_path,
        fdb(1, "learned", "a"),
        fdb(2, "learned", "b", bridge="br1"),
        fdb(3, "moved", "c", "a"),
    ) == [("br0", "A", 1, 3, "C"), ("br1", "B", 2, None, ""), ("br0", "C", 3, None, "")]


def test_nothing_holds_beyond_the_loss_of_the_watch(tmp_path: pathlib.Path) -> None:
    lost = HostEvent(t_ns=3 * MS, host="alpha", event="fdb-lost", data={"problem": "x"})

    assert told(tmp_path, fdb(1, "learned", "a"), lost) == [("br0", "A", 1, 3, "")]


def test_entries_that_contradict_each_other_say_nothing(tmp_path: pathlib.Path) -> None:
    assert told(tmp_path, fdb(1, "learned", "a"), fdb(2, "moved", "b", "c")) == []
    assert told(tmp_path, fdb(1, "learned", "a"), fdb(2, "removed", "b")) == []
    assert told(tmp_path, fdb(1, "learned", "a"), fdb(2, "learned", "b")) == []


def test_entries_of_other_hosts_and_addresses_say_nothing(tmp_path: pathlib.Path) -> None:
    other = fdb(1, "learned", "a", mac="02:00:00:00:00:01")

    assert told(tmp_path, fdb(1, "learned", "a").model_copy(update={"host": "beta"}), other) == []
