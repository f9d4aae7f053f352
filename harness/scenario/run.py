"""A case from beginning to end: lab up, traffic, steps, traffic's end, lab down; all recorded.

What a run leaves is a directory from which the verdict follows; nothing is judged here.

Neighbours: ``verbs`` and ``streams`` do the work; ``cli`` and ``pytest_plugin`` call this
and then ``harness.report``.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import harness
from harness.case import ABSENT, BoundCase, PairShape
from harness.case.model import Scalar
from harness.errors import DeadlineExceeded, LabError
from harness.images import Kernel, Store
from harness.lab import Lab, LabGuest, LabImages, Progress
from harness.observe import FactLog, Note
from harness.observe.record import now_ns
from harness.plan import make_plan
from harness.plan.model import PairPlan
from harness.plan.render import as_json
from harness.reach.deadline import Deadline
from harness.record import QemuVersion, RunDir, RunInfo, StepTiming, Timings, Versions
from harness.scenario.flowing import NotFlowing
from harness.scenario.paths import keep_paths
from harness.scenario.streams import Traffic
from harness.scenario.tcp import TcpTraffic
from harness.scenario.verbs import StepFailed, Verbs, pair_state
from harness.versions import QemuWords

_SETTLE_S = 60.0
"""How long the pairs of a guest that has just booted may take to be complete."""
_PROBE_S = 5.0
"""How long a guest's probe may take to say what it has cost."""


def begin_record(
    run_dir: RunDir, bound: BoundCase, settings: dict[str, Scalar], shown_case: str
) -> None:
    """Write what is known before anything runs: the case, the topology, the plan."""
    shutil.copyfile(bound.case.path, run_dir.file(RunDir.CASE))
    shutil.copyfile(bound.topology_path, run_dir.file(RunDir.TOPOLOGY))
    run_dir.write(RunDir.PLAN, as_json(make_plan(bound.topology)))
    run_dir.write_info(
        RunInfo(
            claim=bound.case.claim,
            case_file=shown_case,
            topology_file=bound.topology_path.name,
            variant=bound.variant,
            settings=settings,
            choices=bound.choices.given(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    )


def make_lab(
    bound: BoundCase,
    run_dir: RunDir,
    *,
    store: Store,
    progress: Progress,
    name: str,
    boot: Literal["warm", "cold"] = "warm",
) -> Lab:
    """The lab of a bound case; not up yet. It is cold where the case or ``boot`` says so."""
    return Lab(
        make_plan(bound.topology),
        LabImages(store, progress.say),
        FactLog(run_dir.facts_path),
        logs=run_dir.file(RunDir.LOGS),
        progress=progress,
        name=name,
        watch_taps=bool(bound.packets),
        warm="cold" not in (bound.boot, boot),
    )


def run_case(
    bound: BoundCase,
    run_dir: RunDir,
    lab: Lab,
    *,
    hold: Callable[[Lab], None] | None = None,
) -> None:
    """Carry the case out on ``lab`` and leave its record; the lab is down afterwards.

    ``hold`` is called before the lab goes down, whatever happened (to look around in it).
    Raises LabError when the lab broke; the record then says how far it came.
    """
    try:
        try:
            lab.up()
            carry_out(bound, run_dir, lab)
        except BaseException as error:
            lab.facts.add(Note(t_ns=now_ns(), text=f"the run ended early: {error}"))
            raise
        finally:
            if hold is not None:
                hold(lab)
    finally:
        # An error of the run is the one to be told; a failed clean-up then comes as its context.
        try:
            lab.down()
        finally:
            lab.facts.close()
            keep_timings(lab.progress, run_dir)


def keep_timings(progress: Progress, run_dir: RunDir) -> None:
    """Write down how long the harness was at what so far."""
    run_dir.write_timings(
        Timings(
            steps=tuple(
                StepTiming(
                    name=one.name,
                    begin_s=round(one.begin, 3),
                    end_s=round(one.end, 3),
                    after=one.after,
                    failed=one.failed,
                )
                for one in progress.stages
            )
        )
    )


def carry_out(bound: BoundCase, run_dir: RunDir, lab: Lab) -> None:
    """The case on a lab that is up."""
    verbs = Verbs(lab)
    settle(lab, pairs_to_come(bound))
    run_dir.write_versions(versions_of(lab))
    with lab.progress.step("snapshot at the start"):
        verbs.snapshot("start")
    traffic = Traffic(lab, bound.traffic, run_dir)
    tcp = TcpTraffic(lab, bound.traffic, run_dir)
    try:
        with suppress(NotFlowing, StepFailed):  # recorded; what follows has no ground to stand on
            with verbs.traffic():
                traffic.begin()
                tcp.begin()
                traffic.prove_flow()
                tcp.prove_flow()
            ask_probes(lab, "traffic-flows")
            before = max((stream.before for stream in bound.traffic.values()), default=0.0)
            with lab.progress.step("traffic before the first step"):
                threading.Event().wait(before)
            for step in bound.steps:
                verbs.carry_out(step)
        verbs.end_migrations()
        ask_probes(lab, "traffic-ends")
        with lab.progress.step("end of the traffic"):
            over = time.monotonic()
            tcp.finish()  # before records are fetched from guests, which would slow it down
            traffic.finish(since=over, meanwhile=lambda: verbs.snapshot("end"))
        ask_probes(lab, "records-kept")
        with lab.progress.step("captures on taps"):
            keep_paths(lab, run_dir, traffic.specs)
    except BaseException:
        tcp.abort()
        traffic.abort()
        raise
    # The destinations of migrations have been started since.
    run_dir.write_versions(versions_of(lab))


def ask_probes(lab: Lab, moment: Literal["traffic-flows", "traffic-ends", "records-kept"]) -> None:
    """Record what labprobe costs each guest. One that does not answer is noted, not an error:
    a case may be about a guest that is stopped."""
    for guest in lab.guests.values():
        if not guest.running:
            continue
        try:
            guest.link.load(moment, timeout=_PROBE_S)
        except LabError as error:
            lab.facts.add(Note(t_ns=now_ns(), text=f"the probe's load: {error.message}"))


def pairs_to_come(bound: BoundCase) -> frozenset[tuple[str, str]]:
    """(guest, standby) of the pairs that the case does not want incomplete at its start."""
    return frozenset(
        (name, nic)
        for name, guest in bound.topology.guests.items()
        for nic in guest.nics
        if not guest.unchecked
        and not _wanted_without(bound.expect.netdevs.start.get(name, {}).get(nic))
    )


def _wanted_without(shape: PairShape | None) -> bool:
    return shape is not None and ABSENT in (shape.primary, shape.standby, shape.failover)


def settle(lab: Lab, pairs: frozenset[tuple[str, str]] | None = None) -> None:
    """Wait until every pair that starts with a primary (of ``pairs``) is complete.

    One that does not become so is not an error: the case may be about that, and what it
    expects at its start is judged by the snapshot that follows.
    """
    for guest in lab.guests.values():
        for pair in guest.plan.pairs:
            if not guest.running or pair.primary is None:
                continue
            if pairs is not None and (guest.name, pair.standby) not in pairs:
                continue
            if not {pair.standby, pair.primary} <= set(guest.plugged):
                continue
            with lab.progress.step(f"pair {pair.standby} of {guest.name}"):
                _settle_pair(lab, guest, pair)


def _settle_pair(lab: Lab, guest: LabGuest, pair: PairPlan) -> None:
    try:
        guest.links.wait(
            lambda links: pair_state(links, pair.mac) == "complete",
            Deadline(_SETTLE_S),
            what=f"{guest.name}: pair {pair.standby} complete",
            show=lambda links: pair_state(links, pair.mac),
        )
    except DeadlineExceeded as error:
        lab.facts.add(Note(t_ns=now_ns(), text=error.message))


def versions_of(lab: Lab) -> Versions:
    """Which software takes part. QEMU's versions are what each QEMU says of itself."""
    kernels = {host.name: host.machine.terms.kernel for host in lab.hosts.values()}
    for guest in lab.guests.values():
        made = lab.images.get(guest.plan.images[guest.plan.home][1])
        if isinstance(made, Kernel):
            kernels[guest.name] = made.release
    kernels["(this machine)"] = os.uname().release
    return Versions(
        harness=harness.__version__,
        qemu=tuple(
            QemuVersion(
                guest=guest.name,
                host=host,
                version=version,
                machine=guest.machine_types.get(host, ""),
                image=guest.plan.images[host][0].token,
                words=guest.qemu_words.get(host, QemuWords()),
            )
            for guest in lab.guests.values()
            for host, version in guest.qemu_versions.items()
        ),
        host_qemu={
            name: lab.images.toolchain(next(iter(host.plan.boot.values())).qemu).version
            for name, host in lab.hosts.items()
            if host.plan.boot
        },
        host_machine={name: vm.machine_type() for name, vm in lab.host_vms.items()},
        kernels=kernels,
        images=lab.images.versions(),
    )
