"""Kernels, file systems and QEMU toolchains, named by the digest of what they are made of.

``Store`` is the way in: references to recipes (``images/*.yaml``) or to a user's own trees go
in, typed artifacts come out, built once and kept. Nothing here boots a lab: ``vm`` and
``lab`` do.
"""

from harness.images.artifacts import Artifact, GuestImage, HostImage, Kernel, Toolchain
from harness.images.cache import Entry, Manifest
from harness.images.recipe import Recipe, load_recipe
from harness.images.reference import Chosen
from harness.images.reporter import Reporter
from harness.images.states import State, StateKey, States
from harness.images.store import DEFAULTS, Store
from harness.images.tools import Progress

__all__ = [
    "DEFAULTS",
    "Artifact",
    "Chosen",
    "Entry",
    "GuestImage",
    "HostImage",
    "Kernel",
    "Manifest",
    "Progress",
    "Recipe",
    "Reporter",
    "State",
    "StateKey",
    "States",
    "Store",
    "Toolchain",
    "load_recipe",
]
