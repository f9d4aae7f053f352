"""A run directory is written whole, read back the same, and says what is wrong with it."""

from __future__ import annotations

import pathlib

import pytest

from harness.errors import InputError, RecordError
from harness.record import QemuVersion, RunDir, RunInfo, Versions
from harness.versions import QemuWords

INFO = RunInfo(
    claim="a claim",
    case_file="testcases/a.yaml",
    topology_file="topologies/b.yaml",
    variant="flat",
    settings={"rate": "5/s", "count": 3, "on": True},
    started="2026-11-21T10:00:00+00:00",
)
VERSIONS = Versions(
    harness="0.1.0",
    qemu=(
        QemuVersion(
            guest="g1",
            host="alpha",
            version="10.0.13",
            words=QemuWords(statuses=("none", "setup"), events=("STOP",)),
        ),
    ),
    kernels={"g1": "6.12.107"},
)


def test_what_was_written_is_read_back(tmp_path: pathlib.Path) -> None:
    run = RunDir.create(tmp_path / "run")

    run.write_info(INFO)
    run.write_versions(VERSIONS)

    again = RunDir.open(tmp_path / "run")
    assert again.info() == INFO
    assert again.versions() == VERSIONS


def test_a_record_from_before_qemus_were_asked_for_their_words_is_read(
    tmp_path: pathlib.Path,
) -> None:
    run = RunDir.create(tmp_path / "run")
    run.write_info(INFO)
    old = '{"harness": "0.1.0", "qemu": [{"guest": "g1", "host": "alpha", "version": "10.0.13"}]}'
    run.write(RunDir.VERSIONS, old)

    (qemu,) = run.versions().qemu

    assert qemu.words == QemuWords()


def test_a_run_never_takes_over_a_directory_that_exists(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="this exists already"):
        RunDir.create(tmp_path)


def test_a_directory_that_is_no_run_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="not a run directory"):
        RunDir.open(tmp_path)
    with pytest.raises(InputError, match="no such run directory"):
        RunDir.open(tmp_path / "none")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: pathlib.Path) -> None:
    run = RunDir.create(tmp_path / "run")
    run.write("report.txt", "old")
    (run.path / "plan.json").mkdir()  # a rename over a directory fails

    with pytest.raises(IsADirectoryError):
        run.write("plan.json", "new")

    assert run.file("report.txt").read_text() == "old"
    assert not [path for path in run.path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (None, "versions.json: the run has no such record"),
        ('{"harness": ', "versions.json: Invalid JSON"),
        ('{"harness": "1", "extra": 2}', "versions.json: extra: "),
    ],
)
def test_a_damaged_record_cannot_be_told(
    content: str | None, wanted: str, tmp_path: pathlib.Path
) -> None:
    run = RunDir.create(tmp_path / "run")
    if content is not None:
        run.write("versions.json", content)

    with pytest.raises(RecordError) as caught:
        run.versions()

    assert wanted in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_record_outside_of_the_run_is_never_read(tmp_path: pathlib.Path) -> None:
    run = RunDir.create(tmp_path / "run")

    with pytest.raises(RecordError, match="a file outside of the run"):
        run.recorded("../secret")
    assert run.recorded("streams/in.sends") == run.path / "streams" / "in.sends"


def test_a_stream_has_its_two_records_by_name(tmp_path: pathlib.Path) -> None:
    run = RunDir.create(tmp_path / "run")

    assert run.sends("inbound").relative_to(run.path) == pathlib.Path("streams/inbound.sends")
    assert run.arrivals("inbound").parent.is_dir()
