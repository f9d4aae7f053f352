"""Capabilities and parameters of migrations, as one QEMU is given them.

A QEMU keeps them from one migration to the next. Each migration here has the terms that it
was given and no others: what an earlier one changed is put back first.

Neighbours: ``vm`` asks for it; ``harness.versions`` knows the words of a QEMU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from harness.errors import VmError
from harness.versions import QemuWords
from harness.vm.migration import ALWAYS, Capability, ParameterValue

Execute = Callable[[str, Mapping[str, object] | None], object]


class Terms:
    """What one QEMU was told so far. ``title`` names it in errors."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._capabilities: dict[str, bool] = {}
        self._parameters: dict[str, object] = {}

    def give(
        self,
        execute: Execute,
        words: QemuWords,
        capabilities: Capability,
        parameters: Mapping[str, ParameterValue],
    ) -> None:
        """Set them by ``execute``. VmError for one that this QEMU does not have, by ``words``."""
        wanted = {**dict.fromkeys(self._capabilities, False), **ALWAYS, **capabilities}
        self._must_know("capability", wanted, words.capabilities)
        self._must_know("parameter", parameters, words.parameters)
        given = [{"capability": name, "state": on} for name, on in wanted.items()]
        execute("migrate-set-capabilities", {"capabilities": given})
        self._capabilities |= capabilities
        if new := parameters.keys() - self._parameters.keys():
            now = execute("query-migrate-parameters", None)
            if isinstance(now, Mapping):
                self._parameters |= {name: now[name] for name in new if name in now}
        if terms := {**self._parameters, **parameters}:
            execute("migrate-set-parameters", terms)

    def _must_know(self, kind: str, names: Iterable[str], known: Iterable[str]) -> None:
        there = tuple(known)
        if there and (unknown := [name for name in names if name not in there]):
            raise VmError(
                f"{self._title}: this QEMU has no migration {kind} {', '.join(map(repr, unknown))}",
                hint=f"it says it knows {', '.join(there)}",
            )
