"""Cells as variants for avocado: ``avocado run --json-variants-load FILE``.

The format is that of ``avocado variants --json-variants-dump`` (avocado 69 and newer);
``harness.avocado_plugin`` reads the parameters back.
"""

from __future__ import annotations

import json

from harness.matrix.cells import Matrix

KNOWN, FINDING = "expect-failed", "expect-finding"
"""Parameters of a cell in which the case is known to fail: the reason, and the finding."""


def as_avocado_variants(matrix: Matrix) -> str:
    """The cells as JSON."""
    variants = []
    for cell in matrix.cells:
        parameters: dict[str, str] = {}
        for name, value in cell.choices.given().items():
            if isinstance(value, str):
                parameters[name] = value
            else:
                parameters |= {f"qemu.{host}": ref for host, ref in value.items()}
        if cell.variant is not None:
            parameters["variant"] = cell.variant
        known = matrix.known_of(cell)
        if known is not None:
            parameters[KNOWN] = known.reason
            if known.finding:
                parameters[FINDING] = known.finding
        name = f"{cell.variant}-{cell.id}" if cell.variant else cell.id
        variants.append(
            {
                "paths": ["/"],
                "variant_id": name,
                "variant": [["/", [["/", key, text] for key, text in parameters.items()]]],
            }
        )
    return json.dumps(variants, indent=2) + "\n"
