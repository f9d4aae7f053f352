"""Kernels, file systems and QEMU toolchains, named by the digest of what they are made of.

``Store`` is the way in: recipes (``images/*.yaml``) go in, typed artifacts come out, built
from Debian packages once and kept. Nothing here boots anything: ``vm`` and ``lab`` do.
"""

from harness.images.artifacts import Artifact, GuestImage, HostImage, Kernel, Toolchain
from harness.images.cache import Entry, Manifest
from harness.images.recipe import Recipe, load_recipe
from harness.images.store import Store
from harness.images.tools import Progress

__all__ = [
    "Artifact",
    "Entry",
    "GuestImage",
    "HostImage",
    "Kernel",
    "Manifest",
    "Progress",
    "Recipe",
    "Store",
    "Toolchain",
    "load_recipe",
]
