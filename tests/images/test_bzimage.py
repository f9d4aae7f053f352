"""Finding the ELF kernel in a bzImage, on images made here."""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess

import pytest

from harness.errors import ImageError
from harness.images.bzimage import extract_vmlinux

KERNEL = b"\x7fELF" + bytes(range(256)) * 40


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout


def bzimage(
    payload: bytes,
    *,
    setup_sectors: int = 27,
    version: int = 0x20F,
    size: int | None = None,
    release: str = "",
) -> bytes:
    """A bzImage as the kernel's build makes it: the payload ends with its unpacked size."""
    payload += struct.pack("<I", len(KERNEL) if size is None else size)
    image = bytearray((((setup_sectors or 4) + 1) * 512) + 100)
    image[0x1F1] = setup_sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, version)
    struct.pack_into("<II", image, 0x248, 100, len(payload))
    if release:
        struct.pack_into("<H", image, 0x20E, 0x400)
        image[0x600 : 0x600 + len(release) + 5] = f"{release} (me)"[: len(release) + 5].encode()
    return bytes(image) + payload + b"\0" * 64


@pytest.mark.parametrize(
    "compress", [lzma.compress, zstd, gzip.compress], ids=["xz", "zstd", "gzip"]
)
@pytest.mark.parametrize("setup_sectors", [27, 0], ids=["27 sectors", "0 means 4"])
def test_the_kernel_comes_out_as_it_went_in(compress, setup_sectors: int) -> None:  # type: ignore[no-untyped-def]
    image = bzimage(compress(KERNEL), setup_sectors=setup_sectors)

    assert extract_vmlinux(image, what="kernel k") == KERNEL


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", "not a bzImage"),
        (b"\x7fELF" + b"\0" * 4096, "not a bzImage"),
        (bzimage(lzma.compress(KERNEL), version=0x207), "boot protocol 2.07 is too old"),
        (bzimage(lzma.compress(KERNEL))[:-200], "cut off"),
        (bzimage(b"\x89LZO\x00" + b"\0" * 64), "begins with 894c5a4f"),
        (bzimage(b"\x1f\x8b\x08\x00" + b"\0" * 64), "gzip payload is damaged"),
        (bzimage(b"\xfd7zXZ\x00" + b"\1" * 64), "damaged"),
        (bzimage(b"\x28\xb5\x2f\xfd" + b"\1" * 64), "zstd ended with status 1"),
        (bzimage(lzma.compress(KERNEL), size=7), "7 promised"),
        (bzimage(lzma.compress(b"no ELF"), size=6), "damaged"),
    ],
)
def test_what_is_no_good_is_named(image: bytes, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        extract_vmlinux(image, what="kernel k")

    assert caught.value.message.startswith("kernel k: ")
    assert message in str(caught.value)
