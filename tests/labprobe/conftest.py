"""labprobe is compiled once, as it is for the guest image, and run in namespaces."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.labprobe.guests import Guest, guest
from tests.traffic.namespaces import Side, veth_pair

SOURCE = Path(__file__).parents[2] / "images" / "guest" / "labprobe.c"


@pytest.fixture(scope="session")
def labprobe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("labprobe") / "labprobe"
    subprocess.run(
        ["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", str(made),
         str(SOURCE)],
        check=True, timeout=120,
    )  # fmt: skip
    return made


@pytest.fixture
def pair() -> Iterator[tuple[Side, Side]]:
    """Two namespaces; the second plays the guest."""
    with veth_pair() as sides:
        yield sides


@pytest.fixture
def one(labprobe: Path, pair: tuple[Side, Side], tmp_path: Path) -> Iterator[Guest]:
    with guest(labprobe, pair[1], tmp_path / "port") as running:
        yield running
