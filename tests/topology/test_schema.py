"""The JSON Schema and the reference page say what the model says."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from harness.topology import Topology, json_schema
from harness.topology.reference import page
from tests.topology.test_properties import mutated, outcome

ROOT = pathlib.Path(__file__).parents[2]


def _accepts(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """As much of JSON Schema as the topology schema uses; an unknown keyword is an error."""
    return all(_keyword(word, said, schema, value, root) for word, said in schema.items())


def _keyword(word: str, said: Any, schema: dict[str, Any], value: object, root: Any) -> bool:
    if word in ("$schema", "$defs", "description", "default", "examples"):
        return True
    if word == "$ref":
        return _accepts(root["$defs"][said.removeprefix("#/$defs/")], value, root)
    if word == "anyOf":
        return any(_accepts(branch, value, root) for branch in said)
    if word == "type":
        kinds = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}
        wanted = [kinds[s] for s in ([said] if isinstance(said, str) else said)]
        return any(isinstance(value, kind) for kind in wanted) and not isinstance(value, bool)
    if word in ("enum", "const"):
        return value in (list(said) if word == "enum" else [said])
    if word == "pattern":
        return not isinstance(value, str) or re.search(said, value) is not None
    if word in ("minimum", "maximum"):
        fits = isinstance(value, int) and (value >= said if word == "minimum" else value <= said)
        return fits or not isinstance(value, int)
    if word in ("minLength", "maxLength"):
        fits = len(str(value)) >= said if word == "minLength" else len(str(value)) <= said
        return fits or not isinstance(value, str)
    if word == "items":
        return not isinstance(value, list) or all(_accepts(said, v, root) for v in value)
    if not isinstance(value, dict):
        assert word in (
            "required",
            "properties",
            "patternProperties",
            "additionalProperties",
            "minProperties",
        )
        return True
    if word == "required":
        return set(said) <= set(value)
    if word == "minProperties":
        return len(value) >= int(said)
    if word == "properties":
        return all(_accepts(s, value[key], root) for key, s in said.items() if key in value)
    if word == "patternProperties":
        return all(
            _accepts(s, part, root)
            for pattern, s in said.items()
            for key, part in value.items()
            if re.search(pattern, key)
        )
    assert word == "additionalProperties", f"the test does not know the keyword {word}"
    assert said is False
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    return all(key in known or any(re.search(p, key) for p in patterns) for key in value)


def accepts(value: Any) -> bool:
    schema: Any = json_schema()
    return _accepts(schema, value, schema)


@pytest.mark.parametrize("name", ["flat-pair", "nested-vfio", "reference"])
def test_the_schema_accepts_the_shipped_topologies(name: str) -> None:
    data = yaml.safe_load((ROOT / "topologies" / f"{name}.yaml").read_text())

    assert accepts(data)


def test_the_schema_accepts_switches_as_a_yaml_1_2_editor_reads_them() -> None:
    # BaseLoader leaves every scalar text, as YAML 1.2 leaves `on`.
    data = yaml.safe_load((ROOT / "topologies" / "flat-pair.yaml").read_text())
    data["guests"]["g1"]["nics"]["net1"]["failover"] = "on"

    assert accepts(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["guest"], {}),
        (["hosts"], {}),
        (["hosts", "Gamma"], {"kind": "netns"}),
        (["hosts", "gamma"], {}),
        (["hosts", "alpha", "kind"], "nets"),
        (["hosts", "alpha", "memory"], "12Q"),
        (["guests", "g1", "cpus"], 17),
        (["guests", "g1", "cpus"], "2"),
        (["guests", "g1", "nics", "net1", "mac"], "52:54:00"),
        (["guests", "g1", "nics", "net1", "address"], "10.0.0.1"),
        (["guests", "g1", "nics", "net1", "failover"], "maybe"),
        (["guests", "g1", "nics", "net1", "brigde"], "br0"),
    ],
)
def test_the_schema_refuses_wrong_shapes(path: list[str], value: object) -> None:
    data = yaml.safe_load((ROOT / "topologies" / "flat-pair.yaml").read_text())
    part = data
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value

    assert not accepts(data)


@settings(max_examples=200, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_the_schema_accepts_what_the_loader_accepts(data: Any) -> None:
    # Through YAML, which makes text of every key.
    if isinstance(outcome(json.dumps(data)), Topology):
        assert accepts(json.loads(json.dumps(data)))


def test_the_schema_is_json_of_its_dialect_and_explains_every_key() -> None:
    schema: Any = json.loads(json.dumps(json_schema()))

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for definition in [schema, *schema["$defs"].values()]:
        for key, said in definition.get("properties", {}).items():
            assert said.get("description"), key


def test_the_committed_reference_page_is_current() -> None:
    committed = (ROOT / "docs" / "topology-reference.md").read_text()

    assert committed == page(), "run: python -m harness.topology.reference"


def test_the_reference_page_names_every_key_of_the_top() -> None:
    assert all(f"| `{key}` |" in page() for key in Topology.model_fields)
