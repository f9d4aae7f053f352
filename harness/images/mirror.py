"""Where Debian packages come from: the archive that this machine's apt is configured with.

No address is written down anywhere in the project. HARNESS_DEBIAN_MIRROR overrides the
choice; it is needed where apt knows no Debian archive (Ubuntu).

Neighbours: ``debian`` tries the candidates in order and keeps the first that has the suite.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harness.errors import MissingDependency
from harness.images.tools import run

ENVIRONMENT = "HARNESS_DEBIAN_MIRROR"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FORMAT = "$(SITE)|$(RELEASE)|$(ORIGIN)|$(LABEL)"
# What apt must keep of the machine's configuration to reach its mirrors at all.
_NETWORK = ("http", "https", "socks", "Retries", "ForceIPv4", "ForceIPv6", "Check-Valid-Until")


@dataclass(frozen=True, slots=True)
class _Source:
    site: str
    release: str
    origin: str
    label: str


def candidates(listing: str) -> tuple[str, ...]:
    """Archives to try, the likeliest first, from ``apt-get indextargets --format FORMAT``.

    An archive that calls itself Debian comes before one whose Release file was not
    downloaded yet (its origin is empty). Others, and Debian's security archive (which holds
    no whole suite), are left out.
    """
    known: list[str] = []
    unknown: list[str] = []
    for line in listing.splitlines():
        fields = line.split("|")
        if len(fields) != 4:
            continue
        source = _Source(*(field.strip() for field in fields))
        if source.site.startswith(("cdrom:", "file:", "copy:")):
            continue
        if source.origin == "Debian" and source.label != "Debian-Security":
            known.append(source.site)
        elif not source.origin and "security" not in source.site + source.release:
            unknown.append(source.site)
    return tuple(dict.fromkeys([*known, *unknown]))


def debian_mirrors() -> tuple[str, ...]:
    """The archives of this machine; MissingDependency says what to do when there is none."""
    override = os.environ.get(ENVIRONMENT, "").strip()
    if override:
        return (override.rstrip("/"),)
    found = candidates(
        run(["apt-get", "indextargets", "--format", FORMAT], what="apt's sources").decode()
    )
    if not found:
        raise MissingDependency(
            "images: the apt of this machine knows no Debian archive",
            hint=f"set {ENVIRONMENT} to the address of a Debian mirror (what comes before "
            "/dists/ there)",
        )
    return found


def keyring() -> Path:
    """The keys that sign Debian's archives; MissingDependency when they are not installed."""
    if not KEYRING.exists():
        raise MissingDependency(
            f"images: {KEYRING} is missing, so that no Debian archive can be trusted",
            hint="apt-get install debian-archive-keyring",
        )
    return KEYRING


def network_settings(dump: str) -> str:
    """The lines of ``apt-config dump`` that say how to reach a mirror (proxies, time-outs)."""
    return "".join(
        f"{line}\n"
        for line in dump.splitlines()
        if line.startswith(tuple(f"Acquire::{name}" for name in _NETWORK))
    )
