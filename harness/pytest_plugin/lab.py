"""The ``lab`` fixture: a lab that is up, with the verbs of a case as methods.

::

    @pytest.mark.topology("topologies/flat-pair.yaml")
    def test_the_guest_arrives(lab: LabUnderTest) -> None:
        with lab.traffic(inbound=stream("client", "g1", rate=500)) as counts:
            lab.migrate("g1", "beta")
            lab.wait_primary("g1", "net1", "up")
        assert counts["inbound"].lost < 3000

A verb that did not come to its wanted end raises StepFailed, which a
test can expect; a lab that broke raises LabError.

Neighbours: ``harness.scenario`` has the verbs, ``harness.probe`` testinfra's questions.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import pytest
from testinfra.host import Host

from harness.case import Action, State, Stream
from harness.errors import HarnessError, InputError, RecordError
from harness.images import Store
from harness.lab import Lab, LabImages, Progress
from harness.measure import StreamMetrics
from harness.observe import FactLog, LinkState
from harness.plan import make_plan
from harness.plan.render import as_json
from harness.probe import host_of
from harness.pytest_plugin.choosing import choices_of
from harness.pytest_plugin.keeping import hold
from harness.pytest_plugin.places import marks_for, name_for, run_dir_for, told
from harness.reach.machine import Completed
from harness.record import RunDir
from harness.report.streams import measured
from harness.scenario import Verbs, keep_timings, settle
from harness.scenario.service import LabService
from harness.scenario.streams import Traffic
from harness.topology import choose, load
from harness.verdict import Pair
from harness.verdict.links import PairView, view
from harness.verdict.streams import doubt_about
from harness.vm import MigrationInfo

_FAILED = pytest.StashKey[str]()


def stream(
    sender: str,
    receiver: str,
    *,
    rate: float = 1000.0,
    size: int = 128,
    protocol: Literal["udp", "icmp-echo"] = "udp",
    waiting_time: float = 2.0,
) -> Stream:
    """The terms of a stream, as in a case: packets a second, octets, seconds."""
    return Stream.model_validate(
        {
            "from": sender,
            "to": receiver,
            protocol: {"rate": f"{rate:f}/s", "size": size},
            "waiting_time": f"{waiting_time:f}s",
            "after": f"{waiting_time:f}s",
        }
    )


class LabUnderTest:
    """A lab that is up. What is done to it is recorded in ``run_dir``, as in a case."""

    def __init__(self, lab: Lab, run_dir: RunDir) -> None:
        self.lab = lab
        self.run_dir = run_dir
        self.verbs = Verbs(lab)

    def migrate(
        self, guest: str, to: str, *, within: float = 60.0, **terms: object
    ) -> MigrationInfo:
        """Migrate and wait for the end; ``terms`` are the other keys of the step in a case
        (``mode="postcopy"``). StepFailed when it did not end as wanted."""
        return self.verbs.migrate(guest, to, within=within, **terms)

    def wait_primary(
        self,
        guest: str,
        standby: str,
        state: State = "up",
        *,
        within: float = 60.0,
    ) -> None:
        """Wait for a state of the pair's primary; StepFailed says what it was instead."""
        self._pair(guest, standby)
        self.verbs.wait_primary(guest, standby, state, within=within)

    def exec(self, machine: str, command: str, *, rc: int = 0, within: float = 10.0) -> Completed:
        """Run a shell command on a machine; StepFailed unless it ends with ``rc``."""
        return self.verbs.exec(machine, command, rc=rc, within=within)

    def do(self, action: Action) -> object:
        """Any verb of a case, by its arguments: ``lab.do(Pause("2s"))``."""
        return self.verbs.do(action)

    def host(self, machine: str) -> Host:
        """testinfra's ``host`` for a guest, a host or a namespace."""
        return host_of(self.lab.machine(machine))

    def guest(self, name: str) -> Host:
        """testinfra's ``host`` for a guest: ``lab.guest("g1").interface("eth0")``."""
        self.verbs.guest(name)
        return self.host(name)

    def host_of(self, guest: str) -> str:
        """The name of the host that a guest is on."""
        return self.verbs.guest(guest).current.host.name

    def netdevs(self, guest: str) -> tuple[LinkState, ...]:
        """A guest's netdevs, as its netlink messages have told them so far."""
        return self.verbs.guest(guest).links.now()

    def pair(self, guest: str, standby: str) -> PairView:
        """The netdevs of a failover pair by role (failover, standby, primary), as above."""
        return view(self.netdevs(guest), self._pair(guest, standby))

    @contextmanager
    def traffic(self, **streams: Stream) -> Iterator[Mapping[str, StreamMetrics]]:
        """Streams that flow for as long as the block lasts.

        The mapping is filled when the block has ended and the waiting times are over.
        RecordError where nothing can be told of a stream (a record that is not whole, a
        sender that missed its rate): its counts would prove nothing.
        """
        for name, terms in streams.items():
            if terms.tcp is not None:
                raise InputError(
                    f"stream {name}: this counts numbered packets, of which TCP has none",
                    hint="write a case for a TCP stream",
                )
            if self.run_dir.sends(name).exists():
                raise InputError(f"stream {name}: was recorded already; give it another name")
        counts: dict[str, StreamMetrics] = {}
        traffic = Traffic(self.lab, streams, self.run_dir)
        try:
            traffic.start()
            threading.Event().wait(max((one.before for one in streams.values()), default=0.0))
            yield counts
            traffic.finish()
        except BaseException:
            traffic.abort()
            raise
        for name, terms in streams.items():
            found = measured(self.run_dir, name, terms, self.lab.facts.facts)
            doubt = doubt_about(found, terms)
            if found.metrics is None or doubt:
                raise RecordError(f"stream {name}: nothing can be told: {doubt}")
            counts[name] = found.metrics

    def _pair(self, guest: str, standby: str) -> Pair:
        pairs = self.verbs.guest(guest).plan.pairs
        for pair in pairs:
            if pair.standby == standby:
                return Pair(guest, pair.standby, pair.primary, pair.mac.lower())
        there = ", ".join(pair.standby for pair in pairs) or "none at all"
        raise InputError(f"{guest}: no pair with standby {standby!r}", hint=f"there are: {there}")


# -- the fixture ---------------------------------------------------------------------------


def _topology_path(config: pytest.Config, marker: pytest.Mark) -> Path:
    if len(marker.args) != 1 or marker.kwargs or not isinstance(marker.args[0], str | Path):
        raise InputError('wanted one file: @pytest.mark.topology("topologies/flat-pair.yaml")')
    return Path(config.rootpath, marker.args[0])


def marks_of_test(config: pytest.Config, marker: pytest.Mark) -> tuple[pytest.MarkDecorator, ...]:
    """How a test with this topology is marked; wrong input is told when the test is set up."""
    try:
        return marks_for(load(_topology_path(config, marker)))
    except InputError:
        return (pytest.mark.lab,)


def lab_of_test(
    request: pytest.FixtureRequest, temporary: pytest.TempPathFactory
) -> Iterator[LabUnderTest]:
    """The generator behind the ``lab`` fixture. A failed clean-up is an error of the test."""
    run_dir: RunDir | None = None
    with ExitStack() as ending:
        try:
            marker = request.node.get_closest_marker("topology")
            if marker is None:
                raise InputError(
                    "the `lab` fixture needs a topology",
                    hint='mark the test: @pytest.mark.topology("topologies/flat-pair.yaml")',
                )
            path = _topology_path(request.config, marker)
            plan = make_plan(choose(load(path), choices_of(request.config), str(path)))
            run_dir = run_dir_for(request.config, request.node.name, temporary.mktemp)
            run_dir.write(RunDir.PLAN, as_json(plan))
            run_dir.write(RunDir.TOPOLOGY, path.read_bytes())
            progress = Progress(sys.stderr)
            facts = FactLog(run_dir.facts_path)
            ending.callback(facts.close)
            lab = Lab(
                plan,
                LabImages(Store(), progress.say),
                facts,
                logs=run_dir.file(RunDir.LOGS),
                progress=progress,
                name=name_for(request.node.name),
                warm=request.config.getoption("boot") == "warm",
            )
            service = LabService(lab, run_dir=str(run_dir.path), title=request.node.nodeid)
            ending.callback(service.close)
            request.node.user_properties.append(("run directory", str(run_dir.path)))
            ending.callback(_down, lab, run_dir)
            lab.up()
            settle(lab)
        except HarnessError as error:
            pytest.fail(told(error, run_dir), pytrace=False)
        yield LabUnderTest(lab, run_dir)
        failed = request.node.stash.get(_FAILED, "")
        if failed and request.config.getoption("lab_keep"):
            hold(request.config, lab, failed)


def _down(lab: Lab, run_dir: RunDir) -> None:
    try:
        lab.down()
        keep_timings(lab.progress, run_dir)
    except HarnessError as error:
        pytest.fail(told(error, run_dir), pytrace=False)


def note_failure(item: pytest.Item, report: pytest.TestReport) -> None:
    """Remember that the call of a test failed, for ``--lab-keep``."""
    if report.failed:
        item.stash[_FAILED] = report.longreprtext
