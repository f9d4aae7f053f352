"""The timeline shows every fact once, and an order only where it is known."""

from __future__ import annotations

import pathlib

import pytest

from harness.observe import Fact, KernelMessage, LinkState, Note, ProbeLoad
from harness.report import timeline
from harness.report.timeline import HEAD
from tests.verdict.story import (
    MASTER,
    MS,
    PRIMARY,
    PRIMARY_BACK,
    STANDBY,
    Story,
    host,
    link,
    qmp,
    snapshot,
    step,
)
from tests.verdict.test_netdevs import WHOLE
from tests.verdict.test_stream_phases import stream
from tests.verdict.test_streams import inbound

MARK, WHO, WHAT = 27, 29, 52


def shown(story: Story) -> list[str]:
    """The lines behind the head, without those that go into detail."""
    text = timeline(story.evidence())
    assert text.startswith(HEAD)
    return [line for line in text.removeprefix(HEAD).splitlines() if line[:WHO].strip()]


def story_of(folder: pathlib.Path, *facts: Fact) -> Story:
    """Facts that come in the order of the record, after a migration has begun."""
    story = Story(folder, WHOLE)
    story.facts = {str(number): fact for number, fact in enumerate(facts)}
    return story


def marks(story: Story) -> dict[str, str]:
    """What each line says, and its mark."""
    return {line[WHAT:]: line[MARK] for line in shown(story)}


def kernel(at: float, seq: int, text: str, *, err: float = 0, level: int = 6) -> KernelMessage:
    return KernelMessage(
        t_ns=int(at * MS), err_ns=int(err * MS), guest="g1", level=level, text=text, seq=seq,
        stamp_us=int(at * 1000) + 123, guest_ns=int(at * MS),
    )  # fmt: skip


def test_each_fact_has_one_line_in_the_order_of_time(tmp_path: pathlib.Path) -> None:
    story = Story(tmp_path, WHOLE)
    story.facts |= {
        "late": qmp(2000.5, "source", "MIGRATION_PASS", err=0.25, **{"pass": 2}),
        "note": Note(t_ns=1, text="the lab is up"),
    }
    story.facts = dict(sorted(story.facts.items(), key=lambda one: one[1].t_ns))

    lines = shown(story)

    borders = [line for line in lines if line[WHO:].startswith("phase")]
    assert len(lines) == len(story.facts) + len(borders)
    assert [line[WHAT:] for line in borders] == [
        "unplug begins (the source's UNPLUG_PRIMARY)",
        "precopy begins (the source's `active`)",
        "stop-and-copy begins (the source's STOP)",
        "return begins (the destination's RESUME)",
        "after begins (g1's primary is up)",
    ]
    unplug = "    +1.002000                source g1@alpha        UNPLUG_PRIMARY device-id=hostdev0"
    assert lines[lines.index(unplug) + 1] == borders[0]
    assert lines[1] == "    +0.000000                harness                the lab is up"
    assert "    +2.000500     ±0.250ms   source g1@alpha        MIGRATION_PASS pass=2" in lines
    assert (
        "    +2.510000                guest g1               link enslaved: primary eth1 (e1000e, "
        "52:54:00:6f:55:cc, master eth0, operstate down)" in lines
    )


def test_facts_closer_than_their_errors_are_not_shown_as_ordered(tmp_path: pathlib.Path) -> None:
    story = story_of(
        tmp_path,
        step(100, "2 wait", "begin"),
        host(200, "alpha", "exact"),
        kernel(203, 1, "near", err=4),
        host(204, "alpha", "inside"),
        host(205, "alpha", "behind it"),
        kernel(214, 2, "far", err=4),
    )

    found = {what.rpartition("] ")[2]: mark for what, mark in marks(story).items()}

    assert found == {
        "step 2 wait begin": " ",
        "exact of g1": " ",
        "near": "~",
        "inside of g1": "~",
        "behind it of g1": " ",
        "far": " ",
    }


def test_what_one_process_reported_in_order_is_ordered_however_vague_its_times(
    tmp_path: pathlib.Path,
) -> None:
    story = story_of(
        tmp_path,
        kernel(200, 1, "one", err=50),
        kernel(201, 2, "two", err=80),
        kernel(190, 3, "three", err=60),
    )

    lines = shown(story)

    assert [line.rpartition(" ")[2] for line in lines] == ["one", "two", "three"]
    assert [line[MARK] for line in lines] == [" ", " ", " "]


def test_an_order_that_contradicts_itself_is_not_shown_as_one(tmp_path: pathlib.Path) -> None:
    story = story_of(tmp_path, kernel(200, 1, "one"), kernel(190, 2, "two"))

    assert [line[MARK] for line in shown(story)] == [" ", "~"]


def test_the_timeline_is_the_same_every_time(tmp_path: pathlib.Path) -> None:
    facts = [host(200, "alpha", f"at once {number}") for number in range(20)]
    story = story_of(tmp_path, *facts)

    lines = shown(story)

    assert [line[WHAT:] for line in lines] == [f"at once {number} of g1" for number in range(20)]
    assert {line[MARK] for line in lines[1:]} == {"~"}


def address(*addresses: str, **update: object) -> LinkState:
    return MASTER.model_copy(update={"addresses": addresses, **update})


@pytest.mark.parametrize(
    ("event", "before", "after", "told"),
    [
        ("changed", address(), address("10.0.0.1/24"), ": address-added 10.0.0.1/24"),
        ("changed", address("10.0.0.1/24"), address(), ": address-removed 10.0.0.1/24"),
        ("changed", address(carrier=False), address(carrier=True), ": carrier-on"),
        ("changed", address(carrier=True), address(carrier=False), ": carrier-off"),
        ("changed", address(mtu=1500), address(mtu=1400), ": mtu 1500 to 1400"),
        ("changed", address(name="eth9"), address(), ": it was eth9"),
        ("released", address(master="bond0"), address(), ": its master was bond0"),
        ("up", address(operstate="down"), address(), ": operstate was down"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith(":") else "",
)
def test_a_link_event_says_what_has_changed(
    tmp_path: pathlib.Path, event: str, before: LinkState, after: LinkState, told: str
) -> None:
    story = story_of(
        tmp_path,
        snapshot(100, "start", before),
        link(200, event, after),  # type: ignore[arg-type]
    )

    assert shown(story)[-1][WHAT:] == (
        f"link {event}: failover eth0 (net_failover, 52:54:00:6f:55:cc, up){told}"
    )


def test_a_message_that_changes_nothing_says_so(tmp_path: pathlib.Path) -> None:
    story = story_of(tmp_path, snapshot(100, "start", MASTER), link(200, "changed", MASTER))

    assert shown(story)[-1][WHAT:] == "link changed: eth0, in nothing that is recorded"


def test_a_message_says_why_the_kernel_sent_it(tmp_path: pathlib.Path) -> None:
    event = link(200, "changed", MASTER).model_copy(update={"why": "NOTIFY_PEERS"})
    story = story_of(tmp_path, snapshot(100, "start", MASTER), event)

    assert shown(story)[-1][WHAT:] == (
        "link changed: failover eth0 (net_failover, 52:54:00:6f:55:cc, up): NOTIFY_PEERS"
    )


def test_a_netdev_that_went_is_called_by_the_part_it_had(tmp_path: pathlib.Path) -> None:
    gone = PRIMARY.model_copy(update={"driver": None, "master": None})
    story = story_of(tmp_path, snapshot(100, "start", PRIMARY), link(200, "removed", gone))

    assert shown(story)[-1][WHAT:] == ("link removed: primary eth1 (e1000e, 52:54:00:6f:55:cc, up)")


def test_an_address_is_new_when_its_message_came_even_if_the_snapshot_was_earlier(
    tmp_path: pathlib.Path,
) -> None:
    story = story_of(
        tmp_path,
        link(50, "added", address()),
        snapshot(100, "start", address("fe80::1/64")),
        link(200, "changed", address("fe80::1/64")),
    )

    assert shown(story)[-1].endswith("up): address-added fe80::1/64")


def test_kernel_messages_look_as_in_dmesg(tmp_path: pathlib.Path) -> None:
    story = story_of(
        tmp_path,
        kernel(100, 1, "igbvf 0000:02:00.0: Link is Up"),
        kernel(101, 2, "it broke", level=3),
    )

    assert shown(story) == [
        "    +0.000000                kernel g1              [    0.100123] igbvf 0000:02:00.0: "
        "Link is Up",
        "    +0.001000                kernel g1              [    0.101123] error: it broke",
    ]


def test_a_snapshot_has_a_line_for_each_netdev(tmp_path: pathlib.Path) -> None:
    story = story_of(tmp_path, snapshot(100, "end", address("10.0.0.1/24"), STANDBY, PRIMARY_BACK))

    lines = timeline(story.evidence()).splitlines()[1:]

    assert [line[WHAT:] for line in lines] == [
        "snapshot end: 3 netdevs",
        "    failover eth0 (net_failover, 52:54:00:6f:55:cc, up): 10.0.0.1/24",
        "    standby eth0nsby (virtio_net, 52:54:00:6f:55:cc, master eth0, up)",
        "    primary eth1 (e1000e, 52:54:00:6f:55:cc, master eth0, up)",
    ]


def test_the_probes_load_is_shown(tmp_path: pathlib.Path) -> None:
    load = ProbeLoad(
        t_ns=0, guest="g1", moment="traffic-ends", guest_ns=0, cpu_ns=1_500_000_000,
        peak_octets=3 << 20, sent_octets=2048, received_octets=100,
    )  # fmt: skip

    assert shown(story_of(tmp_path, load))[-1][WHAT:] == (
        "its probe so far (traffic-ends): 1.500 s of processor time, at most 3.0 MiB, 2.0 KiB sent"
    )


def test_what_was_lost_is_shown_with_the_reasons_and_the_longest_gap(
    tmp_path: pathlib.Path,
) -> None:
    told = stream(lost=(*range(2000, 2010), 2700))
    story = Story(tmp_path, WHOLE, streams={"inbound": inbound(told)})

    lines = timeline(story.evidence()).splitlines()

    at = [number for number, line in enumerate(lines) if "stream inbound" in line]
    assert [lines[number][WHAT:] for number in at] == [
        "lost 10 packets, the last one sent at +2.009s",
        "its longest gap begins: no arrival for 11.0ms",
        "lost 1 packet",
    ]
    assert [lines[number + 1].strip() for number in (at[0], at[2])] == [
        "10 sent while the guest was stopped (+2.000s to +2.020s)",
        "1 cause unknown",
    ]
