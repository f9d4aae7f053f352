"""What a QEMU says it knows is read from its schema, whose types have no names to go by."""

from __future__ import annotations

from typing import Any

import pytest

from harness.versions import QemuWords, words_of_schema


def schema(**enumeration: Any) -> list[dict[str, Any]]:
    """As QEMU writes it, but for the size: numbers for types, and others around them."""
    return [
        {"name": "quit", "meta-type": "command", "arg-type": "0", "ret-type": "0"},
        {"name": "query-migrate", "meta-type": "command", "arg-type": "0", "ret-type": "146"},
        {"name": "migrate-set-capabilities", "meta-type": "command", "arg-type": "147"},
        {"name": "MIGRATION", "meta-type": "event", "arg-type": "200"},
        {"name": "UNPLUG_PRIMARY", "meta-type": "event", "arg-type": "201"},
        {"name": "RTC_CHANGE", "meta-type": "event", "arg-type": "202"},
        {
            "name": "146",
            "meta-type": "object",
            "members": [
                {"name": "ram", "type": "431", "default": None},
                {"name": "status", "type": "432", "default": None},
            ],
        },
        {"name": "432", "meta-type": "enum", **enumeration},
        {
            "name": "147",
            "meta-type": "object",
            "members": [{"name": "capabilities", "type": "[148]"}],
        },
        {"name": "[148]", "meta-type": "array", "element-type": "148"},
        {
            "name": "148",
            "meta-type": "object",
            "members": [{"name": "capability", "type": "436"}, {"name": "state", "type": "bool"}],
        },
        {"name": "migrate-set-parameters", "meta-type": "command", "arg-type": "150"},
        {
            "name": "150",
            "meta-type": "object",
            "members": [{"name": "max-bandwidth", "type": "int"}, {"name": "multifd-channels"}],
        },
        {"name": "436", "meta-type": "enum", "values": ["xbzrle", "events"]},
    ]


@pytest.mark.parametrize(
    "enumeration",
    [
        {"values": ["none", "setup"]},  # before 6.2
        {"members": [{"name": "none"}, {"name": "setup"}], "values": ["none", "setup"]},
        {"members": [{"name": "none"}, {"name": "setup", "features": ["unstable"]}]},
    ],
)
def test_the_words_are_found_through_the_commands_that_use_them(
    enumeration: dict[str, Any],
) -> None:
    assert words_of_schema(schema(**enumeration)) == QemuWords(
        statuses=("none", "setup"),
        capabilities=("xbzrle", "events"),
        parameters=("max-bandwidth", "multifd-channels"),
        events=("MIGRATION", "UNPLUG_PRIMARY"),
    )


@pytest.mark.parametrize("answer", [{}, [], None, "?", [{"meta-type": "enum"}, 5]])
def test_an_answer_that_is_no_schema_tells_nothing(answer: object) -> None:
    assert words_of_schema(answer) == QemuWords()


def test_a_schema_without_the_command_tells_the_rest() -> None:
    rest = [one for one in schema(values=["none"]) if one["name"] != "query-migrate"]

    found = words_of_schema(rest)

    assert (found.statuses, found.capabilities) == ((), ("xbzrle", "events"))
