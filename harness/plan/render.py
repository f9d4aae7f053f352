"""A plan as text for a person: everything that will be made, and the exact commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping

from pydantic import TypeAdapter

from harness.plan.model import Command, LinkPlan, Placement, Plan


def as_json(plan: Plan) -> str:
    """The plan as JSON, for the run's record and for tools; keys in a fixed order."""
    data = TypeAdapter(Plan).dump_python(plan, mode="json")
    return json.dumps(data, indent=2, sort_keys=True) + "\n"


def render(plan: Plan) -> str:
    """The plan as text. Tokens (``@run@``, ``@vf:NIC@``) stand for what only a run knows."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    for net in plan.networks:
        yield f"network {net.name}: bridge {net.bridge}, mtu {net.mtu}" + (
            f", address {net.address} (the lab's own)" if net.address else ""
        )
        if net.impair:
            impair = ", ".join(
                f"{k} {v}" for k, v in net.impair.model_dump(exclude_none=True).items()
            )
            yield f"  impairment (netem): {impair}"
    for ns in plan.namespaces:
        yield f"namespace {ns.name}"
        yield from (_link(link) for link in ns.links)
    for host in plan.hosts.values():
        yield f"host {host.name}: kind {host.kind}, accelerator for guests {host.accelerator.value}"
        if host.ssh:
            access = host.ssh
            yield f"  ssh {access.user}@{access.address} port {access.port} key {access.key}"
        yield from (_link(link) for link in host.links)
        for name, nic in host.nics.items():
            if nic.vfs:
                yield f"  {name}: {nic.vfs} virtual functions"
        for bridge in host.bridges:
            yield f"  bridge {bridge.name}: ports {', '.join(bridge.nics) or 'none'}"
        yield from _commands("boots with", host.boot)
    for guest in plan.guests.values():
        yield f"guest {guest.name}: starts on {guest.home}"
        for pair in guest.pairs:
            primary = pair.primary or "none yet"
            yield f"  failover pair: standby {pair.standby}, primary {primary}, MAC {pair.mac}"
        for nic_id, mac in guest.macs.items():
            addresses = " ".join(str(a) for a in guest.nics[nic_id].address)
            yield f"  {nic_id}: {guest.nics[nic_id].model.value} {mac} {addresses}".rstrip()
        for placement in guest.placements.values():
            yield from _placement(placement)
    needs = plan.needs
    yield f"needs of this machine: {needs.cpus:g} CPUs, {needs.memory >> 20} MiB of memory"
    yield "steps"
    for step in plan.steps:
        yield f"  {step.id}" + (f"  (after {', '.join(step.needs)})" if step.needs else "")


def _link(link: LinkPlan) -> str:
    inside = link.ifname or "(named by its kernel)"
    addresses = "".join(f" {a}" for a in link.addresses)
    return f"  {link.nic}: {inside} {link.mac}{addresses} <-> port {link.port} of {link.network}"


def _placement(placement: Placement) -> Iterator[str]:
    if placement.obstacle:
        yield f"  on {placement.host}: cannot be there: {placement.obstacle}"
        return
    yield f"  on {placement.host}:"
    for tap in placement.taps:
        yield f"    tap {tap.ifname} for {tap.nic}, port of {tap.bridge}"
    for vf in placement.vfs:
        yield f"    VF {vf.index} of {vf.host_nic} for {vf.nic}, MAC {vf.mac}, driver vfio-pci"
    yield from (f"  {line}" for line in _commands("starts with", placement.start))
    yield from (f"  {line}" for line in _commands("receives with", placement.incoming))


def _commands(words: str, commands: Mapping[str, Command]) -> Iterator[str]:
    for accelerator, command in commands.items():
        yield f"  {words} ({accelerator}):"
        yield f"    @qemu:{command.qemu}@ {shlex.join(command.args)}"
