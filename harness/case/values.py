"""Values with units, as a case file writes them: rates, durations, shares, bounds.

A value that a reader could take for something else has its unit in the text (``1000/s``,
``2s``, ``<= 0.5%``); a bare number is accepted only for a count.

Neighbours: used by ``model``, ``steps`` and ``expect``; ``harness.verdict`` compares with
``Bound``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*s")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|min)")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_TIME_BOUND = re.compile(r"(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*(us|ms|s|min)")
_BOUND = re.compile(r"(<=|>=|==|<|>)?\s*(\d+(?:\.\d+)?)\s*(%)?")
_DSCP = {
    **{f"CS{number}": 8 * number for number in range(8)},
    **{f"AF{klass}{drop}": 8 * klass + 2 * drop for klass in range(1, 5) for drop in range(1, 4)},
    "VA": 44,
    "EF": 46,
    "LE": 1,
}
"""Code points by name: RFC 2474 (CS), 2597 (AF), 3246 (EF), 5865 (VA), 8622 (LE)."""
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}

Operator = Literal["<=", ">=", "==", "<", ">"]

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}


class Part(BaseModel):
    """Base of every part of a case: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


@dataclass(frozen=True, slots=True)
class Bound:
    """A comparison with a count, or with a share of the packets sent (``<= 0.5%``).

    ``value`` is a count, or with ``share`` a ratio from 0 to 1.
    """

    op: Operator
    value: float
    share: bool = False

    def holds(self, count: int, of: int) -> bool:
        """Whether ``count`` (of ``of`` packets sent, more than 0) is within the bound."""
        return self.meets(count / of if self.share else count)

    def meets(self, value: float) -> bool:
        """Whether a count, or with ``share`` a ratio, is within the bound."""
        return _COMPARE[self.op](value, self.value)

    def __str__(self) -> str:
        if self.share:
            return f"{self.op} {self.value * 100:g}%"
        return f"{self.op} {self.value:g}"


@dataclass(frozen=True, slots=True)
class TimeBound:
    """A comparison with a length of time (``<= 300ms``); ``value_ns`` in nanoseconds."""

    op: Literal["<=", ">=", "<", ">"]
    value_ns: int
    text: str

    def holds(self, value_ns: float) -> bool:
        """Whether a length of time (``math.inf`` for one without a known end) is within."""
        return _COMPARE[self.op](value_ns, self.value_ns)

    def __str__(self) -> str:
        return f"{self.op} {self.text}"


def parse_time_bound(value: object) -> TimeBound:
    """A ``TimeBound`` from ``"<= 300ms"``; the comparison and the unit are required."""
    if isinstance(value, TimeBound):
        return value
    if isinstance(value, str) and (match := _TIME_BOUND.fullmatch(value.strip())):
        op, number, unit = match.groups()
        value_ns = round(float(number) * _SECONDS[unit] * 1e9)
        return TimeBound(op, value_ns, number + unit)  # type: ignore[arg-type]  # one of those
    raise ValueError('a bound on a time is a comparison and a time with its unit: "<= 300ms"')


def parse_bound(value: object) -> Bound:
    """A ``Bound`` from ``0``, ``"<= 200"`` or ``"<= 0.5%"``; a bare number means equal."""
    if isinstance(value, Bound):
        return value
    wanted = 'a bound is a count or a comparison: 0, "<= 200", "<= 0.5%" (of the packets sent)'
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(wanted)
    match = _BOUND.fullmatch(str(value).strip())
    if not match:
        raise ValueError(wanted)
    op, number, percent = match.groups()
    if percent:
        share = float(number) / 100
        if share > 1:
            raise ValueError("a share of the packets sent is at most 100%")
        return Bound(op or "==", share, True)  # type: ignore[arg-type]  # one of _BOUND's
    if not float(number).is_integer():
        raise ValueError("a count of packets is a whole number")
    return Bound(op or "==", float(number))  # type: ignore[arg-type]  # one of _BOUND's


def parse_count(value: object) -> Bound:
    """A ``Bound`` on a count that is a share of nothing: ``0`` or ``"<= 200"``."""
    bound = parse_bound(value)
    if bound.share:
        raise ValueError('a bound on this is a count or a comparison: 0, "<= 200"')
    return bound


def parse_rate(value: object) -> float:
    """Packets a second from ``1000/s``."""
    if isinstance(value, str) and (match := _RATE.fullmatch(value.strip())):
        return float(match[1])
    raise ValueError("a packet rate is a number a second: 1000/s")


def parse_duration(value: object) -> float:
    """Seconds from ``50us``, ``10ms``, ``2s`` or ``1min``; a bare number is refused."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1]) * _SECONDS[match[2]]
    raise ValueError("a duration is a number with a unit: 50us, 10ms, 2s, 1min")


def parse_share(value: object) -> float:
    """A ratio from ``5%``."""
    if isinstance(value, str) and (match := _SHARE.fullmatch(value.strip())):
        return float(match[1]) / 100
    raise ValueError("a share is a percentage: 5%")


def parse_dscp(value: object) -> int:
    """A code point from 0 to 63, or by its name: ``EF``, ``AF41``, ``CS6``."""
    if isinstance(value, str) and (named := _DSCP.get(value.strip().upper())) is not None:
        return named
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 63:
        return value
    raise ValueError(
        "a DSCP is a number from 0 to 63 or a name: CS0 to CS7, AF11 to AF43, EF, VA, LE"
    )


BoundText = Annotated[
    Bound,
    BeforeValidator(parse_bound),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\s*(<=|>=|==|<|>)?\s*\d+(\.\d+)?\s*%?\s*$"},
            ],
            "examples": [0, "<= 200", "<= 0.5%"],
        }
    ),
]
CountText = Annotated[
    Bound,
    BeforeValidator(parse_count),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\s*(<=|>=|==|<|>)?\s*\d+\s*$"},
            ],
            "examples": [0, "<= 200"],
        }
    ),
]
TimeBoundText = Annotated[
    TimeBound,
    BeforeValidator(parse_time_bound),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\s*(<=|>=|<|>)\s*\d+(\.\d+)?\s*(us|ms|s|min)\s*$",
            "examples": ["<= 300ms"],
        }
    ),
]
PacketRate = Annotated[
    float,
    BeforeValidator(parse_rate),
    Field(gt=0),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*/\s*s$", "examples": ["1000/s"]}),
]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(us|ms|s|min)$", "examples": ["2s"]}
    ),
]
Share = Annotated[
    float,
    BeforeValidator(parse_share),
    Field(ge=0, le=1),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*%$", "examples": ["5%"]}),
]
Dscp = Annotated[
    int,
    BeforeValidator(parse_dscp),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 0, "maximum": 63}, {"enum": sorted(_DSCP)}],
            "examples": [46, "EF", "AF41"],
        }
    ),
]
