"""Images on real machines: copied once by ssh and kept there, named by their content.

They stay in ``IMAGE_CACHE`` on the machine after a lab has gone, so that the next one
starts at once: the only thing that a lab leaves behind. An image that no lab has asked for
in ``KEPT_DAYS`` is removed by the next lab; removing the directory while no lab is up is
always safe.

Neighbours: ``receive`` is what runs on the machine; ``images`` knows what belongs to an image.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable
from importlib import resources
from typing import IO, Any, cast

from harness.errors import LabError, ReachError
from harness.lab.host import LabHost
from harness.lab.images import LabImages
from harness.plan.model import ImageRef
from harness.reach.ssh import SshMachine

IMAGE_CACHE = "/var/cache/failover-harness"
KEPT_DAYS = 30

Say = Callable[[str], None]


def copy_images(machine: SshMachine, host: LabHost, images: LabImages, say: Say) -> None:
    """See that what the guests need is on the machine; copy what is not.

    LabError, with what the machine said, where an image cannot be kept there.
    """
    digests = {ref: _digest(images, ref) for ref in host.plan.carried}
    names = {ref: f"{ref.serial}-{digest[:16]}" for ref, digest in digests.items()}
    program = resources.files("harness.lab").joinpath("receive.py").read_text(encoding="utf-8")
    python = ["python3", "-I", "-c", program]
    try:
        argv = [*python, "check", IMAGE_CACHE, str(KEPT_DAYS), *names.values()]
        there = machine.run(argv, timeout=120).stdout.split()
        for ref, name in names.items():
            if name not in there:
                say(f"copying {ref.token} to {host.name}, where it is kept in {IMAGE_CACHE}")
                _send(machine, [*python, "receive", IMAGE_CACHE, name, digests[ref]], images, ref)
            host.image_copied(ref, f"{IMAGE_CACHE}/{name}")
    except ReachError as error:
        evidence = error.evidence or (error.message,)
        raise LabError(
            f"{host.name}: images cannot be kept in {IMAGE_CACHE}", evidence=evidence
        ) from error


def _send(machine: SshMachine, argv: list[str], images: LabImages, ref: ImageRef) -> None:
    def write(into: IO[bytes]) -> None:
        # The lowest level: on a quick network compressing must not be what takes longest.
        deflating = _Deflating(into)
        _pack(images, ref, deflating)
        deflating.finish()

    machine.pour(argv, write)


def _digest(images: LabImages, ref: ImageRef) -> str:
    """SHA-256 of the archive. An image's own digest names what it was made from, and two
    machines may have made different things of it; this names what it is."""
    hashing = _Hashing()
    _pack(images, ref, hashing)
    return hashing.digest.hexdigest()


def _pack(images: LabImages, ref: ImageRef, into: io.RawIOBase) -> None:
    """The archive of an image: the same content always gives the same octets."""
    with tarfile.open(fileobj=cast(IO[bytes], into), mode="w|", bufsize=1 << 18) as tar:
        for path in images.payload(ref):
            tar.add(path, arcname=path.name, filter=_plain)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


class _Hashing(io.RawIOBase):
    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)


class _Deflating(io.RawIOBase):
    def __init__(self, into: IO[bytes]) -> None:
        self._into = into
        self._deflate = zlib.compressobj(1)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._into.write(self._deflate.compress(data))
        return len(data)

    def finish(self) -> None:
        self._into.write(self._deflate.flush())
