"""The topology language as a JSON Schema (draft 2020-12), for editors.

It accepts what the loader accepts, as far as shapes go; references between parts are for
``check``. A switch may be ``on`` as text, because most editors read YAML 1.2.
"""

from __future__ import annotations

from typing import Any

from harness.topology.model import Topology

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, object]:
    """The schema, as plain data ready for ``json.dumps``."""
    schema = _tidy(Topology.model_json_schema())
    schema["required"] = ["hosts", "guests"]
    for section in ("hosts", "guests"):
        schema["properties"][section]["minProperties"] = 1
    for part in ("Host", "Guest"):
        definition = schema["$defs"][part]
        # What `like` takes over need not be given.
        definition["anyOf"] = [
            {"required": definition.pop("required")},
            {"required": ["like"]},
        ]
    return {"$schema": _DIALECT, **schema}


def _tidy(value: Any) -> Any:
    """Without what an editor would only be confused by: titles made up from key names."""
    if isinstance(value, dict):
        result = {k: _tidy(v) for k, v in value.items() if k != "title" or isinstance(v, dict)}
        if isinstance(result.get("description"), str):
            result["description"] = result["description"].replace("``", "`")
        if set(result.get("patternProperties", ())) and "additionalProperties" not in result:
            result["additionalProperties"] = False
        return result
    return [_tidy(item) for item in value] if isinstance(value, list) else value
