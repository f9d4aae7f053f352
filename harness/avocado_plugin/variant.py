"""The parameters of an avocado variant to options of ``harness run``.

``qemu``, ``guest-kernel``, ``host-kernel``, ``machine`` and ``accelerator`` choose as the
options of these names do (``_`` is as good as ``-``), ``qemu.HOST`` chooses for one host;
``variant`` names the topology of the case; everything else is a parameter of the case.

Neighbours: ``harness.matrix.as_avocado_variants`` writes such variants; ``runner`` reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# As in harness.matrix.avocado_variants, which is not imported here: avocado loads runners
# for every test that it resolves.
_KNOWN, _FINDING = "expect-failed", "expect-finding"
_CHOICES = ("qemu", "guest-kernel", "host-kernel", "machine", "accelerator")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a variant asks for. ``known`` is why the case is known to fail, or empty."""

    options: tuple[str, ...]
    topology: str | None
    known: str
    finding: str | None


def wanted_of(variant: Mapping[str, Any] | None) -> Wanted:
    """What avocado's dump of a variant asks for (``avocado.core.varianter.dump_variant``)."""
    options: list[str] = []
    topology, known, finding = None, "", None
    for name, value in _parameters(variant).items():
        text = str(value)
        plain = name.replace("_", "-")
        choice, _, host = plain.partition(".")
        if plain == "variant":
            topology = text
        elif plain == _KNOWN:
            known = text
        elif plain == _FINDING:
            finding = text
        elif plain in _CHOICES:
            options += [f"--{plain}", text]
        elif choice == "qemu" and host:
            options += ["--qemu", f"{host}={text}"]
        else:
            options += ["--set", f"{name}={text}"]
    return Wanted(tuple(options), topology, known, finding)


def _parameters(variant: Mapping[str, Any] | None) -> dict[str, object]:
    """Name -> value; of a name that is there twice, the later and so deeper one."""
    found: dict[str, object] = {}
    nodes: Sequence[Any] = (variant or {}).get("variant") or ()
    for _path, environment in nodes:
        for _origin, key, value in environment:
            found[key] = value
    return found
