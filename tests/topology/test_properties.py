"""Whatever is done to a good topology: a topology comes out, or problems; never a traceback."""

from __future__ import annotations

import copy
import json
import pathlib
import time
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.document import parse
from harness.errors import ProblemsError
from harness.topology import Topology, check
from harness.topology.load import from_document

HERE = pathlib.Path(__file__).parent
TEXTS = [
    (HERE / "nested.yaml").read_text(),
    (HERE / "flat.yaml").read_text(),
    (HERE.parents[1] / "topologies" / "reference.yaml").read_text(),
]
DATA = [yaml.safe_load(text) for text in TEXTS]
T = pathlib.Path("t.yaml")


def outcome(text: str) -> Topology | ProblemsError:
    try:
        return from_document(parse(text.encode("utf-8", "surrogatepass"), T))
    except ProblemsError as error:
        return error


def must_be_sound(result: Topology | ProblemsError) -> None:
    """Neither silence nor noise: problems have places and say something, each once."""
    if isinstance(result, Topology):
        assert check(result) == ()
        return
    said = [str(problem) for problem in result.problems]
    assert said
    assert len(set(said)) == len(said)
    for problem in result.problems:
        assert problem.line > 0 or not problem.path
        assert problem.message
        assert "found ," not in problem.message
        assert not problem.message.endswith("wanted ")


def paths(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every part of ``data``."""
    found = [path] if path else []
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, part in items:
        found += paths(part, (*path, key)) if isinstance(part, dict | list) else [(*path, key)]
    return found


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 70_000),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["alpha", "beta", "g1", "g2", "net1", "hostdev0", "br0", "pf", "pf/1", "mg", "data", "mgmt",
         "igb", "veth", "vfio-pci", "e1000e", "virtio-net-pci", "rtl8139", "netns", "vm", "ssh",
         "10.77.0.1/24", "fd00::1/64", "0.0.0.0/0", "10.78.0.0/31", "::/0", "52:54:00:6f:55:cc",
         "256M", "1%", "10ms", "1gbit", "rp1", "q35", "pc", "on", "off", "auto"]
    ),
    st.just([]),
    st.just({}),
    st.lists(st.sampled_from(["pf", "mg", "10.77.0.1/24", 3]), max_size=3),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A good topology in which some parts were replaced, removed, renamed or copied."""
    data = copy.deepcopy(draw(st.sampled_from(DATA)))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(paths(data) or [("hosts",)]))
        part: Any = data
        for key in path[:-1]:
            part = part[key]
        last = path[-1]
        what = draw(st.sampled_from(["replace", "remove", "rename", "copy"]))
        if what == "remove" and last in (part if isinstance(part, dict) else range(len(part))):
            del part[last]
        elif what == "rename" and isinstance(part, dict) and last in part:
            part[draw(st.sampled_from([f"{last}x", "like", "beta", "g2", "vf"]))] = part.pop(last)
        elif what == "copy" and isinstance(part, dict) and last in part:
            part[draw(st.sampled_from(["beta", "g2", "net2", "br1"]))] = copy.deepcopy(part[last])
        elif isinstance(part, dict) or last < len(part):
            part[last] = draw(VALUES)
    return data


@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_a_topology_with_changed_parts_is_a_topology_or_problems(data: Any) -> None:
    must_be_sound(outcome(json.dumps(data)))


@settings(max_examples=200, deadline=2000)
@given(
    st.sampled_from(TEXTS),
    st.floats(0, 1),
    st.integers(0, 30),
    st.sampled_from(["", ":", " ", "\n", "-", "{", "}", "*a", "&a ", "<<: ", '"', "é", "like: "]),
)
def test_a_topology_with_changed_text_is_a_topology_or_problems(
    text: str, where: float, length: int, new: str
) -> None:
    start = int(where * len(text))

    must_be_sound(outcome(text[:start] + new + text[start + length :]))


def test_like_cannot_be_used_to_grow_a_file_past_the_limits() -> None:
    nics = ", ".join(f"n{n}: {{model: veth, network: data}}" for n in range(1000))
    hosts = "\n".join(f"  h{n}: {{like: h0}}" for n in range(1, 1000))
    start = time.perf_counter()

    result = outcome(f"hosts:\n  h0: {{kind: netns, nics: {{{nics}}}}}\n{hosts}\nguests: {{}}\n")

    assert isinstance(result, ProblemsError)
    assert "with every 'like' carried out there are over 50,000 values" in str(result)
    assert time.perf_counter() - start < 5


def test_a_long_chain_of_like_is_a_problem() -> None:
    hosts = "\n".join(f"  h{n}: {{like: h{n + 1}}}" for n in range(3000))

    result = outcome(f"hosts:\n{hosts}\n  h3000: {{kind: netns}}\nguests: {{}}\n")

    assert isinstance(result, ProblemsError)
    assert "more than 20 of 'like' in a row" in str(result)


@pytest.mark.parametrize(
    "text",
    [
        "hosts: {a: {like: a}}\nguests: {b: {like: a}}",
        "hosts: {a: 1, b: {like: a}}\nguests: 5",
        "hosts: [1, 2]\nguests: {g: {host: a, nics: {n: {model: vfio-pci, vf: pf}}}}",
        "hosts: {a: {kind: vm, nics: {pf: {model: igb, vfs: 1}}}}\nguests: {g: {like: }}",
        "hosts: {? a : {kind: netns}, a: {kind: netns}}\nguests:",
        "networks: {n: {subnet: '::/0', management: on}}\nhosts: {}\nguests: {}",
    ],
)
def test_oddities_are_problems(text: str) -> None:
    result = outcome(text)

    assert isinstance(result, ProblemsError)
    must_be_sound(result)
