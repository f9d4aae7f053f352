"""One stand-in for a real machine, for all tests in here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.lab.capacity import CPUS
from harness.reach.deadline import Deadline
from tests.end_to_end_ssh.standin import Found, StandIn, booted


@pytest.fixture(scope="package", autouse=True)
def room_for_all() -> Iterator[None]:
    """The stand-in stays up beside the labs of these tests, which would wait for it to go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CPUS, "64")
        yield


@pytest.fixture(scope="package")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """A machine that nobody has touched since it booted, but its eye."""
    with booted(tmp_path_factory.mktemp("standin")) as machine:
        yield machine


@pytest.fixture
def found(standin: StandIn) -> Iterator[Found]:
    """How the machine was before the test; it has to be so after it."""
    former = standin.found()
    yield former
    standin.await_found(former, Deadline(3))
