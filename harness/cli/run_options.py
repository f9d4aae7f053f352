"""How a bound case is run: what `run`, `gate`, `bisect` and a matrix tell `cases.run_one`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.case import BoundCase, Scalar
from harness.record import RunDir

if TYPE_CHECKING:  # it takes its time to load
    from harness.report import Result


@dataclass(frozen=True, slots=True)
class RunOptions:
    """``case``: the file, as the user named it. ``keep``: leave the lab up until Ctrl-C."""

    case: Path
    boot: Literal["warm", "cold"] = "warm"
    quiet: bool = False
    keep: bool = False


RunOne = Callable[[RunOptions, BoundCase, dict[str, Scalar], RunDir], "Result"]
