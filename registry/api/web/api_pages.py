"""The documentation of the hub's API: its OpenAPI document as a page, without anybody else's program."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action

_ANY_NUMBER = 2**31
"""A limit from here on is that of the database, and nobody needs to read it."""
_REFERENCE = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a value: words, and the schemas that they name."""

    text: str
    schema: str | None = None
    """The one schema that is named, if any: a link."""


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a field of a body."""

    name: str
    place: str
    """`path`, `query` or, for a body, nothing."""
    kind: Kind
    is_required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    needs_credential: bool
    fields: tuple[Field, ...]
    body: Kind | None
    answers: tuple[tuple[str, str, Kind | None], ...]
    """Status, what it means, and what comes with it."""


@dataclass(frozen=True, slots=True)
class Group:
    """The operations on one kind of thing."""

    name: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A schema that operations name."""

    name: str
    description: str
    fields: tuple[Field, ...]
    words: tuple[str, ...]
    """The values, where it is one of several words."""


async def get_api(services: WebServices, visit: Visit, view: View) -> Answer:
    """Every operation with what it takes and gives."""
    about, groups, models = described()
    return services.pages.render(view, "api.html", {"about": about, "groups": groups, "models": models})


@cache
def described() -> tuple[str, tuple[Group, ...], tuple[Model, ...]]:
    """What the document says: of itself, of its operations, of its schemas."""
    from registry.api.hub.openapi import document

    found = document()
    grouped: dict[str, list[Operation]] = {}
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            grouped.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    groups = tuple(Group(name, tuple(operations)) for name, operations in grouped.items())
    models = tuple(_model(name, schema) for name, schema in sorted(found["components"]["schemas"].items()))
    return found["info"]["description"], groups, models


def _operation(method: str, path: str, operation: dict[str, Any]) -> Operation:
    parameters = operation.get("parameters", [])
    body = operation.get("requestBody")
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        needs_credential="security" in operation,
        fields=tuple(
            Field(entry["name"], entry["in"], kind_of(entry["schema"]), entry["required"], entry.get("description", ""))
            for entry in parameters
        ),
        body=None if body is None else _content(body),
        answers=tuple(
            (status, entry["description"], _content(entry)) for status, entry in operation["responses"].items()
        ),
    )


def _content(entry: dict[str, Any]) -> Kind | None:
    for content in entry.get("content", {}).values():
        return kind_of(content["schema"])
    return None


def _model(name: str, schema: dict[str, Any]) -> Model:
    required = schema.get("required", [])
    fields = tuple(
        Field(field, "", kind_of(entry), field in required, entry.get("description", ""))
        for field, entry in schema.get("properties", {}).items()
    )
    words = tuple(str(word) for word in schema.get("enum", []))
    return Model(name, schema.get("description", ""), fields, words)


def kind_of(schema: dict[str, Any]) -> Kind:
    """A schema in a few words."""
    names = list(dict.fromkeys(_named(schema)))
    return Kind(_words(schema), names[0] if len(names) == 1 else None)


def _words(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(_REFERENCE)
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_words(entry) for entry in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(str(word) for word in schema["enum"])
    stated = schema.get("type", "any")
    kind = " | ".join(stated) if isinstance(stated, list) else str(stated)
    if kind == "array":
        inner = _words(schema["items"]) if isinstance(schema.get("items"), dict) else "any"
        return f"({inner})[]" if " | " in inner else f"{inner}[]"
    if schema.get("maximum", _ANY_NUMBER) < _ANY_NUMBER:
        return f"{kind} {schema.get('minimum', '')}…{schema['maximum']}"
    return kind


def _named(schema: Any) -> Iterator[str]:
    """The schemas that are referred to, however deep."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield str(schema["$ref"]).removeprefix(_REFERENCE)
        for value in schema.values():
            yield from _named(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _named(value)


ROUTES = (WebRoute("api-documentation", "GET", "/api/v1", Action.PING, get_api),)
