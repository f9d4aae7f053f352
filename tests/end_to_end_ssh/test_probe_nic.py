"""``harness probe-nic`` on a machine that is there, by ssh; it is left as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.cli import main
from harness.errors import EXIT_CANNOT_TELL, EXIT_INPUT
from harness.nicprobe.model import Answer, Flow, Place, State
from harness.reach.deadline import Deadline
from tests.end_to_end_ssh.standin import Found, StandIn

pytestmark = pytest.mark.nested


def argv(standin: StandIn, *more: str) -> list[str]:
    where = ["--ssh", f"127.0.0.1:{standin.port}", "--key", str(standin.key)]
    return ["probe-nic", standin.pf, *where, "--quiet", *more]


@pytest.fixture
def without_igbvf(standin: StandIn) -> Iterator[None]:
    """A module that was loaded stays; the other tests here load it themselves."""
    yield
    standin.eye.run(["rmmod", "igbvf"])


def test_a_nic_is_walked_and_left_as_it_was(
    standin: StandIn,
    found: Found,
    without_igbvf: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(argv(standin, "--standby", "bridge", "--json")) == EXIT_CANNOT_TELL
    standin.await_found(found, Deadline(3))

    told = Answer.model_validate_json(capsys.readouterr().out)
    assert [one.reasons for one in told.judged] == [
        ("no frames were counted wire to MAC, no MAC address",)
    ] * 2
    untagged, _ = told.walks
    inside = untagged.count(State.DRIVER, Flow.PF_TO_MAC)
    assert inside is not None
    assert inside.share(Place.VF) >= 0.9


def test_a_nic_in_use_is_refused_and_not_touched(
    standin: StandIn, found: Found, capsys: pytest.CaptureFixture[str]
) -> None:
    standin.eye.links.create_bridge("owners")
    standin.eye.links.set(standin.pf, master="owners")
    former = standin.found()
    try:
        assert main(argv(standin)) == EXIT_INPUT
        standin.await_found(former, Deadline(3))
    finally:
        standin.eye.links.set(standin.pf, master="")
        standin.eye.links.delete("owners")
    said = capsys.readouterr().err
    assert f"127.0.0.1: {standin.pf} is in use: below netdev owners" in said
    assert "--yes" in said
