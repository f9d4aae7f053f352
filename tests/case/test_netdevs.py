"""What a case may say of a pair's netdevs, and how it is refused."""

from __future__ import annotations

import pathlib
from ipaddress import ip_interface

import pytest

from harness.case import bind, case_schema, check_case, load_case
from harness.case.netdevs import PairShape
from harness.errors import ProblemsError
from tests.case.files import HEAD, STEPS, write

SHIPPED = pathlib.Path(__file__).parents[2] / "testcases" / "no-addresses-on-slaves.yaml"


def shape(folder: pathlib.Path, text: str) -> PairShape:
    expect = f"expect: {{netdevs: {{end: {{g1: {{net1: {text}}}}}}}}}\n"
    return bind(load_case(write(folder, HEAD + STEPS + expect))).expect.netdevs.end["g1"]["net1"]


def test_none_is_no_address_and_any_is_not_judged(tmp_path: pathlib.Path) -> None:
    found = shape(tmp_path, "{addresses: {failover: any, standby: none, primary: [10.0.0.1/8]}}")

    assert found.roles() == {}
    assert found.carried() == {"standby": (), "primary": (ip_interface("10.0.0.1/8"),)}


def test_a_shape_without_addresses_judges_none(tmp_path: pathlib.Path) -> None:
    assert shape(tmp_path, "{primary: absent}").carried() == {}


LIST = "a list of all of them with their prefix lengths, as in [10.77.0.2/24]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{addresses: {standby: nothing}}", LIST),
        ("{addresses: {standby: null}}", LIST),
        ("{addresses: {standby: []}}", LIST),
        ("{addresses: {standby: [10.0.0.1]}}", LIST),
        ("{addresses: {standby: [10.0.0.1/8, 10.0.0.300/8]}}", LIST),
        ("{addresses: {failover: any}}", "says nothing: give `none` or a list to failover"),
        ("{addresses: {}}", "says nothing: give `none` or a list to failover"),
        ("{}", "says nothing: give failover, standby, primary or addresses"),
        ("{addresses: {standbye: none}}", "(did you mean 'standby'?)"),
    ],
)
def test_a_wrong_statement_about_addresses_is_told_with_its_place(
    tmp_path: pathlib.Path, text: str, message: str
) -> None:
    expect = f"expect: {{netdevs: {{end: {{g1: {{net1: {text}}}}}}}}}\n"

    with pytest.raises(ProblemsError) as caught:
        check_case(write(tmp_path, HEAD + STEPS + expect))

    (problem,) = caught.value.problems
    assert message in str(problem)
    assert problem.line == 6
    assert problem.path.startswith("expect.netdevs.end.g1.net1")


def test_the_shipped_case_judges_the_slaves_at_all_three_moments() -> None:
    expect = bind(load_case(SHIPPED)).expect

    for _, shapes in expect.netdevs.moments():
        assert shapes["g1"]["net1"].carried() == {"standby": (), "primary": ()}


def test_the_schema_tells_an_editor_what_addresses_may_be() -> None:
    said = case_schema()["$defs"]["PairAddresses"]["properties"]["standby"]

    assert {"enum": ["none", "any"]} in said["anyOf"]
