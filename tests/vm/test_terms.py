"""Each migration of a QEMU has the terms that it was given, whatever an earlier one had."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness.errors import VmError
from harness.versions import QemuWords
from harness.vm.terms import Terms


class Told:
    """What a QEMU was told, and its parameters."""

    def __init__(self, **parameters: object) -> None:
        self.capabilities: dict[str, object] = {}
        self.parameters = dict(parameters)
        self.commands: list[str] = []

    def execute(self, command: str, args: Mapping[str, object] | None) -> object:
        self.commands.append(command)
        if command == "query-migrate-parameters":
            return dict(self.parameters)
        if command == "migrate-set-parameters":
            self.parameters |= args or {}
        if command == "migrate-set-capabilities":
            given = (args or {})["capabilities"]
            assert isinstance(given, list)
            self.capabilities |= {one["capability"]: one["state"] for one in given}
        return {}


WORDS = QemuWords()


def test_events_are_always_asked_for() -> None:
    qemu = Told()
    Terms("g1").give(qemu.execute, WORDS, {}, {})

    assert qemu.capabilities == {"events": True}
    assert qemu.commands == ["migrate-set-capabilities"]


def test_a_capability_of_an_earlier_migration_is_taken_back() -> None:
    qemu, terms = Told(), Terms("g1")
    terms.give(qemu.execute, WORDS, {"pause-before-switchover": True}, {})
    terms.give(qemu.execute, WORDS, {"multifd": True}, {})

    assert qemu.capabilities == {
        "events": True,
        "pause-before-switchover": False,
        "multifd": True,
    }


def test_a_parameter_of_an_earlier_migration_is_put_back() -> None:
    qemu, terms = Told(**{"max-bandwidth": 134217728, "downtime-limit": 300}), Terms("g1")
    terms.give(qemu.execute, WORDS, {}, {"max-bandwidth": 8000000})
    assert qemu.parameters["max-bandwidth"] == 8000000

    terms.give(qemu.execute, WORDS, {}, {"downtime-limit": 100})

    assert qemu.parameters == {"max-bandwidth": 134217728, "downtime-limit": 100}


@pytest.mark.parametrize(
    ("capabilities", "parameters", "message"),
    [
        ({"mapped-ram": True}, {}, "g1: this QEMU has no migration capability 'mapped-ram'"),
        ({}, {"bandwidth": 1}, "g1: this QEMU has no migration parameter 'bandwidth'"),
    ],
)
def test_what_this_qemu_does_not_know_is_told_before_it_is_asked(
    capabilities: dict[str, bool], parameters: dict[str, int], message: str
) -> None:
    qemu = Told()
    words = QemuWords(capabilities=("events", "multifd"), parameters=("max-bandwidth",))

    with pytest.raises(VmError) as caught:
        Terms("g1").give(qemu.execute, words, capabilities, parameters)

    assert caught.value.message == message
    assert qemu.commands == []
