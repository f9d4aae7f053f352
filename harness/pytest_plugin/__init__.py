"""The pytest plugin: cases are tests, and Python tests get a lab.

* Every ``*.yaml`` in a directory called ``testcases`` (and every YAML file that is named on
  the command line) is collected, one test per topology: ``migrate.yaml::nested``. The run is
  the test's set-up, the verdict its call: a lab that broke is an *error*, an expectation that
  did not hold, or cannot be told, a *failure*.
* ``@pytest.mark.topology("topologies/flat-pair.yaml")`` and the fixture ``lab`` give a
  Python test a lab that is up (``harness.pytest_plugin.lab.LabUnderTest``).
* ``--qemu``, ``--guest-kernel``, ``--host-kernel``, ``--machine`` and ``--accelerator`` choose
  in the place of what the topologies say, for cases and Python tests; with ``--matrix FILE``
  each case is a test for every cell: ``migrate.yaml::flat[qemu-11+kernel-7]``.
* ``--boot cold`` boots every machine, instead of loading saved states.
* A case is marked by its ``group``: ``-m hotplug``.
* Tests are marked ``nested`` where the topology has hosts to boot, ``lab`` otherwise.
* With pytest-xdist (``-n 2``) labs run side by side as far as the machine carries them; one
  that has to wait says for what (``harness.lab.claims``). Names and directories never collide.

Run directories are always kept: below ``--lab-dir``, or in pytest's own temporary directory
(which keeps those of the last three sessions).
"""

# Loaded in every pytest session of an environment that has this package: the rooms are
# imported only when there is a case or a lab (and after coverage has begun to count).

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.pytest_plugin.lab import LabUnderTest

_CASES = "testcases"
# Those of harness.case.catalogue, which is not imported here; a test holds them together.
_GROUPS = (
    "startup", "restrictions", "hotplug", "migration", "guests", "orchestration", "filtering",
    "links", "removal",
)  # fmt: skip
_CHOOSING = ("qemu", "guest_kernel", "host_kernel", "machine", "accelerator", "matrix")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("harness", "labs and cases")
    group.addoption(
        "--lab-dir",
        type=Path,
        metavar="DIR",
        help="where run directories are made (default: pytest's temporary directory)",
    )
    group.addoption(
        "--lab-keep",
        action="store_true",
        help="after a failure, keep the lab up until Enter",
    )
    group.addoption(
        "--case-set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the cases that are run",
    )
    group.addoption(
        "--case-variant",
        action="append",
        default=[],
        metavar="NAME",
        help="only this one of each case's topologies; may be given again",
    )
    group.addoption(
        "--qemu",
        action="append",
        default=[],
        metavar="[HOST=]REF",
        help="the QEMU that runs guests (on that host only)",
    )
    group.addoption("--guest-kernel", metavar="REF", help="the kernel of every guest")
    group.addoption("--host-kernel", metavar="REF", help="the kernel of every host VM")
    group.addoption("--machine", metavar="TYPE", help="the machine type of every guest")
    group.addoption("--accelerator", choices=["kvm", "tcg"], help="the accelerator of every guest")
    group.addoption(
        "--boot",
        choices=["warm", "cold"],
        default="warm",
        help="cold: boot every machine; warm (default): load saved states, unless a case says cold",
    )
    group.addoption(
        "--matrix", type=Path, metavar="FILE", help="run each case in every cell of this matrix"
    )


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "lab: boots real QEMU guests in namespaces (seconds)",
        "nested: boots nested host VMs with real vfio (a minute or more)",
        "slow: a case that says of itself that it takes long",
        "topology(path): the topology of the `lab` fixture, relative to pytest's rootdir",
        *(f"{name}: cases of the catalogue's group" for name in _GROUPS),
    ):
        config.addinivalue_line("markers", marker)
    if any(config.getoption(name) for name in _CHOOSING):
        from harness.pytest_plugin.choosing import read_options

        read_options(config)
    if config.getoption("lab_keep") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--lab-keep waits for Enter, which workers (-n) never see")


def pytest_report_header(config: pytest.Config) -> list[str]:
    if not any(config.getoption(name) for name in _CHOOSING):
        return []
    from harness.pytest_plugin.choosing import header

    return header(config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix not in (".yaml", ".yml"):
        return None
    if _CASES not in file_path.parent.parts[-1:] and not parent.session.isinitpath(file_path):
        return None
    from harness.pytest_plugin.cases import CaseFile

    return CaseFile.from_parent(parent, path=file_path)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a Python test by its topology, so that ``-m`` selects it like a case."""
    marker = item.get_closest_marker("topology")
    if marker is None:
        return
    from harness.pytest_plugin.lab import marks_of_test

    for mark in marks_of_test(item.config, marker):
        item.add_marker(mark)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a Python test failed: its lab may have to be kept."""
    report = yield
    if call.when == "call" and item.get_closest_marker("topology") is not None:
        from harness.pytest_plugin.lab import note_failure

        note_failure(item, report)
    return report


@pytest.fixture(name="lab")  # the module of that name would take its place in this package
def _lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabUnderTest]:
    """A lab that is up and settled, from ``@pytest.mark.topology(FILE)``; down afterwards."""
    from harness.pytest_plugin.lab import lab_of_test

    yield from lab_of_test(request, tmp_path_factory)
