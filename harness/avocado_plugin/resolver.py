"""A reference to avocado's tests: every case file is a test for each of its topologies.

``FILE`` gives all of them, ``FILE:TOPOLOGY`` one. A case with mistakes in it is a test too,
one that ends with an error: avocado would leave out a file of a directory that does not
resolve, and the job would pass without it.

Neighbours: ``runner`` runs what is resolved here.
"""

from __future__ import annotations

from pathlib import Path

from avocado.core.nrunner.runnable import Runnable
from avocado.core.plugin_interfaces import Resolver
from avocado.core.references import reference_split
from avocado.core.resolver import ReferenceResolution, ReferenceResolutionResult, check_file

from harness.avocado_plugin.runner import KIND

_SUFFIXES = (".yaml", ".yml")


class HarnessCaseResolver(Resolver):  # type: ignore[misc]  # avocado has no types
    """The entry point ``harness-case`` of ``avocado.plugins.resolver``."""

    name = KIND
    description = "Test resolver for cases of the failover harness (YAML)"

    def resolve(self, reference: str) -> ReferenceResolution:
        file, topology = reference_split(reference)
        suffix = Path(file).suffix
        if suffix not in _SUFFIXES:
            return self._not_found(reference, f'File name "{file}" does not end with .yaml')
        unfit = check_file(file, reference, suffix=suffix)
        if unfit is not True:
            return unfit
        # Loaded here: avocado imports its resolvers for every command.
        from harness.case import looks_like_case

        if not looks_like_case(Path(file)):
            return self._not_found(reference, f'File "{file}" has no key that a case has')
        return ReferenceResolution(
            reference, ReferenceResolutionResult.SUCCESS, _runnables(file, topology)
        )

    @staticmethod
    def _not_found(reference: str, why: str) -> ReferenceResolution:
        return ReferenceResolution(reference, ReferenceResolutionResult.NOTFOUND, info=why)


def _runnables(file: str, topology: str | None) -> list[Runnable]:
    from harness.case import bind, load_case
    from harness.errors import InputError
    from harness.topology.model import HostKind

    try:
        case = load_case(Path(file))
        names = [topology] if topology else list(case.variants)
        found = []
        for name in names:
            hosts = bind(case, name).topology.hosts.values()
            nested = any(host.kind is HostKind.VM for host in hosts)
            tags = {"nested" if nested else "lab": None}
            found.append(Runnable(KIND, f"{file}:{name}", tags=tags))
    except InputError:
        return [Runnable(KIND, f"{file}:{topology}" if topology else file)]
    return found
