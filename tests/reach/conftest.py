"""A sandbox with one machine in it, for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox("test") as made:
        yield made


@pytest.fixture
def machine(sandbox: Sandbox) -> Iterator[NamespaceMachine]:
    with NamespaceMachine(sandbox, sandbox.namespace("alpha")) as made:
        yield made
