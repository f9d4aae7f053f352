"""What a user chooses in place of what a topology says: QEMU, kernels, machine, accelerator.

The same choices come from the command line, pytest's options, a cell of a matrix and
avocado's parameters. ``choose`` gives the topology as it is with them, and checks it anew:
what a topology file may not say, an option may not say either.

Neighbours: ``harness.case`` binds a case to a topology with choices, ``harness.record``
keeps them, ``harness.matrix`` has lists of them. Whether a recipe exists is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import Field

from harness.document import dotted, one_of, suggestion
from harness.errors import InputError
from harness.topology.check import check
from harness.topology.model import Accelerator, Guest, Host, HostKind, Name, Part, Topology

_ON_HOST = re.compile(r"([a-z][a-z0-9-]{0,30})=(.*)", re.DOTALL)


class Choices(Part):
    """One value for each thing that may be chosen; what is absent is left to the topology.

    The names with ``-`` are those of the options and of a matrix's axes.
    """

    qemu: str | None = Field(None, description="the QEMU that runs guests, on every host")
    qemu_on: dict[Name, str] = Field(
        default_factory=dict, alias="qemu-on", description="the same on single hosts"
    )
    guest_kernel: str | None = Field(
        None, alias="guest-kernel", description="the kernel of every guest"
    )
    host_kernel: str | None = Field(
        None, alias="host-kernel", description="the kernel of every host of kind vm"
    )
    machine: str | None = Field(None, description="the machine type of every guest")
    accelerator: Accelerator | None = Field(None, description="the accelerator of every guest")

    def given(self) -> dict[str, str | dict[str, str]]:
        """The choices that were made, by their names with ``-``; plain, for a record."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def options(self) -> tuple[str, ...]:
        """The same on a command line: ``--qemu``, ``beta=qemu-11``, ..."""
        words: list[str] = []
        for name, value in self.given().items():
            if isinstance(value, str):
                words += [f"--{name}", value]
            else:
                words += [
                    word for host, ref in value.items() for word in ("--qemu", f"{host}={ref}")
                ]
        return tuple(words)

    def with_these(self, others: Choices) -> Choices:
        """These choices and ``others``, which count where both choose the same."""
        return Choices.model_validate(self.given() | others.given())

    def __bool__(self) -> bool:
        return bool(self.given())


def parse_choices(
    *,
    qemu: Iterable[str] = (),
    guest_kernel: str | None = None,
    host_kernel: str | None = None,
    machine: str | None = None,
    accelerator: str | None = None,
) -> Choices:
    """Choices from the texts of options; ``qemu`` holds ``REF`` and ``HOST=REF``.

    Raises InputError for two QEMUs of one host, for an empty text and for an accelerator
    that is none.
    """
    texts = {
        "guest-kernel": guest_kernel,
        "host-kernel": host_kernel,
        "machine": machine,
        "accelerator": accelerator,
    }
    everywhere: str | None = None
    on: dict[str, str] = {}
    for text in qemu:
        match = _ON_HOST.fullmatch(text)
        host, ref = (match[1], match[2]) if match else ("", text)
        texts[f"qemu {host}=" if host else "qemu"] = ref
        former = on.get(host) if host else everywhere
        if former is not None and former != ref:
            raise InputError(
                f"--qemu {text}: {f'host {host}' if host else 'every host'} has '{former}' already",
                hint="one --qemu REF for every host, and a --qemu HOST=REF for each other one",
            )
        if host:
            on[host] = ref
        else:
            everywhere = ref
    for name, given in texts.items():
        if given is not None and not given.strip():
            raise InputError(f"--{name}: wanted a name, found nothing")
    known = [one.value for one in Accelerator if one is not Accelerator.AUTO]
    if accelerator is not None and accelerator not in known:
        raise InputError(f"--accelerator {accelerator}: wanted {one_of(known)}")
    return Choices(
        qemu=everywhere,
        qemu_on=on,
        guest_kernel=guest_kernel,
        host_kernel=host_kernel,
        machine=machine,
        accelerator=Accelerator(accelerator) if accelerator else None,
    )


def choose(topology: Topology, choices: Choices, name: str) -> Topology:
    """``topology`` with what was chosen, checked anew; ``name`` is how a reader knows it.

    Raises InputError where the topology has nothing to choose for (a host that is not there,
    no host of kind vm), and for what its checks find only now.
    """
    if not choices:
        return topology
    _must_apply(topology, choices, name)
    chosen = topology.model_copy(
        update={
            "guests": {n: _guest(guest, topology, choices) for n, guest in topology.guests.items()},
            "hosts": {n: _host(host, choices) for n, host in topology.hosts.items()},
        }
    )
    findings = check(chosen)
    if findings:
        said = " ".join(choices.options())
        first = findings[0]
        raise InputError(
            f"{name} with {said}: {dotted(first.path)}: {first.message}",
            hint=first.hint,
            evidence=[f"{dotted(one.path)}: {one.message}" for one in findings[1:]],
        )
    return chosen


def _must_apply(topology: Topology, choices: Choices, name: str) -> None:
    for host, ref in choices.qemu_on.items():
        if host not in topology.hosts:
            raise InputError(
                f"--qemu {host}={ref}: '{host}' is not a host of {name}",
                hint=suggestion(host, topology.hosts),
            )
    kinds = {host.kind for host in topology.hosts.values()}
    if choices.host_kernel is not None and HostKind.VM not in kinds:
        raise InputError(
            f"--host-kernel {choices.host_kernel}: {name} has no host of kind vm",
            hint="the lab boots no host there; choose a topology that has some",
        )


def _guest(guest: Guest, topology: Topology, choices: Choices) -> Guest:
    update: dict[str, object] = {}
    if choices.qemu is not None or choices.qemu_on:
        where = {
            host: choices.qemu_on.get(host) or choices.qemu or guest.qemu_on(host)
            for host in topology.hosts
        }
        several = len(set(where.values())) > 1
        update["qemu"] = where if several else next(iter(where.values()))
    if choices.guest_kernel is not None:
        update["kernel"] = choices.guest_kernel
    if choices.machine is not None:
        update["machine"] = choices.machine
    if choices.accelerator is not None:
        update["accelerator"] = choices.accelerator
    return guest.model_copy(update=update)


def _host(host: Host, choices: Choices) -> Host:
    if choices.host_kernel is None or host.kind is not HostKind.VM:
        return host
    return host.model_copy(update={"kernel": choices.host_kernel})
