"""Good cases come in typed; bad ones name every problem with its place."""

from __future__ import annotations

import json
import pathlib

import pytest

from harness.case import Bound, TimeBound, bind, case_schema, check_case, load_case, parse_settings
from harness.errors import InputError, ProblemsError
from harness.observe import LAB
from tests.case.files import HEAD, STEPS, TRAFFIC, write

FIRST = pathlib.Path(__file__).parents[2] / "testcases" / "migrate-under-traffic.yaml"


def problems(folder: pathlib.Path, text: str) -> str:
    """What is wrong with a case, the folder's name taken out."""
    with pytest.raises(ProblemsError) as caught:
        check_case(write(folder, text))
    return str(caught.value).replace(f"{folder}/", "")


def test_a_bound_case_has_what_the_file_says(tmp_path: pathlib.Path) -> None:
    path = write(
        tmp_path,
        HEAD
        + TRAFFIC
        + STEPS
        + """\
expect:
  order:
    - source STOP, destination RESUME
    - [source active, guest primary enslaved]
  streams: {inbound: {lost: "<= 0.5%", duplicates: 0}}
""",
    )

    bound = bind(load_case(path))

    assert bound.variant == "lab"
    assert [step.verb for step in bound.steps] == ["migrate", "wait"]
    assert bound.traffic["inbound"].flow.rate == 1000.0
    assert bound.traffic["echo"].waiting_time == 2.0
    assert bound.expect.streams["inbound"].lost == Bound("<=", 0.005, True)
    assert [str(event) for event in bound.expect.order[1]] == [
        "source active",
        "guest primary enslaved",
    ]
    assert bound.place(("expect", "streams", "inbound", "lost")) == f"{path}:13"


def test_an_order_names_what_happens_on_hosts_and_on_the_networks_bridges(
    tmp_path: pathlib.Path,
) -> None:
    order = "expect: {order: [[source STOP, host %s fdb-moved, host beta fdb-moved br0]]}\n"

    bound = bind(load_case(write(tmp_path, HEAD + STEPS + order % LAB)))

    assert [event.host for event in bound.expect.order[0]] == ["", "lab", "beta"]
    assert "'lap' is not a host of lab.yaml (did you mean 'lab'?)" in problems(
        tmp_path, HEAD + STEPS + order % "lap"
    )


def test_a_guest_cannot_migrate_to_the_lab_itself(tmp_path: pathlib.Path) -> None:
    assert "'lab' is not a host of lab.yaml" in problems(
        tmp_path, HEAD + STEPS.replace("to: beta", "to: lab")
    )


def test_each_topology_gets_its_own_parameters(tmp_path: pathlib.Path) -> None:
    path = write(
        tmp_path,
        """\
        case: a claim
        topologies: {one: lab.yaml, two: ./lab.yaml}
        parameters:
          driver: {one: e1000e, two: igbvf}
          rate: 500/s
        traffic: {in: {from: client, to: g1, udp: {rate: "${rate}", size: 128}}}
        expect: {netdevs: {end: {g1: {net1: {primary: "${driver}"}}}}}
    """,
    )
    case = load_case(path)

    drivers = {
        variant: bind(case, variant).expect.netdevs.end["g1"]["net1"].primary
        for variant in case.variants
    }

    assert drivers == {"one": "e1000e", "two": "igbvf"}
    changed = bind(case, "one", settings=parse_settings(["rate=7/s"]))
    assert changed.traffic["in"].flow.rate == 7.0


def test_a_whole_parameter_keeps_its_type_and_a_part_of_a_text_is_written_out(
    tmp_path: pathlib.Path,
) -> None:
    path = write(
        tmp_path,
        HEAD
        + """\
parameters: {size: 256, host: beta}
traffic: {in: {from: client, to: g1, udp: {rate: "${size}/s", size: "${size}"}}}
steps: [{exec: {machine: alpha, command: "echo $${HOME} ${host}"}}]
""",
    )

    bound = bind(load_case(path))

    assert bound.traffic["in"].flow.size == 256
    assert bound.traffic["in"].flow.rate == 256.0
    assert bound.steps[0].exec is not None
    assert bound.steps[0].exec.command == "echo ${HOME} beta"


def test_the_shipped_case_is_good_on_every_topology() -> None:
    assert [bound.variant for bound in check_case(FIRST)] == ["flat", "nested"]


def test_another_topology_can_be_given(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, HEAD + TRAFFIC)
    other = tmp_path / "other.yaml"
    other.write_text((tmp_path / "lab.yaml").read_text())

    assert bind(load_case(path), topology_path=other).topology_path == other


def test_a_case_with_several_topologies_needs_a_choice(tmp_path: pathlib.Path) -> None:
    case = load_case(write(tmp_path, "case: x\ntopologies: {one: lab.yaml, two: lab.yaml}\n"))

    with pytest.raises(InputError, match="say which one"):
        bind(case)
    with pytest.raises(InputError, match="'tow' is not a topology of this case"):
        bind(case, "tow")


def test_the_schema_is_json_and_names_the_aliases() -> None:
    text = json.dumps(case_schema())

    assert '"icmp-echo"' in text
    assert '"from"' in text
    assert '"for"' in text


def test_a_setting_without_a_value_is_refused() -> None:
    with pytest.raises(InputError, match="wanted NAME=VALUE"):
        parse_settings(["rate"])
    with pytest.raises(InputError, match="one text or number"):
        parse_settings(["rate=[1, 2]"])


BAD = {
    "no claim": (
        "topology: lab.yaml\n",
        ["case.yaml:1:1: the key 'case' is missing"],
    ),
    "no topology": (
        "case: x\n",
        ["give either `topology: FILE` or `topologies: {NAME: FILE}`"],
    ),
    "an unknown key": (
        HEAD + "trafic: {}\n",
        ["case.yaml:3:1 trafic: ", "did you mean 'traffic'?"],
    ),
    "an unknown verb": (
        HEAD + "steps: [{migrat: {guest: g1, to: beta}}]\n",
        ["case.yaml:3:10 steps[0].migrat: ", "did you mean 'migrate'?"],
    ),
    "two verbs in one step": (
        HEAD + "steps: [{pause: 1s, migrate: {guest: g1, to: beta}}]\n",
        [
            "a step has exactly one verb (migrate, wait, pause, exec, ",
            "), found the verbs migrate and pause",
        ],
    ),
    "an unknown guest, host and endpoint": (
        HEAD + "traffic: {in: {from: clint, to: g1, udp: {rate: 1/s, size: 64}}}\n"
        "steps:\n  - migrate: {guest: g2, to: bta}\n",
        [
            "case.yaml:3:22 traffic.in.from: 'clint' is not a guest or namespace of lab.yaml "
            "(did you mean 'client'?)",
            "case.yaml:5:22 steps[0].migrate.guest: 'g2' is not a guest of lab.yaml (known: g1)",
            "case.yaml:5:30 steps[0].migrate.to: 'bta' is not a host of lab.yaml "
            "(did you mean 'beta'?)",
        ],
    ),
    "an endpoint without an address": (
        HEAD + "traffic: {in: {from: silent, to: g1, udp: {rate: 1/s, size: 64}}}\n",
        ["'silent' has no address in lab.yaml (give one of its NICs an `address`)"],
    ),
    "a stream to itself": (
        HEAD + "traffic: {in: {from: g1, to: g1, udp: {rate: 1/s, size: 64}}}\n",
        ["case.yaml:3:30 traffic.in.to: 'g1' is the sender too"],
    ),
    "a rate without a unit": (
        HEAD + "traffic: {in: {from: client, to: g1, udp: {rate: 1000, size: 64}}}\n",
        ["traffic.in.udp.rate: ", "a packet rate is a number a second: 1000/s"],
    ),
    "a duration without a unit": (
        HEAD + "steps: [{pause: 2}]\n",
        ["steps[0].pause: ", "a duration is a number with a unit: 50us, 10ms, 2s, 1min"],
    ),
    "traffic that ends before its waiting time": (
        HEAD + "traffic: {in: {from: client, to: g1, waiting_time: 3s, "
        "udp: {rate: 1/s, size: 64}}}\n",
        ["goes on for 2s after the last step, less than its waiting_time of 3s"],
    ),
    "a destination that is the source": (
        HEAD + "steps: [{migrate: {guest: g1, to: beta}}, {migrate: {guest: g1, to: beta}}]\n",
        [
            "steps[1].migrate.to: guest 'g1' is on 'beta' already when this step comes "
            "(other hosts: alpha)"
        ],
    ),
    "a standby that is none": (
        HEAD + STEPS + "expect: {netdevs: {end: {g1: {hostdev0: {primary: absent}}}}}\n",
        [
            "case.yaml:6:31 expect.netdevs.end.g1.hostdev0: 'hostdev0' is a NIC of guest 'g1', but "
            "not a standby (failover: on) (known: net1)"
        ],
    ),
    "a bound on a stream that is not there": (
        HEAD + TRAFFIC + "expect: {streams: {inbond: {lost: 0}}}\n",
        [
            "case.yaml:6:20 expect.streams.inbond: 'inbond' is not a stream of this case's traffic "
            "(did you mean 'inbound'?)"
        ],
    ),
    "a bound that is none": (
        HEAD + TRAFFIC + "expect: {streams: {inbound: {lost: few}}}\n",
        [
            "expect.streams.inbound.lost: ",
            'a bound is a count or a comparison: 0, "<= 200", "<= 0.5%" (of the packets sent)',
        ],
    ),
    "an order without a migration": (
        HEAD + "expect: {order: [[source STOP, destination RESUME]]}\n",
        ["expect.order[0]: no step migrates a guest; an order is judged in every migration"],
    ),
    "an order of one event": (
        HEAD + STEPS + "expect: {order: [source STOP]}\n",
        ["an order needs at least two events; `order` is a list of such lists"],
    ),
    "an unknown event": (
        HEAD + STEPS + "expect: {order: [[source STOPP, destination RESUME]]}\n",
        ["'STOPP' is neither a QMP event nor a migration status (did you mean 'STOP'?)"],
    ),
    "an unknown role": (
        HEAD + STEPS + "expect: {order: [[source STOP, guest primry enslaved]]}\n",
        ["'primry' is not a role (did you mean 'primary'?)"],
    ),
    "an unknown phase": (
        HEAD + TRAFFIC + STEPS + "expect: {streams: {inbound: {lost: {stop-and-cop: 0}}}}\n",
        ["expect.streams.inbound.lost.stop-and-cop: unknown key (did you mean 'stop-and-copy'?)"],
    ),
    "a phase without a migration": (
        HEAD + TRAFFIC + "expect: {streams: {inbound: {lost: {precopy: 0}}}}\n",
        ["inbound.lost.precopy: no step migrates a guest, so there is no phase `precopy`"],
    ),
    "phases that say nothing": (
        HEAD + TRAFFIC + STEPS + "expect: {streams: {inbound: {lost: {total: null}}}}\n",
        ["expect.streams.inbound.lost"],
    ),
    "bounds that say nothing": (
        HEAD + TRAFFIC + "expect: {streams: {inbound: {lost: null}}}\n",
        ["says nothing: give lost, reordered, duplicates, interruption, delay_variation"],
    ),
    "a time without a unit": (
        HEAD + TRAFFIC + "expect: {streams: {inbound: {interruption: '<= 300'}}}\n",
        ['a bound on a time is a comparison and a time with its unit: "<= 300ms"'],
    ),
    "a time without a comparison": (
        HEAD + TRAFFIC + STEPS + "expect: {streams: {inbound: {interruption: {after: 3ms}}}}\n",
        ["expect.streams.inbound.interruption.after: found '3ms'; a bound on a time is"],
    ),
    "a count for a time": (
        HEAD + TRAFFIC + "expect: {streams: {inbound: {lost: '<= 3ms'}}}\n",
        ["a bound is a count or a comparison"],
    ),
    "a step that is not there": (
        HEAD + STEPS + "expect: {order: [[source STOP, step 3 end]]}\n",
        ["'step 3 end': the case has 2 steps, not 3"],
    ),
    "a step before the first migration": (
        HEAD + "steps: [{pause: 1s}, {migrate: {guest: g1, to: beta}}]\n"
        "expect: {order: [[step 1 end, source STOP]]}\n",
        ["'step 1 end': comes before the first migration"],
    ),
    "a verb that no step has": (
        HEAD + STEPS + "expect: {order: [[step exec end, source STOP]]}\n",
        ["no step from the first migration on is a 'exec' (known: migrate, wait)"],
    ),
    "an unknown verb of a step in an order": (
        HEAD + STEPS + "expect: {order: [[step migrat end, source STOP]]}\n",
        ["'migrat' is neither the number of a step nor a verb (did you mean 'migrate'?)"],
    ),
    "an unknown event of a netdev": (
        HEAD + STEPS + "expect: {order: [[guest failover adress-added, source STOP]]}\n",
        ["'adress-added' is not an event of a netdev (did you mean 'address-added'?)"],
    ),
    "an unknown parameter": (
        HEAD + "parameters: {rate: 5/s}\n"
        "traffic: {in: {from: client, to: g1, udp: {rate: '${rat}', size: 64}}}\n",
        [
            "case.yaml:4:50 traffic.in.udp.rate: there is no parameter 'rat' "
            "(did you mean 'rate'?)",
            "case.yaml:3:14 parameters.rate: parameter 'rate' is used nowhere",
        ],
    ),
    "a parameter without a value for its topology": (
        "case: x\ntopologies: {one: lab.yaml, two: lab.yaml}\n"
        "parameters: {d: {one: e1000e, tow: igbvf}}\n"
        "expect: {netdevs: {end: {g1: {net1: {primary: '${d}'}}}}}\n",
        [
            "case.yaml:3:14 parameters.d: has no value for 'two'",
            "case.yaml:3:31 parameters.d.tow: 'tow' is not a topology of this case "
            "(did you mean 'two'?)",
        ],
    ),
    "a parameter in a key": (
        HEAD + "parameters: {g: g1}\n"
        "expect: {netdevs: {end: {'${g}': {net1: {primary: absent}}}}}\n",
        ["parameters stand in values, not in keys"],
    ),
    "a topology that is not there": (
        "case: x\ntopology: lba.yaml\n",
        ["lba.yaml: there is no such file", "did you mean 'lab.yaml'?"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_case_is_told_where_and_what(name: str, tmp_path: pathlib.Path) -> None:
    text, wanted = BAD[name]

    told = problems(tmp_path, text)

    for part in wanted:
        assert part in told


def test_an_unknown_parameter_is_the_only_problem_of_its_value(tmp_path: pathlib.Path) -> None:
    told = problems(
        tmp_path,
        HEAD + "traffic: {in: {from: client, to: g1, udp: {rate: '${r}', size: 64}}}\n",
    )

    assert len(told.splitlines()) == 1


def test_shape_and_reference_problems_come_together(tmp_path: pathlib.Path) -> None:
    told = problems(
        tmp_path,
        HEAD + "traffic:\n"
        "  in: {from: clint, to: g1, udp: {rate: 5/s, size: 64}}\n"
        "  out: {from: g1, to: client, udp: {rate: fast, size: 64}}\n",
    )

    assert "traffic.in.from" in told
    assert "traffic.out.udp.rate" in told


def test_a_case_is_checked_without_its_topology_when_it_is_only_loaded(
    tmp_path: pathlib.Path,
) -> None:
    path = write(tmp_path, "case: x\ntopology: elsewhere.yaml\n")

    assert load_case(path).claim == "x"


def test_bounds_by_phase_read_back_one_by_one(tmp_path: pathlib.Path) -> None:
    path = write(
        tmp_path,
        HEAD + TRAFFIC + STEPS + "expect:\n  streams:\n"
        '    inbound: {lost: {total: "<= 200", stop-and-copy: 5, return: "< 1%"},\n'
        '              reordered: 0, interruption: "<= 0.3s",\n'
        '              delay_variation: {total: "<= 50ms", max: "< 1s", precopy: "<= 9us"}}\n',
    )

    bounds = list(bind(load_case(path)).expect.streams["inbound"].bounds())

    assert [str(one) for one in bounds] == [
        "lost <= 200",
        "lost in stop-and-copy == 5",
        "lost in return < 1%",
        "reordered == 0",
        "interruption <= 0.3s",
        "delay_variation (99.9th percentile) <= 50ms",
        "delay_variation in precopy <= 9us",
        "delay_variation (largest) < 1s",
    ]
    assert [one.path for one in bounds[:4]] == [
        ("lost", "total"),
        ("lost", "stop-and-copy"),
        ("lost", "return"),
        ("reordered",),
    ]
    assert bounds[4].bound == TimeBound("<=", 300_000_000, "0.3s")


@pytest.mark.parametrize(("text", "wanted"), [("", "warm"), ("boot: cold\n", "cold")])
def test_a_case_says_whether_its_lab_boots(tmp_path: pathlib.Path, text: str, wanted: str) -> None:
    assert bind(load_case(write(tmp_path, HEAD + STEPS + text))).boot == wanted


def test_a_lab_boots_cold_or_warm_and_nothing_else(tmp_path: pathlib.Path) -> None:
    assert "boot: " in problems(tmp_path, HEAD + STEPS + "boot: luke\n")
