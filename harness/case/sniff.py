"""Whether a YAML file is meant to be a case, before it is read as one.

A case with a mistake in it still has to be taken for a case, so that its problems are told.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

# Keys that only a case has; a topology has none of them.
_CASE = re.compile(r"^(case|topology|topologies|traffic|steps|expect|gate)\s*:", re.MULTILINE)
_ENOUGH = 1 << 20


def looks_like_case(path: Path) -> bool:
    """Whether the file at ``path`` has a key at its top that only cases have."""
    with contextlib.suppress(OSError, UnicodeDecodeError), path.open(encoding="utf-8") as file:
        return _CASE.search(file.read(_ENOUGH)) is not None
    return False
