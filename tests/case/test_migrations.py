"""What a case may say of migrations, and what makes no sense."""

from __future__ import annotations

import pathlib

import pytest

from harness.case import Migrate, bind, check_case, load_case
from harness.case.states import matches, parse_states
from harness.errors import ProblemsError
from tests.case.files import HEAD, TOPOLOGY, write

THIRD = TOPOLOGY.replace(
    "  beta: {like: alpha}\n", "  beta: {like: alpha}\n  gamma: {like: alpha}\n"
)


def migrate(**terms: object) -> Migrate:
    return Migrate.model_validate({"guest": "g1", "to": "beta", **terms})


def told(folder: pathlib.Path, text: str) -> str:
    with pytest.raises(ProblemsError) as caught:
        check_case(write(folder, HEAD + text, topology=THIRD))
    return str(caught.value)


def test_the_usual_terms_become_qemus_words_and_units() -> None:
    terms = migrate(
        mode="postcopy",
        multifd=4,
        return_path=False,
        pause_before_switchover=True,
        bandwidth="320Mbit/s",
        downtime_limit="300ms",
        capabilities={"xbzrle": True},
        parameters={"max-postcopy-bandwidth": 2000000},
    )

    assert terms.wanted_capabilities() == {
        "postcopy-ram": True,
        "multifd": True,
        "return-path": False,
        "pause-before-switchover": True,
        "xbzrle": True,
    }
    assert terms.wanted_parameters() == {
        "multifd-channels": 4,
        "max-bandwidth": 40_000_000,
        "downtime-limit": 300,
        "max-postcopy-bandwidth": 2_000_000,
    }


def test_what_is_not_said_is_left_to_qemu() -> None:
    assert migrate().wanted_capabilities() == {}
    assert migrate().wanted_parameters() == {}


def test_how_it_has_to_end_follows_from_what_is_done_to_it() -> None:
    assert migrate().ends == "completed"
    assert migrate(cancel={"at": "active"}).ends == "cancelled"
    assert migrate(kill={"side": "destination", "at": "active"}).ends == "failed"
    assert migrate(kill={"side": "destination", "at": "setup"}, outcome="refused").ends == "refused"


BAD = {
    "an end that nobody waits for": (
        "steps: [{migrate: {guest: g1, to: beta, wait: no, outcome: failed}}]\n",
        "`outcome` is of the end, which this step does not wait for",
    ),
    "an error of a success": (
        "steps: [{migrate: {guest: g1, to: beta, error: oh}}]\n",
        "`error`: a migration that is completed has none",
    ),
    "two disturbances": (
        "steps: [{migrate: {guest: g1, to: beta, cancel: {at: active}, "
        "kill: {side: destination, at: active}}}]\n",
        "`cancel` or `kill`, not both",
    ),
    "a status that is none": (
        "steps: [{migrate: {guest: g1, to: beta, cancel: {at: wait_unplug}}}]\n",
        "wait-unplug",
    ),
    "a migration without an end": (
        "steps: [{migrate: {guest: g1, to: beta, wait: no}}]\n",
        "steps[0].migrate.wait: no later step waits for the end of this migration of 'g1'",
    ),
    "steering nothing": (
        "steps: [{migration: {guest: g1, do: cancel}}]\n",
        "steps[0].migration: no migration of 'g1' is going on when this step comes",
    ),
    "waiting for nothing": (
        "steps: [{wait: {for: {guest: g1, migration: active}, within: 1s}}]\n",
        "steps[0].wait: no migration of 'g1' is going on",
    ),
    "killing nothing": (
        "steps: [{kill: {guest: g1, side: destination}}]\n",
        "steps[0].kill: no migration of 'g1' is going on",
    ),
    "two migrations of one guest": (
        "steps:\n"
        "  - migrate: {guest: g1, to: beta, wait: no}\n"
        "  - migrate: {guest: g1, to: gamma}\n"
        "  - wait: {for: {guest: g1, migration: completed}, within: 9s}\n",
        "steps[1].migrate.guest: 'g1' is migrating already when this step comes",
    ),
    "an error of a wait for success": (
        "steps:\n"
        "  - migrate: {guest: g1, to: beta, wait: no}\n"
        "  - wait: {for: {guest: g1, migration: completed, error: oh}, within: 9s}\n",
        "`error` goes with `migration: failed`",
    ),
    "ends of another number": (
        "steps: [{migrate: {guest: g1, to: beta}}]\nexpect: {migration: [failed, completed]}\n",
        "expect.migration: 2 ends for 1 migrations of the case",
    ),
    "states of another number": (
        "steps: [{migrate: {guest: g1, to: beta}}]\n"
        "expect: {states: [{source: active}, {source: active}]}\n",
        "expect.states: 2 items for 1 migrations of the case",
    ),
    "states of no migration": (
        "steps: [{pause: 1s}]\nexpect: {states: [{source: active}]}\n",
        "expect.states: no step migrates a guest",
    ),
    "a misspelt status": (
        "steps: [{migrate: {guest: g1, to: beta}}]\nexpect: {states: [{source: 'setup, actve'}]}\n",
        "'actve' is not a migration status (did you mean 'active'?)",
    ),
    "where it has come to by an earlier migration": (
        "steps:\n"
        "  - migrate: {guest: g1, to: beta, wait: no}\n"
        "  - wait: {for: {guest: g1, migration: completed}, within: 9s}\n"
        "  - migrate: {guest: g1, to: beta}\n",
        "steps[2].migrate.to: guest 'g1' is on 'beta' already when this step comes",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_makes_no_sense_is_told(name: str, tmp_path: pathlib.Path) -> None:
    text, wanted = BAD[name]

    assert wanted in told(tmp_path, text)


@pytest.mark.parametrize(
    "first",
    [
        "migrate: {guest: g1, to: beta, cancel: {at: active}}",
        "migrate: {guest: g1, to: beta, outcome: failed, error: oh}",
        "migrate: {guest: g1, to: beta, outcome: refused}",
    ],
)
def test_a_guest_that_has_not_moved_can_go_to_the_same_host_again(
    first: str, tmp_path: pathlib.Path
) -> None:
    steps = f"steps:\n  - {first}\n  - migrate: {{guest: g1, to: beta}}\n"

    bound = bind(load_case(write(tmp_path, HEAD + steps)))

    assert [one.step.migrate is not None for one in bound.placed] == [True, True]


def test_a_status_in_brackets_may_be_missing() -> None:
    wanted = parse_states("setup, active, [device], completed")

    assert matches(wanted, ("setup", "active", "device", "completed"))
    assert matches(wanted, ("setup", "active", "completed"))
    assert not matches(wanted, ("setup", "active", "device"))
    assert not matches(wanted, ("setup", "active", "device", "device", "completed"))
    assert not matches(wanted, ("active", "completed"))
