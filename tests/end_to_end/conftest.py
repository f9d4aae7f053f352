from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.places import Place, place
from tests.end_to_end.runs import Passed, run_first_case


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Passed:
    """The first case, run once on the flat lab; several tests look at what it left."""
    with place(tmp_path_factory.mktemp("first-case")) as here:
        return run_first_case(here)
