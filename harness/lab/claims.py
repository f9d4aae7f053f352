"""Which labs may be on this machine at the same time: first come, first served.

Each lab has a claim: a numbered file that says what the lab needs, locked for as long as the
lab's process has it open. A lab goes up when its own needs and those of all claims with lower
numbers fit into the machine. Since a new claim gets the highest number, and claims only ever
go away, what is up at one time always fits, and no lab is overtaken.

There is no daemon. A lock ends with its process, whatever ended that; the file it leaves is
removed by the next one to look. Labs of one user share a directory; other users have others.

Not here: how much a lab needs (``harness.plan.needs``) and how much there is (``capacity``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import Interrupted, LabError
from harness.plan.model import Needs
from harness.reach.deadline import Deadline

_LOOK_S = 0.2
"""How often a lab that waits looks again: nobody is told when a lock goes with its process."""

_LOCK = "lock"


class _Content(BaseModel):
    """What is in the file of a claim."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lab: str
    pid: int
    cpus: float
    memory: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A claim of a lab, as everybody sees it."""

    number: int
    lab: str
    pid: int
    needs: Needs

    def __str__(self) -> str:
        return f"lab {self.lab} of process {self.pid}"


class Claim:
    """A lab's own claim; it holds until ``release``, or the end of this process."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path, self._handle = path, handle

    @property
    def number(self) -> int:
        return int(self._path.name)

    def release(self) -> None:
        """Let others have what this claim was for."""
        self._path.unlink(missing_ok=True)
        os.close(self._handle)


def default_directory() -> Path:
    """Where the labs of this user meet: gone with the next boot, as the labs are."""
    run = Path("/run")
    base = run if os.access(run, os.W_OK) else Path(tempfile.gettempdir())
    return base / f"failover-harness-{os.geteuid()}"


class Claims:
    """The claims in one directory. Safe for several threads and processes."""

    def __init__(self, directory: Path, capacity: Needs) -> None:
        self._directory = directory
        self._capacity = capacity

    def take(
        self,
        lab: str,
        needs: Needs,
        *,
        deadline: Deadline,
        cancel: Event,
        say: Callable[[str], None],
    ) -> Claim:
        """Claim what ``lab`` needs, and wait until it is there; ``say`` hears what for.

        A lab that wants more processors than there are waits until it is alone. LabError where
        it wants more memory than there is, DeadlineExceeded, or Interrupted by ``cancel``.
        """
        if needs.memory > self._capacity.memory:
            raise LabError(
                f"lab {lab}: needs {_size(needs.memory)} of memory, and labs may take "
                f"{_size(self._capacity.memory)} of this machine",
                hint="less `memory:` or fewer machines in the topology; HARNESS_MEMORY=SIZE, "
                "where labs may take more",
            )
        needs = Needs(min(needs.cpus, self._capacity.cpus), needs.memory)
        claim = self._enter(lab, needs)
        try:
            self._await_turn(lab, claim.number, deadline, cancel, say)
        except BaseException:
            claim.release()
            raise
        return claim

    def taken(self) -> tuple[Taken, ...]:
        """All claims of labs that live, in the order in which they came."""
        with self._locked():
            return self._living()

    def _await_turn(
        self,
        lab: str,
        number: int,
        deadline: Deadline,
        cancel: Event,
        say: Callable[[str], None],
    ) -> None:
        told = ""
        while True:
            lacks = waits_for([one for one in self.taken() if one.number <= number], self._capacity)
            if not lacks:
                return
            if lacks != told:
                say(f"lab {lab} {lacks}")
                told = lacks
            if cancel.is_set():
                raise Interrupted(f"lab {lab}: interrupted while it was waiting; it {lacks}")
            deadline.raise_if_expired(f"lab {lab}: its turn on this machine", f"it {lacks}")
            cancel.wait(min(_LOOK_S, deadline.left))

    def _enter(self, lab: str, needs: Needs) -> Claim:
        content = _Content(lab=lab, pid=os.getpid(), cpus=needs.cpus, memory=needs.memory)
        with self._locked():
            path = self._directory / str(1 + max((one.number for one in self._living()), default=0))
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                os.write(handle, content.model_dump_json().encode())
            except BaseException:
                path.unlink(missing_ok=True)
                os.close(handle)
                raise
        return Claim(path, handle)

    def _living(self) -> tuple[Taken, ...]:
        """The claims whose processes live; files of others are removed. Under the lock."""
        found = []
        for path in self._directory.iterdir():
            if not path.name.isdigit():
                continue
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    found.append(_read(path, file.read()))
                else:
                    path.unlink()
        return tuple(sorted(found, key=lambda one: one.number))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time counts or enters; only for moments, so that nobody has to wait long."""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            if self._directory.stat().st_uid != os.geteuid():
                raise LabError(f"{self._directory}: belongs to another user", hint="remove it")
            handle = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)
        except OSError as error:
            raise LabError(
                f"{self._directory}: labs cannot be counted there: {error.strerror}",
                hint="it has to be a directory that this user can write to",
            ) from error


def _read(path: Path, data: bytes) -> Taken:
    try:
        content = _Content.model_validate_json(data)
    except ValidationError as error:
        raise LabError(f"{path}: is in use and not a lab's claim", hint="remove it") from error
    return Taken(int(path.name), content.lab, content.pid, Needs(content.cpus, content.memory))


def waits_for(claims: Sequence[Taken], capacity: Needs) -> str:
    """What the last of ``claims`` (in their order) waits for, and who has it; empty if it fits."""
    *others, own = claims
    cpus = sum(one.needs.cpus for one in claims) - capacity.cpus
    memory = sum(one.needs.memory for one in claims) - capacity.memory
    # Who wants nothing waits for nothing: a lab on ssh hosts may be why another is up.
    lacking = [_cpus(cpus)] if cpus > 0 and own.needs.cpus else []
    lacking += [f"{_size(memory)} of memory"] if memory > 0 and own.needs.memory else []
    if not lacking:
        return ""
    who = [
        f"{one} {'waits before it for' if waits_for(claims[: at + 1], capacity) else 'has'} "
        f"{_told(one.needs)}"
        for at, one in enumerate(others)
    ]
    return (
        f"waits for {' and '.join(lacking)}: {', '.join(who)} "
        f"(it needs {_told(own.needs)}; labs may take {_told(capacity)} of this machine)"
    )


def _told(needs: Needs) -> str:
    return f"{_cpus(needs.cpus)} and {_size(needs.memory)}"


def _cpus(count: float) -> str:
    return f"{count:g} CPU{'' if count <= 1 else 's'}"


def _size(octets: int) -> str:
    return f"{octets / (1 << 30):.1f} GiB" if octets >= 1 << 30 else f"{octets >> 20} MiB"
