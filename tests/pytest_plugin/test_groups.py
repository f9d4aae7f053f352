"""The groups of the catalogue are pytest's markers."""

from harness.case.catalogue import GROUPS
from harness.pytest_plugin import _GROUPS


def test_every_group_of_the_catalogue_is_a_marker() -> None:
    assert tuple(GROUPS) == _GROUPS
