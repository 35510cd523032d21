# SPDX-License-Identifier: Apache-2.0
"""Words for JSON Schema, as short as the description of an API wants them."""

from __future__ import annotations

Schema = dict

INT32 = 2**31 - 1
INT64 = 2**63 - 1

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NULL: Schema = {"type": "null"}
ANYTHING: Schema = {}
OBJECT: Schema = {"type": "object"}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def constant(value: str) -> Schema:
    return {"const": value}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def whole(low: int, high: int = INT64) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def number(low: float, high: float) -> Schema:
    return {"type": "number", "minimum": low, "maximum": high}


def array(items: Schema, low: int | None = None, high: int | None = None) -> Schema:
    schema: Schema = {"type": "array", "items": items}
    if low is not None:
        schema["minItems"] = low
    if high is not None:
        schema["maxItems"] = high
    return schema


def any_of(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def said(schema: Schema, description: str, default: object = None) -> Schema:
    """With a description, and what is taken where the member is absent."""
    schema = {**schema, "description": description}
    if default is not None:
        schema["default"] = default
    return schema


def nullable(schema: Schema) -> Schema:
    if not schema or schema.get("type") == "null":
        return schema
    if isinstance(kind := schema.get("type"), str):
        schema = {**schema, "type": [kind, "null"]}
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
        return schema
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], NULL]}
    kept = {key: schema[key] for key in ("description", "default") if key in schema}
    inner = {key: value for key, value in schema.items() if key not in kept}
    return {"anyOf": [inner, NULL], **kept}


def asked(required: dict[str, Schema] | None = None, optional: dict[str, Schema] | None = None) -> Schema:
    """An object of a request: null is the same as absent, and unknown members are ignored."""
    schema: Schema = {"type": "object"}
    members = {**(required or {}), **{name: nullable(member) for name, member in (optional or {}).items()}}
    if members:
        schema["properties"] = members
    if required:
        schema["required"] = list(required)
    return schema


def told(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """An object of a response. More members may come with later versions."""
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def closed(schema: object) -> object:
    """The same for checking a server of this version: members of responses that are not described are mistakes."""
    if isinstance(schema, list):
        return [closed(element) for element in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "required" in schema and "additionalProperties" not in schema:
        result["additionalProperties"] = False
    return result
