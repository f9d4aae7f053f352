"""Cross-references of a case: inside itself, and into the topology it runs on.

Shapes are checked before (``model``); what comes here is typed. Problems carry the place
in the case file and the nearest name.

Neighbours: ``load`` calls both functions and raises all problems together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.case.check_gate import check_gate
from harness.case.check_migrations import check_destinations, check_migrations
from harness.case.check_paths import check_paths
from harness.case.check_streams import check_streams_against, check_streams_inside
from harness.case.expect import TCP_METRICS, PathBound, StreamBound, TcpBound
from harness.case.model import CaseFile
from harness.case.phases import PHASES
from harness.case.references import Reference
from harness.document import Document, Path, suggestion
from harness.errors import Problem
from harness.observe import LAB
from harness.topology.model import Topology

EVERY_STREAM = "*"


def check_inside(document: Document, case: CaseFile) -> Iterator[Problem]:
    """What can be said without a topology."""
    for name in case.expect.streams:
        if name != EVERY_STREAM and name not in case.traffic:
            yield document.problem(
                ("expect", "streams", name),
                f"'{name}' is not a stream of this case's traffic",
                suggestion(name, case.traffic, none="it has none"),
                key=True,
            )
    if EVERY_STREAM in case.expect.streams and not case.traffic:
        yield document.problem(
            ("expect", "streams", EVERY_STREAM),
            "there is no stream to hold this for",
            "add `traffic`",
            key=True,
        )
    yield from _metrics_fit(document, case)
    for name, stream in case.traffic.items():
        if stream.sender == stream.receiver:
            yield document.problem(
                ("traffic", name, "to"), f"'{stream.receiver}' is the sender too"
            )
    yield from check_streams_inside(document, case)
    yield from check_gate(document, case)
    yield from _steps_in_order(document, case)
    yield from check_migrations(document, case)
    if not any(one.step.migrate for one in case.placed):
        yield from _without_migration(document, case)


def _metrics_fit(document: Document, case: CaseFile) -> Iterator[Problem]:
    """A TCP stream has no packets to count, and packets no octets to check."""
    packets = any(stream.tcp is None for stream in case.traffic.values())
    tcp = any(stream.tcp is not None for stream in case.traffic.values())
    for name, bounds in case.expect.streams.items():
        has_packets, has_tcp = packets, tcp
        if stream := case.traffic.get(name):
            has_packets, has_tcp = stream.tcp is None, stream.tcp is not None
        if not has_packets and not has_tcp:
            continue  # there is no such stream, which is said
        what = "it is a TCP stream" if name != EVERY_STREAM else "there are only TCP streams"
        other = "it is no TCP stream" if name != EVERY_STREAM else "there is no TCP stream"
        of_packets: list[StreamBound | PathBound] = [*bounds.bounds(), *bounds.path_bounds()]
        for metric in dict.fromkeys(bound.metric for bound in of_packets):
            if not has_packets:
                yield document.problem(
                    ("expect", "streams", name, metric),
                    f"'{metric}' is told of numbered packets, and {what}",
                    f"of TCP there are: {', '.join(TCP_METRICS)}",
                    key=True,
                )
        for wanted in dict.fromkeys(bound.metric for bound in bounds.tcp_bounds()):
            if not has_tcp:
                yield document.problem(
                    ("expect", "streams", name, wanted),
                    f"'{wanted}' is told of TCP, and {other}",
                    key=True,
                )


def _steps_in_order(document: Document, case: CaseFile) -> Iterator[Problem]:
    """A step named in an order is there, and comes in a migration."""
    placed = case.placed
    first = next((one.place for one in placed if one.step.migrate), len(case.steps) + 1)
    verbs = [one.step.verb for one in placed if one.place >= first]
    for number, chain in enumerate(case.expect.order):
        for event in chain:
            wanted = event.step_number
            path: Path = ("expect", "order", number)
            if wanted is not None and wanted > len(case.steps):
                yield document.problem(
                    path, f"'{event}': the case has {len(case.steps)} steps, not {wanted}"
                )
            elif wanted is not None and wanted < first:
                yield document.problem(
                    path,
                    f"'{event}': comes before the first migration",
                    "an order is judged from each migration's begin to the next one's",
                )
            elif event.side == "step" and wanted is None and event.step not in verbs:
                yield document.problem(
                    path,
                    f"'{event}': no step from the first migration on is a '{event.step}'",
                    suggestion(event.step, dict.fromkeys(verbs), none="there is none"),
                )


def _without_migration(document: Document, case: CaseFile) -> Iterator[Problem]:
    hint = "add a step `migrate: {guest: ..., to: ...}`"
    if case.expect.migration is not None:
        yield document.problem(("expect", "migration"), "no step migrates a guest", hint)
    if case.expect.states:
        yield document.problem(("expect", "states"), "no step migrates a guest", hint)
    if case.expect.netdevs.precopy:
        yield document.problem(
            ("expect", "netdevs", "precopy"),
            "no step migrates a guest, so there is no precopy",
            hint,
            key=True,
        )
    for name, bounds in case.expect.streams.items():
        every: list[StreamBound | TcpBound | PathBound]
        every = [*bounds.bounds(), *bounds.path_bounds(), *bounds.tcp_bounds()]
        for bound in every:
            if bound.scope in PHASES:
                yield document.problem(
                    ("expect", "streams", name, *bound.path),
                    f"no step migrates a guest, so there is no phase `{bound.scope}`",
                    hint,
                    key=True,
                )
    for number in range(len(case.expect.order)):
        yield document.problem(
            ("expect", "order", number),
            "no step migrates a guest; an order is judged in every migration",
            hint,
        )


def check_against(
    document: Document, case: CaseFile, topology: Topology, name: str
) -> Iterator[Problem]:
    """What does not fit the topology; ``name`` is how a reader knows it."""
    for stream_name, stream in case.traffic.items():
        base: Path = ("traffic", stream_name)
        for key, endpoint in (("from", stream.sender), ("to", stream.receiver)):
            reference = Reference((key,), "endpoint", endpoint)
            yield from _follow(document, base, reference, topology, name)
    yield from check_streams_against(document, case, topology, name)
    for number, step in enumerate(case.steps):
        for reference in step.action.refers():
            yield from _follow(document, ("steps", number, step.verb), reference, topology, name)
    yield from check_destinations(document, case, topology)
    for reference in case.expect.refers():
        yield from _follow(document, ("expect",), reference, topology, name)
    yield from _standbys_in_order(document, case, topology, name)
    yield from _shapes(document, case, topology)
    yield from check_paths(document, case, topology, name, EVERY_STREAM)


def _follow(
    document: Document, base: Path, reference: Reference, topology: Topology, topology_name: str
) -> Iterator[Problem]:
    path, name = base + reference.path, reference.name
    key = base == ("expect",)  # guests and standbys are keys there
    if reference.kind in ("nic", "host-nic"):
        yield from _nic(document, path, reference, topology)
        return
    if reference.kind == "standby":
        guest = topology.guests.get(reference.guest)
        if guest is None:
            return  # the guest itself is reported
        standbys = [nic for nic, model in guest.nics.items() if model.failover]
        if name in standbys:
            return
        what = f"is a NIC of guest '{reference.guest}', but not a standby (failover: on)"
        if name not in guest.nics:
            what = f"is not a standby of guest '{reference.guest}'"
        yield document.problem(
            path,
            f"'{name}' {what}",
            suggestion(name, standbys, none=f"{reference.guest} has no failover pair"),
            key=key,
        )
        return
    known = _known(reference.kind, topology)
    if key and reference.kind == "host":  # an event of an order, not a place for a guest
        known = [*known, LAB]
    if name not in known:
        what = {
            "guest": "a guest",
            "host": "a host",
            "machine": "a guest, host or namespace",
            "endpoint": "a guest or namespace",
        }[reference.kind]
        yield document.problem(
            path,
            f"'{name}' is not {what} of {topology_name}",
            suggestion(name, known, none="it has none"),
            key=key,
        )
    elif reference.kind == "endpoint" and not _has_address(name, topology):
        yield document.problem(
            path,
            f"'{name}' has no address in {topology_name}",
            "give one of its NICs an `address`",
            key=key,
        )


def _nic(
    document: Document, path: Path, reference: Reference, topology: Topology
) -> Iterator[Problem]:
    """A NIC of a guest, or of a host, by its id."""
    what = "host" if reference.kind == "host-nic" else "guest"
    machines = topology.hosts if what == "host" else topology.guests
    machine = machines.get(reference.guest)
    if machine is not None and reference.name not in machine.nics:
        yield document.problem(
            path,
            f"'{reference.name}' is not a NIC of {what} '{reference.guest}'",
            suggestion(reference.name, machine.nics, none="it has none"),
        )


def _known(kind: str, topology: Topology) -> list[str]:
    if kind == "guest":
        return list(topology.guests)
    if kind == "host":
        return list(topology.hosts)
    endpoints = [*topology.guests, *topology.namespaces]
    return endpoints if kind == "endpoint" else [*endpoints, *topology.hosts]


def _has_address(name: str, topology: Topology) -> bool:
    if guest := topology.guests.get(name):
        return any(nic.address for nic in guest.nics.values())
    return any(nic.address for nic in topology.namespaces[name].nics.values())


def _standbys_in_order(
    document: Document, case: CaseFile, topology: Topology, name: str
) -> Iterator[Problem]:
    """A standby named in an order belongs to a guest that migrates."""
    guests = {one.step.migrate.guest for one in case.placed if one.step.migrate}
    standbys = _standbys(guests, topology)
    for number, chain in enumerate(case.expect.order):
        for event in chain:
            if event.standby and event.standby not in standbys:
                yield document.problem(
                    ("expect", "order", number),
                    f"'{event}': '{event.standby}' is not a standby of a guest of {name} "
                    "that migrates",
                    suggestion(event.standby, standbys),
                )
            elif event.side == "guest" and not event.standby and len(standbys) > 1:
                yield document.problem(
                    ("expect", "order", number),
                    f"'{event}' may mean several failover pairs",
                    f"name the standby: guest {sorted(standbys)[0]} {event.role} {event.what}",
                )


def _standbys(guests: Iterable[str], topology: Topology) -> set[str]:
    return {
        nic
        for guest in guests
        if guest in topology.guests
        for nic, model in topology.guests[guest].nics.items()
        if model.failover
    }


def _shapes(document: Document, case: CaseFile, topology: Topology) -> Iterator[Problem]:
    """A pair without a primary in the topology never shows one."""
    for moment, shapes in case.expect.netdevs.moments():
        for guest, pairs in shapes.items():
            for standby, shape in pairs.items():
                model = topology.guests.get(guest)
                if model is None or standby not in model.nics or shape.primary in (None, "absent"):
                    continue
                if not any(nic.failover_pair_id == standby for nic in model.nics.values()):
                    yield document.problem(
                        ("expect", "netdevs", moment, guest, standby, "primary"),
                        f"standby '{standby}' of guest '{guest}' has no primary in the topology",
                        f"add a NIC with failover_pair_id: {standby}, or expect `absent`",
                    )
