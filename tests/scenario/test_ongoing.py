"""What is wrong with a migration that did not end, or not fail, as its step says."""

from __future__ import annotations

from harness.case import Migrate
from harness.scenario.ongoing import must_say, not_as_refused
from harness.vm.session import QmpRefused

TOLD = QmpRefused("g1 on alpha", "migrate", "GenericError", "VFIO migration is not supported")


def terms(**given: object) -> Migrate:
    return Migrate.model_validate({"guest": "g1", "to": "beta", **given})


def test_a_refusal_that_was_wanted_is_none() -> None:
    assert not_as_refused(TOLD, terms(outcome="refused")) is None
    assert not_as_refused(TOLD, terms(outcome="refused", error="not supported")) is None


def test_a_refusal_for_another_reason_or_where_none_was_wanted_is_told() -> None:
    other = not_as_refused(TOLD, terms(outcome="refused", error="Cannot assign"))
    unwanted = not_as_refused(TOLD, terms())

    assert str(other).endswith("(GenericError); wanted: refused: Cannot assign")
    assert str(unwanted).endswith("(GenericError); wanted: completed")


def test_the_words_of_a_failure_may_come_from_either_side() -> None:
    words = ("Unable to write to socket", "load of migration failed: Invalid argument")

    assert must_say("g1", "load of migration failed", words) is None
    wrong = must_say("g1", "Unknown ramblock", words)
    assert wrong is not None
    assert "neither side says 'Unknown ramblock'" in wrong.message
    assert wrong.evidence == words
