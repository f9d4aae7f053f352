"""The layout of a run directory and its small typed files.

::

    run.json            RunInfo: case, variant, parameters, when
    case.yaml           the case, as it was
    topology.yaml       the topology, as it was
    plan.json           the plan of the lab, with the exact QEMU arguments
    versions.json       Versions: of the harness and of every QEMU and kernel
    facts.jsonl         everything observed, one fact a line (harness.observe)
    timings.json        Timings: how long the harness was at what; no part of any verdict
    streams/            NAME.sends, NAME.arrivals, NAME.*.seen (harness.traffic.records), of TCP
                        NAME.tcp-sender.json and NAME.tcp-sink.json (harness.traffic.tcprecord)
    logs/ captures/     of machines; pcap files
    result.json         the verdict and the numbers (harness.report.result)
    report.txt, junit.xml

A file is written beside its name and then renamed: an interrupted run leaves no half file
that looks finished (``facts.jsonl`` and the streams grow, and say themselves whether they
are complete).
"""

from __future__ import annotations

import os
import pathlib
import tempfile
from typing import TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
)

from harness.errors import InputError, RecordError
from harness.observe import Fact, read_facts
from harness.versions import QemuWords


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


M = TypeVar("M", bound=_File)


class RunInfo(_File):
    """What was run, so that the copies in the run directory can be bound again."""

    claim: str
    case_file: str = Field(description="the case file as the user named it")
    topology_file: str = Field(description="the topology file as the user named it")
    variant: str = Field(description="which of the case's topologies")
    settings: dict[str, StrictBool | StrictInt | StrictFloat | str] = Field(
        default_factory=dict, description="parameters from the command line"
    )
    choices: dict[str, str | dict[str, str]] = Field(
        default_factory=dict,
        description="QEMU, kernels, machine type and accelerator that were chosen in the place "
        "of what topology.yaml says, by the names of their options",
    )
    started: str = Field(description="date and time in UTC, ISO 8601")


class QemuVersion(_File):
    """The QEMU that ran a guest on a host, as its `query-version` said it."""

    guest: str
    host: str
    version: str
    machine: str = Field("", description="the machine type that QEMU says it is")
    image: str = Field("", description="its entry in `images`")
    words: QemuWords = Field(
        QemuWords(),
        description="what it says it knows (`query-qmp-schema`); empty in older records",
    )


class Versions(_File):
    """Which software took part in a run."""

    harness: str
    qemu: tuple[QemuVersion, ...] = ()
    host_qemu: dict[str, str] = Field(
        default_factory=dict, description="host of kind vm -> the QEMU that runs it"
    )
    host_machine: dict[str, str] = Field(
        default_factory=dict, description="host of kind vm -> the machine type it says it is"
    )
    kernels: dict[str, str] = Field(default_factory=dict, description="machine -> uname -r")
    images: dict[str, str] = Field(
        default_factory=dict, description="image -> its version and the digest of its making"
    )


class StepTiming(_File):
    """One step of the harness; seconds since the harness began."""

    name: str
    begin_s: float
    end_s: float
    after: tuple[str, ...] = Field(description="the steps that had to end before it began")
    failed: bool = False


class Timings(_File):
    """How long the harness was at what, in the order in which the steps ended."""

    steps: tuple[StepTiming, ...]


class RunDir:
    """A run directory, to be written or to be read back."""

    RUN, CASE, TOPOLOGY, PLAN = "run.json", "case.yaml", "topology.yaml", "plan.json"
    VERSIONS, FACTS, RESULT = "versions.json", "facts.jsonl", "result.json"
    REPORT, JUNIT, TIMINGS = "report.txt", "junit.xml", "timings.json"
    STREAMS, LOGS, CAPTURES = "streams", "logs", "captures"

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: pathlib.Path) -> RunDir:
        """A new run directory; InputError if there is something at ``path`` already."""
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            raise InputError(
                f"{path}: a run gets a directory of its own, and this exists already",
                hint="name a directory that does not exist yet",
            ) from None
        except OSError as error:
            raise InputError(f"{path}: cannot be made: {error.strerror}") from error
        run = cls(path)
        for name in (cls.STREAMS, cls.LOGS, cls.CAPTURES):
            (path / name).mkdir()
        return run

    @classmethod
    def open(cls, path: pathlib.Path) -> RunDir:
        """A run directory that is there; InputError if ``path`` is none."""
        if not path.is_dir():
            raise InputError(f"{path}: there is no such run directory")
        if not (path / cls.RUN).is_file():
            raise InputError(
                f"{path}: this is not a run directory (it has no {cls.RUN})",
                hint="`harness run` prints the path of the directory that it writes",
            )
        return cls(path)

    def file(self, name: str) -> pathlib.Path:
        """The path of a file of the run."""
        return self.path / name

    @property
    def facts_path(self) -> pathlib.Path:
        return self.path / self.FACTS

    def sends(self, stream: str) -> pathlib.Path:
        """Where a stream's sends are recorded."""
        return self.path / self.STREAMS / f"{stream}.sends"

    def arrivals(self, stream: str) -> pathlib.Path:
        """Where a stream's arrivals are recorded."""
        return self.path / self.STREAMS / f"{stream}.arrivals"

    def recorded(self, name: str) -> pathlib.Path:
        """The file that a fact names, which has to lie inside the run directory."""
        path = self.path / name
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise RecordError(f"{self.facts_path}: names '{name}', a file outside of the run")
        return path

    def write(self, name: str, content: str | bytes) -> pathlib.Path:
        """Write a file of the run whole or not at all; its path."""
        target = self.path / name
        data = content.encode() if isinstance(content, str) else content
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=self.path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)  # mkstemp makes it 0600; a run is there to be shared
            os.replace(temporary, target)
        except BaseException:
            pathlib.Path(temporary).unlink(missing_ok=True)
            raise
        return target

    def write_info(self, info: RunInfo) -> None:
        self.write(self.RUN, info.model_dump_json(indent=2) + "\n")

    def write_versions(self, versions: Versions) -> None:
        self.write(self.VERSIONS, versions.model_dump_json(indent=2) + "\n")

    def write_timings(self, timings: Timings) -> None:
        self.write(self.TIMINGS, timings.model_dump_json(indent=2) + "\n")

    def timings(self) -> Timings:
        """How long the run was at what; RecordError if that is missing or damaged."""
        return self._read(self.TIMINGS, Timings)

    def info(self) -> RunInfo:
        """What was run; RecordError if that is missing or damaged."""
        return self._read(self.RUN, RunInfo)

    def versions(self) -> Versions:
        """Which software took part; RecordError if that is missing or damaged."""
        return self._read(self.VERSIONS, Versions)

    def facts(self) -> tuple[Fact, ...]:
        """All facts; RecordError names the line that cannot be read."""
        return read_facts(self.facts_path)

    def _read(self, name: str, model: type[M]) -> M:
        path = self.path / name
        try:
            return model.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise RecordError(f"{path}: the run has no such record") from None
        except OSError as error:
            raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise RecordError(
                f"{path}: {place + ': ' if place else ''}{first['msg']}",
                hint="the file was cut off or edited; the run cannot be judged",
            ) from error
