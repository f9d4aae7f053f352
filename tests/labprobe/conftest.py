"""labprobe is compiled once, as it is for the guest image, and run in namespaces."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

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
