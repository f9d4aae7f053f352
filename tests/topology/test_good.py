"""What a good topology yields: the typed model, ``like``, short forms, the shipped files."""

from __future__ import annotations

import pathlib
import time
from ipaddress import ip_interface
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from harness.document import parse
from harness.errors import ProblemsError
from harness.topology import Topology, load
from harness.topology.load import from_document
from harness.topology.model import Guest, GuestNicModel, HostKind, Impairment
from harness.topology.vfs import parse_vf, vf_indices

ROOT = pathlib.Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "topologies").glob("*.yaml"))
FLAT = (pathlib.Path(__file__).parent / "flat.yaml").read_text()
NESTED = (pathlib.Path(__file__).parent / "nested.yaml").read_text()


def topology(text: str) -> Topology:
    return from_document(parse(text.encode(), pathlib.Path("t.yaml")))


def edited(text: str, old: str, new: str) -> Topology:
    assert old in text
    return topology(text.replace(old, new, 1))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_topology_is_good(path: pathlib.Path) -> None:
    load(path)


def test_one_case_runs_on_both_topologies_because_their_names_are_the_same() -> None:
    flat = load(ROOT / "topologies" / "flat-pair.yaml")
    nested = load(ROOT / "topologies" / "nested-vfio.yaml")

    def names(t: Topology) -> Any:
        return (
            t.networks,
            t.namespaces,
            {h: (list(host.nics), host.bridges) for h, host in t.hosts.items()},
            {g: (guest.host, list(guest.nics)) for g, guest in t.guests.items()},
            t.guests["g1"].nics["net1"],
        )

    assert names(flat) == names(nested)
    assert flat.hosts["alpha"].kind is HostKind.NETNS
    assert flat.guests["g1"].nics["hostdev0"].model is GuestNicModel.E1000E
    assert nested.hosts["beta"].kind is HostKind.VM
    assert nested.hosts["beta"].nics["pf"].vfs == 2
    assert nested.guests["g1"].nics["hostdev0"].vf == "pf"


def _keys(kind: Any) -> set[tuple[str, str]]:
    """Every (part, key) of the model below ``kind``."""
    found: set[tuple[str, str]] = set()
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for key, info in kind.model_fields.items():
            found |= {(kind.__name__, key)} | _keys(info.annotation)
    for argument in get_args(kind):
        found |= _keys(argument)
    return found


def _used(kind: Any, data: Any) -> set[tuple[str, str]]:
    """Every (part, key) that ``data``, written for ``kind``, uses."""
    found: set[tuple[str, str]] = set()
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for key, value in data.items():
            found |= {(kind.__name__, key)}
            found |= _used(kind.model_fields[key].annotation, value)
        return found
    for argument in get_args(kind):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            parts = data.values() if getattr(kind, "__origin__", None) is dict else [data]
            for part in parts:
                found |= _used(argument, part)
    return found


def test_the_reference_topology_uses_every_key() -> None:
    data = yaml.safe_load((ROOT / "topologies" / "reference.yaml").read_text())

    assert sorted(_keys(Topology) - _used(Topology, data)) == []


def test_like_takes_over_what_is_not_given_and_nothing_else() -> None:
    t = edited(NESTED, "beta: {like: alpha}", "beta: {like: alpha, cpus: 4, bridges: {br9: []}}")

    alpha, beta = t.hosts["alpha"], t.hosts["beta"]
    assert (beta.kind, beta.iommu, beta.nics) == (alpha.kind, alpha.iommu, alpha.nics)
    assert (beta.cpus, alpha.cpus) == (4, 2)
    assert list(beta.bridges) == ["br9"]


def test_like_goes_on_to_what_the_other_is_like() -> None:
    t = edited(NESTED, "beta: {like: alpha}", "beta: {like: gamma}\n  gamma: {like: alpha}")

    assert t.hosts["beta"].nics == t.hosts["alpha"].nics


def test_anchors_and_merge_keys_do_the_same_for_any_part() -> None:
    text = FLAT.replace("  alpha:\n    kind", "  alpha: &host\n    kind")
    t = edited(text, "guests:", "  beta:\n    <<: *host\n    bridges: {}\nguests:")

    assert t.hosts["beta"].nics == t.hosts["alpha"].nics
    assert t.hosts["beta"].bridges == {}


def test_an_address_is_one_or_a_list() -> None:
    one = edited(FLAT, "failover: on", "failover: on, address: 10.77.0.2/24")
    many = edited(FLAT, "failover: on", "failover: on, address: [10.77.0.2/24, fd00::2/64]")

    assert one.guests["g1"].nics["net1"].address == (ip_interface("10.77.0.2/24"),)
    assert many.guests["g1"].nics["net1"].address[1] == ip_interface("fd00::2/64")


def test_units_are_read() -> None:
    impair = "{delay: 50us, jitter: 2s, loss: 0.5%, duplicate: 100%, reorder: 0%, rate: 1.5gbit}"
    t = edited(NESTED, "data: {}", f"data: {{impair: {impair}}}")

    assert t.networks["data"].impair == Impairment(
        delay=50e-6, jitter=2.0, loss=0.005, duplicate=1.0, reorder=0.0, rate=1_500_000_000
    )
    assert edited(FLAT, "host: alpha", "host: alpha\n    memory: 1G").guests["g1"].memory == 1 << 30


def test_a_pair_without_a_primary_at_the_start_is_good() -> None:
    line = "      hostdev0: {model: e1000e, bridge: br0, failover_pair_id: net1}\n"

    assert list(edited(FLAT, line, "").guests["g1"].nics) == ["net1"]


def test_a_primary_may_say_its_standbys_mac() -> None:
    t = edited(FLAT, "failover_pair_id", 'mac: "52:54:00:6F:55:CC", failover_pair_id')

    assert t.guests["g1"].nics["hostdev0"].mac == t.guests["g1"].nics["net1"].mac


def test_two_pairs_in_one_guest_are_good() -> None:
    t = edited(
        FLAT,
        "      hostdev0:",
        '      net2: {model: virtio-net-pci, bridge: br0, mac: "52:54:00:6f:55:cd", failover: on}\n'
        "      hostdev1: {model: e1000e, bridge: br0, failover_pair_id: net2}\n"
        "      hostdev0:",
    )

    assert t.guests["g1"].nics["hostdev1"].failover_pair_id == "net2"


def test_the_same_address_in_two_networks_is_no_problem() -> None:
    topology(
        NESTED.replace("data: {}", "data: {}\n  away: {}").replace(
            "hosts:",
            "  other: {nics: {eth0: {network: away, address: 10.77.0.1/24}}}\nhosts:",
        )
    )


def test_the_handoff_can_be_off_with_or_without_quotes() -> None:
    for off in ("off", '"off"'):
        assert topology(f"{FLAT}filter_handoff: {off}\n").filter_handoff.value == "off"


def test_an_ssh_key_is_found_beside_the_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(
        FLAT.replace("hosts:", "hosts:\n  metal: {kind: ssh, ssh: {address: a, key: keys/k}}")
    )

    ssh = load(path).hosts["metal"].ssh

    assert ssh is not None
    assert ssh.key == str(tmp_path / "keys/k")


def test_a_topology_written_as_json_reads_back_the_same() -> None:
    t = load(ROOT / "topologies" / "reference.yaml")

    assert Topology.model_validate_json(t.model_dump_json()) == t


def test_vf_numbers_are_those_given_then_the_lowest_free() -> None:
    t = topology(
        NESTED.replace("vfs: 2", "vfs: 3").replace(
            "guests:\n",
            "guests:\n"
            "  g0: {host: beta, nics: {a: {model: vfio-pci, vf: pf}}}\n"
            "  g9: {host: beta, nics: {a: {model: vfio-pci, vf: pf/0}}}\n",
        )
    )

    assert vf_indices(t) == {
        ("g9", "a"): ("pf", 0),
        ("g0", "a"): ("pf", 1),
        ("g1", "hostdev0"): ("pf", 2),
    }


@pytest.mark.parametrize("text", ["pf/", "/1", "pf/-1", "pf/01", "pf/1/2", "Pf", "pf/99999"])
def test_what_is_no_vf_is_told_from_one(text: str) -> None:
    assert parse_vf(text) is None


def test_parts_are_frozen() -> None:
    guest = Guest(host="alpha")

    with pytest.raises(ValueError, match="frozen"):
        guest.host = "beta"  # type: ignore[misc]


def test_loading_is_quick() -> None:
    start = time.perf_counter()
    load(ROOT / "topologies" / "reference.yaml")

    assert time.perf_counter() - start < 0.3


UNCHECKED = sorted((ROOT / "topologies").glob("refused-*.yaml"))


@pytest.mark.parametrize("path", UNCHECKED, ids=lambda path: path.stem)
def test_what_qemu_refuses_is_said_first_unless_the_guest_is_unchecked(
    path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    assert load(path).guests["g1"].unchecked

    checked = tmp_path / path.name
    checked.write_text(path.read_text(encoding="utf-8").replace("unchecked: on", "unchecked: off"))
    with pytest.raises(ProblemsError):
        load(checked)
