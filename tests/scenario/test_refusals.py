"""A step that QEMU has to refuse: with those words, and only then."""

from __future__ import annotations

import pytest

from harness.errors import LabError
from harness.scenario import StepFailed
from harness.scenario.devices import may_refuse
from harness.vm.session import QmpRefused


def refusing() -> object:
    raise QmpRefused("g1 on alpha", "device_add", "GenericError", "slot 0 is in use by net1")


def test_a_refusal_with_the_wanted_words_is_the_steps_success() -> None:
    told: dict[str, object] = {}

    assert may_refuse(refusing, "in use by net1", told) is False
    assert told == {"refused": "slot 0 is in use by net1"}


def test_a_refusal_for_another_reason_fails_and_says_both() -> None:
    with pytest.raises(StepFailed, match=r"in use by net1.*wanted .*'Duplicate device ID'"):
        may_refuse(refusing, "Duplicate device ID", {})


def test_a_refusal_that_nobody_wanted_fails() -> None:
    with pytest.raises(StepFailed, match="QEMU refused device_add: slot 0 is in use"):
        may_refuse(refusing, None, {})


def test_what_ought_to_be_refused_and_is_done_fails() -> None:
    with pytest.raises(StepFailed, match="ought to refuse with 'in use'"):
        may_refuse(dict, "in use", {})


def test_what_is_done_and_may_be_is_told() -> None:
    assert may_refuse(dict, None, {}) is True


def test_a_lab_that_breaks_is_not_taken_for_a_refusal() -> None:
    def broken() -> object:
        raise LabError("QEMU ended")

    with pytest.raises(LabError, match="QEMU ended"):
        may_refuse(broken, "ended", {})
