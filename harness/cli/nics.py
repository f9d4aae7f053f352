"""``probe-nic``: reach a NIC and what is behind its wire, walk it, say what it can be used for.

Neighbours: ``harness.nicprobe`` asks and judges.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError
from harness.images import Store
from harness.lab import Lab, LabImages, Progress
from harness.nicprobe.judge import answer
from harness.nicprobe.model import Standby
from harness.nicprobe.text import render
from harness.nicprobe.walk import Peer, Wanted, must_be_free, walk
from harness.observe import FactLog
from harness.plan import make_plan
from harness.plan.part import up_to
from harness.reach.deadline import Deadline
from harness.reach.here import ThisMachine
from harness.reach.machine import Machine
from harness.reach.ssh import SshMachine, SshTarget
from harness.topology import load

_ANSWER_S = 30.0
_STANDBYS: tuple[Standby, ...] = ("bridge", "filter")
_ADDRESS = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>[^@\s]+?)(?::(?P<port>[0-9]+))?")
_VETH = ("nicprobe0", "nicprobe1")


@dataclass(frozen=True, slots=True)
class _Found:
    machine: Machine
    pf: str
    peer: Peer | None


def probe(args: argparse.Namespace) -> int:
    """Print the answer; its exit code."""
    _check(args)
    with ExitStack() as ending:
        found = ending.enter_context(_of_lab(args) if args.topology else _reached(args))
        link = must_be_free(found.machine, found.pf, args.vf, anyway=args.yes)
        wanted = Wanted(
            pf=found.pf,
            vf=args.vf,
            standbys=(args.standby,) if args.standby else _STANDBYS,
            vlans=(None, args.vlan) if args.vlan else (None,),
            frames=args.frames,
        )
        nic, walks = walk(found.machine, link, found.peer, wanted, _say(args).say)
    # Told when all has been undone: what could not be undone is an error.
    told = answer(nic, walks)
    print(told.model_dump_json(indent=2) if args.json else render(told), end="\n" * args.json)
    return told.outcome.exit_code


def _say(args: argparse.Namespace) -> Progress:
    return Progress(None if args.quiet else sys.stderr)


def _check(args: argparse.Namespace) -> None:
    if args.topology:
        if args.pf or args.ssh or not (args.host and args.nic):
            raise InputError(
                "probe-nic: --topology goes with --host and --nic, and in the place of a PF"
            )
    elif not args.pf or args.host or args.nic:
        raise InputError("probe-nic: name a PF, or a NIC by --topology, --host and --nic")
    if not 0 <= args.vlan < 4094:
        raise InputError(f"probe-nic: --vlan {args.vlan}: has to be from 1 to 4093, or 0 for none")
    if args.frames < 1 or args.vf < 0:
        raise InputError("probe-nic: --frames has to be 1 or more, --vf 0 or more")


# -- machines that are there ---------------------------------------------------------------


@contextmanager
def _reached(args: argparse.Namespace) -> Iterator[_Found]:
    where, _, pf = args.pf.rpartition(":")
    if where and args.ssh:
        raise InputError(f"probe-nic: --ssh {args.ssh} and {args.pf} name a machine each")
    with ExitStack() as ending:
        machine: Machine = ending.enter_context(_machine(args, args.ssh or where))
        peer = None
        if args.peer:
            behind, _, ifname = args.peer.rpartition(":")
            other = ending.enter_context(_machine(args, behind)) if behind else machine
            peer = Peer(other, ifname)
        yield _Found(machine, pf, peer)


def _machine(args: argparse.Namespace, address: str) -> Machine:
    """The machine at an address, or this one; as root, if need be by sudo."""
    if not address:
        return ThisMachine()
    named = _ADDRESS.fullmatch(address)
    if named is None:
        raise InputError(f"probe-nic: {address!r} is no [USER@]HOST[:PORT]")
    if args.key is None:
        raise InputError(f"probe-nic: {address}: give the ssh key with --key FILE")
    user = named["user"] or "root"
    target = SshTarget(
        named["host"], args.key, user, int(named["port"] or 22), known_hosts=args.known_hosts
    )
    return SshMachine(
        named["host"], target, Deadline(_ANSWER_S), become_root=user != "root", booting=False
    )


# -- a host of a topology ------------------------------------------------------------------


@contextmanager
def _of_lab(args: argparse.Namespace) -> Iterator[_Found]:
    """One host of a topology, up as far as it can be reached; its wire is the lab's bridge."""
    plan = make_plan(load(args.topology))
    host = plan.hosts.get(args.host)
    if host is None:
        raise InputError(
            f"{args.topology}: no host {args.host!r}", hint=f"hosts: {', '.join(plan.hosts)}"
        )
    link = next((one for one in host.links if one.nic == args.nic), None)
    if host.kind != "vm" or link is None:
        raise InputError(
            f"{args.topology}: {args.nic!r} is no NIC of a host VM {args.host!r}",
            hint="a NIC of a machine that is there is named as [USER@]HOST:PF",
        )
    if args.peer:
        raise InputError("probe-nic: --from is for real NICs; in a lab the wire is its network")
    bridge = next(one.bridge for one in plan.networks if one.name == link.network)
    progress = _say(args)
    with (
        tempfile.TemporaryDirectory(prefix="harness-nic-") as logs,
        Lab(
            up_to(plan, f"reach {args.host}"),
            LabImages(Store(), progress.say),
            FactLog(None),
            logs=Path(logs),
            progress=progress,
            name=f"probe-nic-{os.getpid()}",
        ) as lab,
    ):
        lab.up()
        machine = lab.hosts[args.host].machine
        port, peer = _VETH
        lab.local.links.create_veth(port, peer)
        lab.local.links.set(port, master=bridge, up=True)
        lab.local.links.set(peer, up=True)
        pf = machine.links.find(mac=link.mac).name
        yield _Found(machine, pf, Peer(lab.local, peer))
