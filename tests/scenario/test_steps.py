"""Every verb that a case may write can be carried out."""

from typing import get_args, get_type_hints

from harness.case import Step
from harness.scenario import Verbs


def test_every_verb_of_the_vocabulary_has_somebody_who_carries_it_out() -> None:
    hints = get_type_hints(Step)
    wanted = {get_args(hints[verb])[0] for verb in Step.model_fields}

    assert wanted == set(Verbs.carriers)
