"""What is reported against what netem was told to do, on a kernel that has it.

The machine that runs the tests may lack netem, as a container's often does; the stand-in's
kernel has it. The sender and the capture are the same programs as everywhere, in two
namespaces over there.
"""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import harness
from harness.measure import StreamMetrics, measure_stream
from harness.reach.deadline import Deadline
from harness.traffic.arrivals import read_arrivals
from harness.traffic.client import Capture, Sender
from harness.traffic.records import read_records
from harness.traffic.stream import StreamSpec
from tests.end_to_end_ssh.standin import StandIn
from tests.traffic.streams import UDP, UDP6, trace

pytestmark = pytest.mark.nested

HOME = "/root/netem"
VERSIONS = pytest.mark.parametrize("spec", [UDP, UDP6], ids=["ipv4", "ipv6"])


@dataclass(frozen=True)
class Wire:
    """``va`` in namespace ``one``, ``vb`` in ``two``: a veth pair on the stand-in."""

    standin: StandIn

    def spawn(self, argv: Sequence[str], *, space: str) -> subprocess.Popen[bytes]:
        """A program of the harness over there, its pipes here."""
        # Given: env PYTHONPATH=... python -m module, with the paths of this machine.
        module = argv[argv.index(sys.executable) + 1 :]
        inside = ["ip", "netns", "exec", space, "env", f"PYTHONPATH={HOME}", "python3", *module]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            ["ssh", "-p", str(self.standin.port), "-i", str(self.standin.key),
             "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "LogLevel=ERROR", "root@127.0.0.1", shlex.join(inside)],
            stdin=pipe, stdout=pipe, stderr=pipe,
        )  # fmt: skip

    def netem(self, *words: str) -> None:
        self.standin.eye.run(
            ["tc", "-n", "one", "qdisc", "replace", "dev", "va", "root", "netem",
             "limit", "10000", *words]
        )  # fmt: skip

    def statistics(self) -> dict[str, int]:
        """What the qdisc itself counts: packets, drops, backlog..."""
        said = self.standin.eye.run(["tc", "-n", "one", "-s", "-j", "qdisc", "show", "dev", "va"])
        (qdisc,) = json.loads(said.stdout)
        return {name: value for name, value in qdisc.items() if isinstance(value, int)}

    def await_empty(self) -> None:
        deadline, pause = Deadline(30), threading.Event()
        while held := self.statistics()["qlen"]:
            deadline.raise_if_expired("netem's queue empty", f"{held} packets")
            pause.wait(0.1)


@pytest.fixture(scope="module")
def programs(standin: StandIn) -> Iterator[None]:
    """The traffic programs over there: what they import is in Python's own library."""
    top = Path(harness.__file__).parent
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path in (top / "__init__.py", top / "errors.py", *(top / "traffic").glob("*.py")):
            tar.add(path, f"harness/{path.relative_to(top)}")
    eye = standin.eye
    eye.make_directory(HOME)
    eye.run(["modprobe", "sch_netem"])
    eye.run(["python3", "-c", "import sys, tarfile\n"
             "tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall(sys.argv[1])", HOME],
            input=archive.getvalue())  # fmt: skip
    yield
    eye.run(["rm", "-r", HOME])


@pytest.fixture
def wire(standin: StandIn, programs: None) -> Iterator[Wire]:
    eye = standin.eye
    try:
        for words in (
            "netns add one", "netns add two",
            "-n one link add va type veth peer name vb netns two",
            # Nothing but the stream may go through netem: no solicitations, no reports.
            "netns exec one sysctl -q net.ipv6.conf.va.disable_ipv6=1",
            "netns exec two sysctl -q net.ipv6.conf.vb.disable_ipv6=1",
            "-n one link set va up", "-n two link set vb up",
        ):  # fmt: skip
            eye.run(["ip", *words.split()])
        yield Wire(standin)
    finally:
        for name in ("one", "two"):
            eye.run(["ip", "netns", "delete", name], check=False)


def measured(wire: Wire, spec: StreamSpec, place: Path) -> StreamMetrics:
    """The stream sent and captured over there, its records measured here."""
    eye = wire.standin.eye
    eye.make_directory(str(place))
    sends, capture_file = place / "a.sends", place / "a.pcapng"
    capture = Capture.start(
        lambda argv: wire.spawn(argv, space="two"), interface="vb", path=capture_file,
        promiscuous=True,
    )  # fmt: skip
    try:
        sending = Sender.start(
            lambda argv: wire.spawn(argv, space="one"), spec, interface="va", sends=sends
        )
        assert sending.join(60).failed == 0
        wire.await_empty()
        assert capture.stop().dropped == 0
    finally:
        capture.kill()
    for file in (sends, capture_file):
        eye.get(str(file), file)
    eye.run(["rm", "-r", str(place)])
    arrivals = read_arrivals(capture_file, [spec])
    return measure_stream(
        trace(read_records(sends)), trace(arrivals.records[spec.name]), rate=spec.rate,
        tmax_ns=10_000_000_000, clock_err_ns=arrivals.clock_err_ns,
    )  # fmt: skip


@VERSIONS
def test_reported_loss_is_what_netem_says_it_dropped(
    wire: Wire, tmp_path: Path, spec: StreamSpec
) -> None:
    spec = replace(spec, rate=200.0, count=300)
    wire.netem("loss", "20%")
    found = measured(wire, spec, tmp_path)
    assert found.sent == 300
    assert found.lost == wire.statistics()["drops"] > 0


@VERSIONS
def test_every_copy_that_netem_made_is_reported(
    wire: Wire, tmp_path: Path, spec: StreamSpec
) -> None:
    spec = replace(spec, rate=200.0, count=150)
    wire.netem("duplicate", "100%")
    found = measured(wire, spec, tmp_path)
    assert (found.sent, found.lost, found.distinct) == (150, 0, 150)
    assert found.extra_copies == found.copies.duplicated == 150


@VERSIONS
def test_what_netem_reordered_is_reported_packet_by_packet(
    wire: Wire, tmp_path: Path, spec: StreamSpec
) -> None:
    # tc-netem(8), `gap N`: every Nth packet goes at once, the others wait for longer than the
    # stream lasts. So all Nth ones come first, in their order, and all others after them.
    spec = replace(spec, rate=200.0, count=100)
    wire.netem("delay", "3s", "reorder", "100%", "gap", "5")
    found = measured(wire, spec, tmp_path)
    at_once = list(range(4, 100, 5))
    assert (found.sent, found.lost, found.extra_copies) == (100, 0, 0)
    assert found.order.seq.tolist() == [k for k in range(100) if k not in at_once]
    assert found.reordered == 80
