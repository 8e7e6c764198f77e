"""The OpenAPI 3.1 document of the hub's API, made of its table: it cannot miss a route, and a test walks both."""

import inspect
import re
from functools import cache
from typing import Any

import msgspec

from registry import __version__
from registry.api.hub.paths import parameters_of
from registry.api.hub.table import PREFIX, HubRoute
from registry.core.access import Action
from registry.core.names import COMPONENT_PATTERN, NAME_PATTERN

_REFERENCE = "#/components/schemas/{name}"
_PARAMETERS: dict[str, dict[str, Any]] = {
    "repository": {
        "description": "The name of a repository, slashes and all: `acme/web`. They may be escaped, once.",
        "schema": {"type": "string", "maxLength": 255, "pattern": f"^{NAME_PATTERN}$"},
    },
    "namespace": {
        "description": "The name of a user or organization.",
        "schema": {"type": "string", "maxLength": 64, "pattern": f"^{COMPONENT_PATTERN}$"},
    },
    "tag": {
        "description": "A tag.",
        "schema": {"type": "string", "maxLength": 128, "pattern": "^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$"},
    },
    "digest": {
        "description": "A digest: `sha256:` and 64 hexadecimal digits, or `sha512:` and 128.",
        "schema": {"type": "string", "maxLength": 135, "pattern": "^(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$"},
    },
    "reference": {
        "description": "A tag or a digest.",
        "schema": {"type": "string", "maxLength": 135, "pattern": "^[a-zA-Z0-9_][a-zA-Z0-9._:-]{0,134}$"},
    },
}
_PARAMETERS["token"] = {
    "description": "The number of a token.",
    "schema": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
}
_PARAMETERS["alias"] = {**_PARAMETERS["repository"], "description": "A former name: its slashes are escaped, once."}
_PARAMETERS["holder"] = {
    "description": "A user or robot; or a team as `team:organization/team`, its slash escaped, once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
_IF_MATCH: dict[str, Any] = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of what is to be changed, as it was read: it has to be the same still.",
    "schema": {"type": "string"},
}
_TEXT: dict[str, Any] = {"schema": {"type": "string", "minLength": 1, "maxLength": 255}}
_OPEN = (Action.PING, Action.LOGIN)
_PROBLEM = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence for people."},
        "code": {"type": "string", "description": "For programs."},
        "field": {"type": "string", "description": "The field of the query, path or body that is wrong."},
        "facts": {"type": "object", "description": "What a program can use: a limit, a name, an offset."},
    },
}


@cache
def document() -> dict[str, Any]:
    """The document, as plain values."""
    from registry.api.hub.routes import HUB_ROUTES

    kinds = [kind for route in HUB_ROUTES for kind in (route.answer, route.body) if _is_model(kind)]
    _, schemas = msgspec.json.schema_components(dict.fromkeys(kinds), ref_template=_REFERENCE)
    schemas["Problem"] = _PROBLEM
    paths: dict[str, dict[str, Any]] = {}
    for route in HUB_ROUTES:
        paths.setdefault(f"{PREFIX}{route.path}", {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Depotry",
            "version": __version__,
            "description": "What is in the registry, and who may do what: for programs. Lists come in pages; the `Link`"
            " of an answer leads to the next one. A GET gives an ETag; writes that take `If-Match` change only what"
            " is still as it was.",
        },
        "security": [{"basic": []}, {"bearer": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "Name and password, or a personal token in place of the password.",
                },
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A personal token, or an access token of the token server.",
                },
            },
        },
    }


def _is_model(kind: Any) -> bool:
    return kind is not None and kind is not dict


def _operation(route: HubRoute) -> dict[str, Any]:
    text = inspect.cleandoc(inspect.getdoc(route.handler) or "")
    summary, _, rest = text.partition("\n\n")
    found: dict[str, Any] = {
        "operationId": route.spec_id,
        "summary": re.sub(r"\s+", " ", summary),
        "tags": [route.path.split("/")[1].partition(".")[0]],
        "parameters": [
            *_path_parameters(route),
            *_query_parameters(route),
            *([_IF_MATCH] if route.is_conditional else []),
        ],
        "responses": _responses(route),
    }
    if rest:
        found["description"] = rest
    if route.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _schema(route.body)}}}
    if route.action not in (*_OPEN, Action.CATALOG, Action.PULL):
        found["security"] = [{"basic": []}, {"bearer": []}]
    return found


def _path_parameters(route: HubRoute) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, **_PARAMETERS.get(name, _TEXT)}
        for name in parameters_of(route.path)
    ]


def _query_parameters(route: HubRoute) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    described = _whole(route.query)["properties"]
    found = []
    for field in msgspec.structs.fields(route.query):
        schema = dict(described[field.encode_name])
        entry: dict[str, Any] = {"name": field.encode_name, "in": "query", "required": field.required}
        if (description := schema.pop("description", None)) is not None:
            entry["description"] = description
        if schema.get("type") == "array":
            entry |= {"style": "form", "explode": True}
        found.append({**entry, "schema": _without_null(schema)})
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query cannot say null: what may be absent is left out."""
    if schema.get("default", ...) is None:
        del schema["default"]
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        return {**{key: value for key, value in schema.items() if key != "anyOf"}, **kinds[0]}
    return schema


def _whole(kind: Any) -> dict[str, Any]:
    """The schema of a type that stands in no other place, without references."""
    (schema,), named = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    found: dict[str, Any] = named[schema["$ref"].rsplit("/", 1)[1]]
    for name, field in found["properties"].items():
        if "$ref" in field:
            found["properties"][name] = {**named[field["$ref"].rsplit("/", 1)[1]], **_beside(field)}
    return found


def _beside(field: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in field.items() if key != "$ref"}


def _schema(kind: Any) -> dict[str, Any]:
    if kind is dict:
        return {"type": "object"}
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    return dict(schema)


def _responses(route: HubRoute) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done."}
    if route.answer is not None:
        kind = "application/x-ndjson" if route.is_lines else "application/json"
        done["content"] = {kind: {"schema": _schema(route.answer)}}
    found = {str(route.status): done}
    if route.method == "GET" and not route.is_lines:
        found["304"] = {"description": "As the ETag in If-None-Match says."}
    return found | {str(status): _problem(text) for status, text in _problems(route).items()}


def _problem(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _problems(route: HubRoute) -> dict[int, str]:
    found = {400: "Something in the request is wrong; `field` says what.", 401: "No credential that is good for this."}
    if route.action not in _OPEN:
        found[403] = "This account, or token, may not do this."
    if parameters_of(route.path) or route.body is not None:
        found[404] = "There is none, or none that the caller may see; `detail` says of what."
    if route.method != "GET":
        found[403] = "This account, or token, may not do this, or the request comes from another site."
        found[409] = "What is there does not allow it."
    if route.is_conditional:
        found[412] = "It is no longer as `If-Match` says."
    if route.body is not None:
        found[415] = "The body is not JSON."
    found[429] = "Too many requests; `Retry-After` says when to come back."
    found[503] = "The registry cannot do it now."
    return found
