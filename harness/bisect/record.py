"""A bisect directory: what is looked for, and what became of each revision that was tried.

::

    bisect.json         BisectPlan: what is built and run for each revision
    case.yaml, topology.yaml    as they were: the tree that is bisected may hold them
    step                what git runs for each revision
    git.log             all that git and the steps said
    NN-REVISION/        step.json (Step), build.log, run-1, run-2, ... (run directories)
    result.json         BisectResult

Neighbours: ``harness.record`` writes a run's files; ``text`` shows the result.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import InputError, RecordError

Axis = Literal["qemu", "guest-kernel", "host-kernel"]
"""What is chosen in the place of what the topology says, for each revision."""
_ODD = re.compile("[^A-Za-z0-9._-]+")


class Answer(StrEnum):
    """What is known of a revision. STOP: nothing can be known of any, the input is wrong."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"
    STOP = "stop"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


M = TypeVar("M", bound=_Part)


class BisectPlan(_Part):
    """What is done for each revision. Paths are absolute."""

    tree: str
    good: str = Field(description="commit")
    bad: str = Field(description="commit")
    build: str = Field(description="shell command, run in the tree")
    axis: Axis
    reference: str = Field(description="the image that the build makes, as topologies name it")
    result: str = Field(description="the file or directory that has to be there after a build")
    case_file: str = Field(description="as the user named it")
    variant: str
    settings: dict[str, bool | int | float | str]
    choices: dict[str, str | dict[str, str]]
    working_directory: str = Field(description="what relative paths in the topology start from")
    repeat: int
    expect: str | None


class RunOfStep(_Part):
    """One run of a revision."""

    directory: str
    outcome: str
    reason: str


class Step(_Part):
    """A revision that was tried."""

    revision: str = Field(description="commit, or the name of a version")
    title: str = Field(description="subject of the commit, or where the version is from")
    answer: Answer
    reason: str
    failed: tuple[str, ...] = Field((), description="expectations that failed, and why")
    runs: tuple[RunOfStep, ...] = ()
    build_log: str = ""
    exit_code: int = Field(description="the harness's, for what became of the revision")


class BisectResult(_Part):
    """What was found. Several ``first_bad``: only skipped ones are between good and bad."""

    case_file: str
    of: Literal["commit", "version"]
    first_bad: tuple[str, ...]
    last_good: tuple[str, ...] = Field(description="what the first bad one follows on")
    steps: tuple[Step, ...]
    directory: str

    def step_of(self, revision: str) -> Step | None:
        """What became of a revision, if it was tried."""
        return next((one for one in self.steps if one.revision == revision), None)


class BisectDir:
    """A bisect directory, to be written or read."""

    PLAN, STEP, RESULT, LOG = "bisect.json", "step.json", "result.json", "git.log"
    CASE, TOPOLOGY, SCRIPT, BUILD_LOG = "case.yaml", "topology.yaml", "step", "build.log"

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @classmethod
    def create(cls, path: Path) -> BisectDir:
        """A new one; InputError if there is something at ``path`` already."""
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            raise InputError(
                f"{path}: a bisection gets a directory of its own, and this exists already",
                hint="name a directory that does not exist yet",
            ) from None
        except OSError as error:
            raise InputError(f"{path}: cannot be made: {error.strerror}") from error
        return cls(path)

    def file(self, name: str) -> Path:
        """The path of a file of the bisection."""
        return self.path / name

    def new_step(self, revision: str) -> Path:
        """The directory of the next revision, made: ``03-1f2e3d4c5b6a``."""
        number = sum(1 for _ in self.path.glob("[0-9]*/")) + 1
        place = self.path / f"{number:02}-{_ODD.sub('-', revision)[:40]}"
        place.mkdir()
        return place

    def write(self, part: _Part, name: str, place: Path | None = None) -> None:
        """Write a record of the bisection or, in ``place``, of a step: whole or not at all."""
        target = (place or self.path) / name
        beside = target.with_name(f".{name}")
        beside.write_text(part.model_dump_json(indent=2) + "\n", encoding="utf-8")
        beside.replace(target)

    def plan(self) -> BisectPlan:
        return _read(self.file(self.PLAN), BisectPlan)

    def steps(self) -> tuple[Step, ...]:
        """The revisions that were tried, in their order."""
        return tuple(_read(path, Step) for path in sorted(self.path.glob(f"[0-9]*/{self.STEP}")))


def _read(path: Path, model: type[M]) -> M:
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise RecordError(f"{path}: is damaged: {error.errors()[0]['msg']}") from error
