"""A checkout in a temporary directory, with cases for pytest to collect."""

from __future__ import annotations

import textwrap
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLAT = (ROOT / "topologies" / "flat-pair.yaml").read_text(encoding="utf-8")
NESTED = (ROOT / "topologies" / "nested-vfio.yaml").read_text(encoding="utf-8")

_PLUGIN = "harness.pytest_plugin"
_INSTALLED = any(point.value == _PLUGIN for point in entry_points(group="pytest11"))
# A pytest inside a pytest finds the harness imported already, and warns of it.
_QUIET = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
PLUGIN = _QUIET if _INSTALLED else ("-p", _PLUGIN)

TRIO = """\
case: the guest has its trio
topology: ../topologies/flat.yaml
parameters: {driver: e1000e}
expect:
  netdevs:
    start:
      g1: {net1: {failover: net_failover, standby: virtio_net, primary: "${driver}"}}
"""


def make_checkout(folder: Path, **cases: str) -> None:
    """``testcases/NAME.yaml`` for each case, and the topologies that they name."""
    for name, text in {"flat": FLAT, "nested": NESTED}.items():
        write(folder / "topologies" / f"{name}.yaml", text)
    broken = FLAT.replace("memory: 256M", "memory: 256M\n    cpu: no-such-model")
    write(folder / "topologies" / "broken.yaml", broken)
    for name, text in cases.items():
        write(folder / "testcases" / f"{name}.yaml", text)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path
