"""What a case says of itself for the catalogue, and what the shipped ones say."""

from __future__ import annotations

import pathlib

import pytest

from harness.case import bind, check_case, load_case
from harness.case.catalogue import GROUPS
from harness.errors import ProblemsError
from tests.case.files import HEAD, write

CASES = sorted((pathlib.Path(__file__).parents[2] / "testcases").rglob("*.yaml"))


def test_a_case_names_its_group_its_sources_and_its_negative_control(
    tmp_path: pathlib.Path,
) -> None:
    about = """\
group: hotplug
source: [{document: qemu, says: Both can be hotplugged, known: [A14]}]
negative_control: without the plug there is none
"""

    bound = bind(load_case(write(tmp_path, HEAD + about)))

    assert bound.about.group == "hotplug"
    assert bound.about.source[0].known == ("A14",)
    assert bound.about.negative_control == "without the plug there is none"


def test_a_group_that_there_is_not_is_told(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ProblemsError, match="did you mean 'hotplug'"):
        check_case(write(tmp_path, HEAD + "group: hotplugs\n"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case_of_the_catalogue_says_where_it_comes_from_and_what_would_make_it_fail(
    path: pathlib.Path,
) -> None:
    for bound in check_case(path):
        if bound.about.group is not None:
            assert bound.about.group in GROUPS
            assert bound.about.source
            assert bound.about.negative_control
