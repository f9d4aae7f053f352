"""The negative controls of migrations and of who orchestrates them.

Neighbours: ``test_negative_controls`` has those of the other groups, ``controls`` what one is.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import main
from tests.catalogue.controls import Control, broken, cases_of, must_fail, with_marks

GROUPS = ("migration", "orchestration", "filtering")
ELSEWHERE = ("migrate-under-traffic",)
"""Whose controls are a test module of their own."""

NO_PRIMARY = "destination: [{execute: netdev_del, arguments: {id: tap-hostdev0}}]}"
SOON = ("state: up}, within: 60s}", "state: up}, within: 8s}")
BACK = ("  - migrate: {guest: g1, to: beta}\n", "  - migrate: {guest: g1, to: alpha}\n")
NOT_HELD = ('"echo mask > /sys', '"true || echo mask > /sys')
QUICK_CANCEL = ("cancelled}, within: 45s", "cancelled}, within: 8s")


def taken(step: str) -> tuple[tuple[str, str], ...]:
    """The management layer does what the case says it forgets."""
    return ((f", leave_out: [{step}]", ""),)


CONTROLS = (
    Control("migrate-postcopy", "expect.states[0].source", edits=((", mode: postcopy", ""),)),
    Control(
        "migrate-postcopy-recovered",
        "steps[6]",
        edits=(("  - migration: {guest: g1, do: pause}\n", "  - pause: 0.1s\n"),),
    ),
    Control(
        "migrate-multifd",
        "expect.netdevs.precopy.g1.net1.primary",
        edits=(
            ("to: beta, multifd: 4}", "to: beta, wait: no}"),
            (
                "  - wait:",
                "  - wait: {for: {guest: g1, migration: completed}, within: 60s}\n  - wait:",
            ),
            ("primary: absent", "primary: e1000e"),
        ),
    ),
    Control("pause-before-switchover", "steps[1]", edits=(("pause_before_switchover: on, ", ""),)),
    Control(
        "listener-after-a-migration",
        "expect.streams.inbound.lost",
        edits=(("to: beta, within: 60s}", "to: beta, parameters: {announce-rounds: 0}}"),),
    ),
    Control(
        "lists-of-the-master-through-a-migration",
        "steps[3]",
        edits=(("fd00::12:3456", "fd00::12:3457"),),
    ),
    Control(
        "migrate-return-path",
        "steps[3]",
        edits=(("return_path: off}", "return_path: off, " + NO_PRIMARY), SOON),
    ),
    Control(
        "migrate-ping-pong",
        "steps[1]",
        edits=(("{guest: g1, to: beta}", "{guest: g1, to: beta, " + NO_PRIMARY), SOON),
    ),
    Control("migrate-onward", "steps[3]", edits=(("to: gamma}", "to: gamma, " + NO_PRIMARY), SOON)),
    Control(
        "cancel-in-wait-unplug",
        "expect.order[0]",
        edits=(
            ('"echo unmask', '"true || echo unmask'),
            (
                "  - migrate: {guest: g1, to: beta}\n",
                "  - migrate: {guest: g1, to: beta, within: 5s}\n",
            ),
        ),
    ),
    Control("cancel-in-active", "expect.migration", edits=((", cancel: {at: active}", ""), BACK)),
    Control(
        "cancel-at-pre-switchover",
        "expect.migration",
        edits=((", cancel: {at: pre-switchover}", ""), BACK),
    ),
    Control(
        "destination-dies",
        "expect.migration",
        edits=((", kill: {side: destination, at: active}", ""), BACK),
    ),
    Control("destination-cannot-listen", "steps[0]", edits=(("192.0.2.1", "0.0.0.0"),)),
    Control(
        "destination-without-primary",
        "expect.netdevs.end.g1.net1.primary",
        edits=(("netdev_del, arguments: {id: tap-hostdev0}", "query-status"),),
    ),
    Control(
        "destination-fails-to-load", "steps[1]", edits=(("return_path: on", "return_path: off"),)
    ),
    Control("guest-does-not-eject", "expect.states[0].source", edits=(NOT_HELD, QUICK_CANCEL)),
    Control("late-eject", "steps[7]", edits=(('"echo unmask', '"true || echo unmask'),)),
    Control(
        "migrate-paused-guest",
        "expect.states[0].source",
        edits=(
            ("  - stop: {guest: g1}\n", "  - pause: 0.1s\n"),
            ("  - cont: {guest: g1}\n", "  - pause: 0.1s\n"),
            QUICK_CANCEL,
        ),
    ),
    Control(
        "device-del-in-wait-unplug",
        "steps[3]",
        edits=(
            (
                "  - migrate:",
                "  - unplug: {guest: g1, nic: hostdev0, within: 5s}\n  - migrate:",
            ),
            (
                '  - exec: {machine: g1, command: "echo mask',
                '  - exec: {machine: g1, command: "true',
            ),
        ),
    ),
    Control(
        "silent-guest-after-a-cancel",
        "expect.streams.echo.lost.after",
        edits=(
            (
                "traffic:\n",
                "traffic:\n"
                "  own: {from: g1, to: client, rate_tolerance: 50%, udp: {rate: 50/s, size: 99}}\n",
            ),
        ),
    ),
    Control("removal-before-active", "expect.order[0]", edits=(NOT_HELD,)),
    Control(
        "migrate-two-guests-at-once",
        "expect.netdevs.end.g2.net1.primary",
        edits=(
            ("guest: g2, to: beta,", "guest: g2, to: beta, " + NO_PRIMARY[:-1] + ","),
            SOON,
        ),
    ),
    Control("migrate-memory-load", "steps[1]", edits=(("while :; do", "while false; do"),)),
    Control("migrate-multiqueue", "steps[0]", topology=(("        queues: 2\n", ""),)),
    Control(
        "management-way",
        "expect.netdevs.precopy.g1.net1.standby",
        edits=(
            ("orchestration: management}", "orchestration: management, leave_out: [standby-up]}"),
        ),
    ),
    Control(
        "management-step-by-step",
        "steps[5]",
        edits=(("  - unplug: {guest: g1, nic: hostdev0}\n", "  - pause: 0.1s\n"),),
    ),
    Control("management-without-standby-up", "expect.streams", edits=taken("standby-up")),
    Control("management-without-standby-down", "expect.netdevs.end", edits=taken("standby-down")),
    Control("management-without-attach", "expect.netdevs.end", edits=taken("attach")),
    Control("management-without-detach", "steps[0]", edits=(("[detach, vf-mac]", "[vf-mac]"),)),
    Control(
        "management-without-vf-mac",
        "expect.streams.inbound.lost.precopy",
        edits=(("[vf-mac, standby-down]", "[standby-down]"),),
    ),
    Control(
        "management-without-fdb-del",
        "expect.streams.inbound.lost.precopy",
        edits=(("[fdb-del, standby-down]", "[standby-down]"),),
    ),
    Control(
        "filter-handed-over",
        "expect.streams.inbound.lost.precopy",
        edits=(("nested-vfio", "nested-no-handoff"),),
    ),
    Control(
        "filter-not-handed-over",
        "expect.streams.inbound.lost.precopy",
        edits=(("nested-no-handoff", "nested-vfio"),),
    ),
    Control(
        "no-vf-free-on-the-destination",
        "expect.netdevs.end.g1.net1.primary",
        edits=(("(exec 3<>", "(true || exec 3<>"),),
    ),
)

NESTED = (
    "management-without-detach",
    "management-without-vf-mac",
    "management-without-fdb-del",
    "no-vf-free-on-the-destination",
    "filter-handed-over",
    "filter-not-handed-over",
)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda one: one.case)
def test_a_negative_control_is_a_case_that_can_be_run(control: Control, tmp_path: Path) -> None:
    assert main(["check", str(broken(control, tmp_path))]) == 0


@pytest.mark.parametrize("control", list(with_marks(CONTROLS, NESTED)))
def test_a_case_fails_where_its_claim_is_not_so(control: Control, tmp_path: Path) -> None:
    must_fail(control, tmp_path)


def test_every_case_of_these_groups_has_a_negative_control() -> None:
    assert {control.case for control in CONTROLS} == cases_of(GROUPS) - {*ELSEWHERE}
