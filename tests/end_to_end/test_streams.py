"""Traffic that does not flow fails the case before the first step."""

from __future__ import annotations

import pytest

from tests.cli.places import Place
from tests.end_to_end.runs import CASE, FLAT, RUN_S

pytestmark = pytest.mark.lab


def test_no_step_is_begun_while_a_stream_does_not_flow(here: Place) -> None:
    # The client is on a network of its own: its subnet is the guest's, its packets go nowhere.
    text = FLAT.read_text(encoding="utf-8").replace(
        "{network: data, address", "{network: far, address"
    )
    assert "network: far" in text
    topology, run = here.folder / "apart.yaml", here.folder / "run"
    topology.write_text(text.replace("networks:\n", "networks:\n  far: {}\n", 1), encoding="utf-8")

    done = here.harness(
        *("run", CASE, "--variant", "flat", "--topology", topology, "--run-dir", run),
        timeout=RUN_S,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED       the traffic flows before step 1" in done.stdout
    assert "the traffic does not flow: stream inbound: client sent " in done.stdout
    assert "none was seen at g1's net1 (10.77.0.2) within 20" in done.stdout
    for stream in ("outbound", "echo"):
        assert f"stream {stream}: " in done.stdout
    assert '"step":"1 migrate"' not in (run / "facts.jsonl").read_text(encoding="utf-8")
