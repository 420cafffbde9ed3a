"""Writes ``src/longhaul/models.py`` from the server's OpenAPI document; ``--check`` only tells whether it is fresh.

The models are what the server answers with. They keep fields that they do not know, so that a newer server can be
talked to; what the document does not promise is optional.
"""

from __future__ import annotations

import json
import keyword
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parents[2] / "openapi.json"
TARGET = HERE.parent / "src" / "longhaul" / "models.py"

HEADER = '''"""What the server answers with. Made by ``scripts/generate_models.py`` from ``openapi.json``: do not edit."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Keeps fields that it does not know, so that a newer server can be talked to."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, protected_namespaces=())


JsonValue: TypeAlias = Any
"""Any JSON."""

'''

# Longer enumerations grow with the server; a client must not stumble over a new word.
CLOSED_ENUM_MOST = 8
# Names that would hide a method of every model.
RESERVED = {"self", "copy", "json", "dict", "schema"}


def main() -> int:
    schemas = json.loads(DOCUMENT.read_text())["components"]["schemas"]
    text = HEADER + "\n".join(model(name, schemas[name]) for name in ordered(schemas))
    if "--check" in sys.argv:
        if TARGET.exists() and TARGET.read_text() == text:
            return 0
        print(f"{TARGET} is stale: run python {Path(__file__).name}", file=sys.stderr)
        return 1
    TARGET.write_text(text)
    return 0


def ordered(schemas: dict[str, Any]) -> list[str]:
    """What is used comes before what uses it, else by name."""
    done: list[str] = []

    def visit(name: str) -> None:
        if name in done:
            return
        for other in sorted(references(schemas[name])):
            if other != name and other in schemas:
                visit(other)
        if name not in done:
            done.append(name)

    for name in sorted(schemas):
        visit(name)
    return done


def references(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {found for item in schema for found in references(item)}
    if not isinstance(schema, dict):
        return set()
    own = {schema["$ref"].rsplit("/", 1)[1]} if "$ref" in schema else set()
    return own | {found for value in schema.values() for found in references(value)}


def model(name: str, schema: dict[str, Any]) -> str:
    if schema.get("type") != "object" or "properties" not in schema:
        return f"\n{name}: TypeAlias = {annotation(schema)}\n{docstring(schema, '')}"
    nested: list[str] = []
    fields = [
        field(key, value, key in schema.get("required", []), name, nested)
        for key, value in schema["properties"].items()
    ]
    body = docstring(schema, "    ") or f'    """{name}."""\n'
    return "".join(nested) + f"\nclass {name}(Model):\n{body}\n" + "".join(fields)


def field(key: str, schema: dict[str, Any], required: bool, owner: str, nested: list[str]) -> str:
    python = f"{key}_" if keyword.iskeyword(key) or key in RESERVED else key
    if schema.get("type") == "object" and "properties" in schema:
        inner = owner + "".join(part.capitalize() for part in key.split("_"))
        nested.append(model(inner, schema))
        kind = inner
    else:
        kind = annotation(schema)
    optional = not required
    if optional and kind != "JsonValue" and not kind.endswith("| None"):
        kind += " | None"
    arguments = [] if required else ["default=None"]
    if python != key:
        arguments.append(f'alias="{key}"')
    default = "" if not arguments else f" = Field({', '.join(arguments)})" if python != key else " = None"
    return f"    {python}: {kind}{default}\n{docstring(schema, '    ')}"


def annotation(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[1])
    for word in ("oneOf", "anyOf"):
        if word in schema:
            found = dict.fromkeys(annotation(item) for item in schema[word])
            return " | ".join(sorted(found, key=lambda kind: kind == "None"))
    if "allOf" in schema:
        return annotation(schema["allOf"][0])
    if "enum" in schema:
        values = schema["enum"]
        if len(values) > CLOSED_ENUM_MOST:
            return "str"
        return "Literal[" + ", ".join(json.dumps(value) for value in values) + "]"
    kinds: Any = schema.get("type")
    if kinds is None:
        return "JsonValue"
    if isinstance(kinds, list):
        return " | ".join(single(kind, schema) for kind in sorted(kinds, key=lambda kind: str(kind) == "null"))
    return single(str(kinds), schema)


def single(kind: str, schema: dict[str, Any]) -> str:
    if kind == "string":
        return {"date-time": "datetime", "binary": "bytes"}.get(schema.get("format", ""), "str")
    if kind == "array":
        return f"list[{annotation(schema.get('items', {}))}]"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"dict[str, {annotation(values)}]" if isinstance(values, dict) else "dict[str, Any]"
    return {"integer": "int", "number": "float", "boolean": "bool", "null": "None"}[kind]


def docstring(schema: dict[str, Any], indent: str) -> str:
    text = schema.get("description")
    if text is None and "oneOf" in schema:
        text = next((item["description"] for item in schema["oneOf"] if "description" in item), None)
    if text is None and "allOf" in schema:
        text = schema["allOf"][-1].get("description")
    if not text:
        return ""
    text = " ".join(str(text).split()).replace("\\", "\\\\")
    return f'{indent}"""{text}"""\n'


if __name__ == "__main__":
    sys.exit(main())
