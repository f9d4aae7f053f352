"""What a Python test may ask of a lab's traffic."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from harness.case import Stream
from harness.errors import InputError
from harness.lab import Lab
from harness.pytest_plugin.lab import LabUnderTest
from harness.record import RunDir


def test_a_tcp_stream_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    given = {"from": "client", "to": "g1", "tcp": {"rate": "8Mbit/s"}}
    lab = LabUnderTest(cast(Lab, None), RunDir.create(tmp_path / "run"))

    with (
        pytest.raises(InputError, match="stream down: this counts numbered packets"),
        lab.traffic(down=Stream.model_validate(given)),
    ):
        pass
