"""Debian versions are sorted as dpkg compares them."""

from __future__ import annotations

import subprocess
from itertools import pairwise

from harness.images.published import version_key

# The oldest first.
SORTED = (
    "1.0~rc1-1", "1.0", "1.0-1~bpo12+1", "1.0-1", "1.0-1+b1", "1.0-1.1", "1.0-10", "1.0+ds-1",
    "1.0a-1", "1.10-1", "1.10.2-1", "6.12.94-1", "7.2+dfsg-7", "1:7.2+dfsg-7+deb12u9",
    "1:7.2+dfsg-7+deb12u18", "1:7.2+dfsg-7+deb12u18+b3", "1:10.0.2+ds-2",
    "1:10.0.13+ds-0+deb13u1", "1:11.1.0~rc2+ds-1", "1:11.1.0+ds-1~bpo13+1", "1:11.1.0+ds-1",
)  # fmt: skip


def test_versions_are_in_the_order_that_dpkg_has() -> None:
    for low, high in pairwise(SORTED):
        told = subprocess.run(["dpkg", "--compare-versions", low, "lt", high], check=False)
        assert told.returncode == 0, f"dpkg: {low} is not before {high}"
    assert [*map(version_key, SORTED)] == sorted(map(version_key, SORTED))
