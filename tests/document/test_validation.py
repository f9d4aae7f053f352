"""All that is wrong with a document is said at once, in plain words, at its place."""

from __future__ import annotations

import pathlib
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from harness.document import Document, nearest, one_of, parse, suggestion, survey, validate
from harness.errors import ProblemsError


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Wheel(Strict):
    size: int = Field(ge=1, le=9, description="in inches")
    colour: Colour = Colour.RED


class Walk(Strict):
    verb: Literal["walk"]
    far: int


class Run(Strict):
    verb: Literal["run"]
    fast: bool = False


class Thing(Strict):
    wheel: Wheel | None = None
    wheels: dict[str, Wheel] = {}
    names: tuple[str, ...] = Field((), max_length=2)
    short: str = Field("", max_length=3, pattern="^[a-z]*$")
    ratio: float = 0.0
    limit: int | Literal["none", "auto"] = 1
    step: Annotated[Walk | Run, Field(discriminator="verb")] | None = None
    part: Wheel | list[str] = []
    address: IPv4Address | None = None
    even: int = 0
    low: int = 0
    high: int = 9

    @field_validator("even")
    @classmethod
    def _even(cls, value: int, info: ValidationInfo) -> int:
        if value % 2 and info.context is not None:
            raise ValueError("this must be an even number")
        return value

    @model_validator(mode="after")
    def _order(self) -> Thing:
        if self.low > self.high:
            raise ValueError("'low' is above 'high'")
        return self


def document(text: str) -> Document:
    return parse(text.encode(), pathlib.Path("t.yaml"))


def problems(text: str) -> list[str]:
    with pytest.raises(ProblemsError) as caught:
        validate(document(text), Thing)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("whel: {size: 1}", "t.yaml:1:1 whel: unknown key (did you mean 'wheel'?)"),
        ("wheel: {size: 1, q: 2}", "t.yaml:1:18 wheel.q: unknown key (known: size, colour)"),
        ("wheels: {a: {size: 1, colr: 2}}",
         "t.yaml:1:23 wheels.a.colr: unknown key (did you mean 'colour'?)"),
        ("wheel: {}", "t.yaml:1:1 wheel: the key 'size' is missing (in inches)"),
        ("wheel: {siez: 2}", "t.yaml:1:9 wheel.siez: unknown key (did you mean 'size'?)"),
        ("wheel: {size: 10}", "t.yaml:1:15 wheel.size: found 10, wanted at most 9"),
        ("wheel: {size: 0}", "t.yaml:1:15 wheel.size: found 0, wanted at least 1"),
        ("wheel: {size: 1.5}", "t.yaml:1:15 wheel.size: found 1.5, wanted a whole number"),
        ("wheel: {size: big}", "t.yaml:1:15 wheel.size: found 'big', wanted a whole number"),
        ("wheel: {size: }", "t.yaml:1:15 wheel.size: found nothing, wanted a whole number"),
        ("wheel: {size: {}}",
         "t.yaml:1:9 wheel.size: found an empty mapping, wanted a whole number"),
        ("wheel: {size: 1, colour: gren}", "t.yaml:1:26 wheel.colour: found 'gren', wanted 'red'"
         " or 'green' (did you mean 'green'?)"),
        ("wheel: 5", "t.yaml:1:8 wheel: found 5, wanted a mapping: `key: value` lines"),
        ("wheels: [a]", "t.yaml:1:1 wheels: found a list, wanted a mapping: `key: value` lines"),
        ("names: a", "t.yaml:1:8 names: found 'a', wanted a list"),
        ("names: [a, on]", "t.yaml:1:12 names[1]: found on (in YAML: true), wanted text"
         ' (put it in quotes: "on")'),
        ("names: [1:30]", "t.yaml:1:9 names[0]: found 1:30 (in YAML: the number 90), wanted text"
         ' (put it in quotes: "1:30")'),
        ("names: [a, b, c]", "t.yaml:1:1 names: found a list, wanted at most 2 entries"),
        ("short: abcd", "t.yaml:1:8 short: found 'abcd', wanted at most 3 characters"),
        ("short: A1", "t.yaml:1:8 short: found 'A1', wanted text of the form ^[a-z]*$"),
        ("ratio: much", "t.yaml:1:8 ratio: found 'much', wanted a number"),
        ("limit: nome", "t.yaml:1:8 limit: found 'nome', wanted a whole number or 'none' or 'auto'"
         " (did you mean 'none'?)"),
        ("step: {verb: wlak}",
         "t.yaml:1:14 step.verb: found 'wlak', wanted 'walk' or 'run' (did you mean 'walk'?)"),
        ("step: {far: 1}", "t.yaml:1:1 step: the key 'verb' is missing (verb: 'walk' or 'run')"),
        ("step: {verb: walk, fart: 1}", "t.yaml:1:20 step.fart: unknown key (did you mean 'far'?)"),
        ("step: {verb: run, far: 1}", "t.yaml:1:19 step.far: unknown key (known: verb, fast)"),
        ("step: {verb: run, fast: soon}",
         "t.yaml:1:25 step.fast: found 'soon', wanted on or off"),
        ("part: {size: x}", "t.yaml:1:14 part.size: found 'x', wanted a whole number"),
        ("part: [1]", 't.yaml:1:8 part[0]: found 1, wanted text (put it in quotes: "1")'),
        ("part: x", "t.yaml:1:7 part: found 'x', wanted a mapping: `key: value` lines or a list"),
        ("even: 3", "t.yaml:1:7 even: found 3; this must be an even number"),
        ("low: 5\nhigh: 3", "t.yaml:1:1: 'low' is above 'high'"),
        ("short: '\\x1b\\n'", "t.yaml:1:8 short: found '\\x1b\\n', wanted at most 3 characters"),
    ],
)  # fmt: skip
def test_a_fault_is_said_in_plain_words(text: str, said: str) -> None:
    assert problems(text) == [said]


def test_no_problem_names_pydantic_or_a_url() -> None:
    said = "\n".join(problems("address: x\nwheel: 3\nstep: 4\nlimit: {}\nratio: []\nlow: x"))

    assert said.count("\n") == 5
    for jargon in ("pydantic", "http", "type=", "Input should", "model"):
        assert jargon not in said


def test_all_problems_are_found_in_one_go_with_those_of_the_reading() -> None:
    text = "wheel: {size: 0, size: 1}\neven: 3\nnmaes: []\n"

    assert problems(text) == [
        "t.yaml:1:15 wheel.size: found 0, wanted at least 1",
        "t.yaml:1:18 wheel.size: this key was already given in line 1 (keep one of them)",
        "t.yaml:2:7 even: found 3; this must be an even number",
        "t.yaml:3:1 nmaes: unknown key (did you mean 'names'?)",
    ]


def test_a_key_given_twice_is_an_error_even_if_the_rest_is_good() -> None:
    assert problems("low: 1\nlow: 1") == [
        "t.yaml:2:1 low: this key was already given in line 1 (keep one of them)"
    ]


def test_a_survey_keeps_what_is_good_and_says_what_it_left_out() -> None:
    result = survey(document("wheels: {a: {size: 1}, b: {size: x}, c: {}}\nlow: x\n"), Thing)

    assert result.model is not None
    assert list(result.model.wheels) == ["a"]
    assert len(result.problems) == 3
    assert result.damaged == {("wheels", "b", "size"), ("wheels", "b"), ("wheels", "c"), ("low",)}


def test_a_survey_says_nothing_of_keys_missing_in_a_part_known_to_be_incomplete() -> None:
    result = survey(document("wheels: {c: {}}"), Thing, incomplete=[("wheels", "c")])

    assert result.problems == ()
    assert ("wheels", "c") in result.damaged


def test_a_good_document_gives_the_model() -> None:
    thing = validate(document("wheel: {size: 3}\nlimit: auto\npart: [a]"), Thing)

    assert thing == Thing(wheel=Wheel(size=3), limit="auto", part=["a"])


def test_validators_can_tell_a_file_from_python() -> None:
    assert Thing(even=3).even == 3


@pytest.mark.parametrize(
    ("name", "names", "found"),
    [
        ("br1", ["br0"], "br0"),
        ("rp3", ["rp2", "rp1"], "rp2"),
        ("ALPHA", ["beta", "alpha"], "alpha"),
        ("x", ["br0"], None),
        ("x", [], None),
    ],
)
def test_the_nearest_name_is_the_first_of_the_likest(
    name: str, names: list[str], found: str | None
) -> None:
    assert nearest(name, names) == found


def test_a_hint_names_the_nearest_else_all_else_the_default() -> None:
    assert suggestion("br1", ["br0"]) == "did you mean 'br0'?"
    assert suggestion("x", ["a", "b"]) == "known: a, b"
    assert suggestion("x", [], none="none") == "none"
    assert suggestion("x", [f"long{n}" for n in range(99)]) == ""


def test_alternatives_read_as_a_sentence() -> None:
    assert [one_of(names) for names in ("", "a", "ab", "abc")] == [
        "", "'a'", "'a' or 'b'", "'a', 'b' or 'c'",
    ]  # fmt: skip
