"""The verbs beyond migrate and wait: what they may say, and how repeats are taken apart."""

from __future__ import annotations

import pathlib

import pytest

from harness.case import VERBS, bind, check_case, load_case
from harness.case.reference import page
from harness.errors import ProblemsError
from tests.case.files import HEAD, write

ROOT = pathlib.Path(__file__).parents[2]

EVERY_VERB = """\
steps:
  - unplug: {guest: g1, nic: hostdev0, within: 5s}
  - plug: {guest: g1, nic: hostdev0, refused: in use}
  - repeat:
      times: 2
      steps:
        - set-link: {guest: g1, nic: net1, up: off}
        - repeat: {times: 2, steps: [{set-tap: {guest: g1, nic: net1, up: on}}]}
  - set-host-link: {host: alpha, nic: pf, up: off}
  - stop: {guest: g1}
  - cont: {guest: g1}
  - reset: {guest: g1}
  - reboot: {guest: g1, within: 30s}
  - wait: {for: {guest: g1, event: DEVICE_DELETED, device: hostdev0}, within: 5s}
  - wait: {for: {guest: g1, standby: net1, state: down}, within: 5s}
  - wait: {for: {guest: g1, qemu-says: Primary device not found}, within: 5s}
  - exec: {machine: g1, command: uname, says: Linux}
"""


def problems(folder: pathlib.Path, steps: str) -> str:
    with pytest.raises(ProblemsError) as caught:
        check_case(write(folder, HEAD + "steps: [" + steps + "]\n"))
    return str(caught.value).replace(f"{folder}/", "")


def test_a_repeat_is_taken_apart_into_steps_with_numbers_and_places_of_their_own(
    tmp_path: pathlib.Path,
) -> None:
    bound = bind(load_case(write(tmp_path, HEAD + EVERY_VERB)))

    placed = bound.placed
    assert [one.label for one in placed][:9] == [
        "1 unplug",
        "2 plug",
        "3.1.1 set-link",
        "3.1.2.1.1 set-tap",
        "3.1.2.2.1 set-tap",
        "3.2.1 set-link",
        "3.2.2.1.1 set-tap",
        "3.2.2.2.1 set-tap",
        "4 set-host-link",
    ]
    assert {one.place for one in placed[2:8]} == {3}
    assert bound.place(placed[2].path) == bound.place(placed[5].path) == f"{tmp_path}/case.yaml:9"


BAD = {
    "a NIC that the guest has not": (
        "{plug: {guest: g1, nic: hostdev1}}",
        "steps[0].plug.nic: 'hostdev1' is not a NIC of guest 'g1' (did you mean 'hostdev0'?)",
    ),
    "a NIC that the host has not": (
        "{set-host-link: {host: alpha, nic: net1, up: off}}",
        "steps[0].set-host-link.nic: 'net1' is not a NIC of host 'alpha'",
    ),
    "a wrong name inside a repeat": (
        "{repeat: {times: 2, steps: [{pause: 1s}, {unplug: {guest: g2, nic: net1}}]}}",
        "steps[0].repeat.steps[1].unplug.guest: 'g2' is not a guest of lab.yaml",
    ),
    "a repeat of nothing": (
        "{repeat: {times: 2, steps: []}}",
        "steps[0].repeat.steps: ",
    ),
    "an event that QEMU does not send": (
        "{wait: {for: {guest: g1, event: DEVICE_DELETE}, within: 1s}}",
        "'DEVICE_DELETE' is not a QMP event (did you mean 'DEVICE_DELETED'?)",
    ),
    "two things to wait for": (
        "{wait: {for: {guest: g1, event: STOP, qemu-says: bad}, within: 1s}}",
        "wait for exactly one of primary, standby, failover, event, qemu-says, migration; found "
        "event and qemu-says",
    ),
    "a netdev without its state": (
        "{wait: {for: {guest: g1, primary: net1}, within: 1s}}",
        "`state` goes with primary, standby or failover, and they with it",
    ),
    "a device without an event": (
        "{wait: {for: {guest: g1, qemu-says: bad, device: net1}, within: 1s}}",
        "`device` goes with `event`",
    ),
    "a migration that a repeat makes impossible": (
        "{repeat: {times: 2, steps: [{migrate: {guest: g1, to: beta}}]}}",
        "steps[0].repeat.steps[0].migrate.to: guest 'g1' is on 'beta' already when this step comes",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_step_is_told_where_and_what(name: str, tmp_path: pathlib.Path) -> None:
    steps, wanted = BAD[name]

    assert wanted in problems(tmp_path, steps)


def test_a_migration_there_and_back_may_be_repeated(tmp_path: pathlib.Path) -> None:
    there_and_back = "[{migrate: {guest: g1, to: beta}}, {migrate: {guest: g1, to: alpha}}]"
    text = HEAD + f"steps: [{{repeat: {{times: 3, steps: {there_and_back}}}}}]\n"

    (bound,) = check_case(write(tmp_path, text))

    assert len(bound.placed) == 6


def test_the_committed_page_of_verbs_is_current_and_has_them_all() -> None:
    committed = (ROOT / "docs" / "verbs.md").read_text(encoding="utf-8")

    assert committed == page(), "run: python -m harness.case.reference > docs/verbs.md"
    assert [verb for verb in VERBS if f"## `{verb}" not in committed] == []
