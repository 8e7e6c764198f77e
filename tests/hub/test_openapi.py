"""The OpenAPI document: complete, well formed, and told apart by nothing from the table."""

import re
from typing import Any

import msgspec
import pytest

from registry.api.hub.openapi import document
from registry.api.hub.paths import parameters_of
from registry.api.hub.routes import HUB_ROUTES
from registry.api.hub.table import PREFIX, HubRoute

ROUTES = pytest.mark.parametrize("route", HUB_ROUTES, ids=lambda route: route.spec_id)


def operation(route: HubRoute) -> dict[str, Any]:
    """What the document says of a route."""
    found: dict[str, Any] = document()["paths"][PREFIX + route.path][route.method.lower()]
    return found


def test_it_has_every_route_and_nothing_else() -> None:
    """The table is walked, and so is the document."""
    described = {(method.upper(), path) for path, methods in document()["paths"].items() for method in methods}
    assert described == {(route.method, PREFIX + route.path) for route in HUB_ROUTES}


@ROUTES
def test_an_operation_is_described(route: HubRoute) -> None:
    """A summary of one sentence, each parameter of the path, each field of the query with a description, a body where
    the route takes one, the answer, and what can go wrong."""
    found = operation(route)
    assert re.fullmatch(r"[A-Z][^\n]{10,200}\.", found["summary"]), found["summary"]
    assert found["operationId"] == route.spec_id
    parameters = {(entry["in"], entry["name"]): entry for entry in found["parameters"]}
    assert {name for kind, name in parameters if kind == "path"} == set(parameters_of(route.path))
    fields = () if route.query is None else msgspec.structs.fields(route.query)
    assert {name for kind, name in parameters if kind == "query"} == {field.encode_name for field in fields}
    for (kind, name), entry in parameters.items():
        assert kind == "path" or entry.get("description"), f"{name} has no description"
    assert ("requestBody" in found) == (route.body is not None)
    assert str(route.status) in found["responses"]
    assert {"400", "401", "429", "503"} <= set(found["responses"])


@ROUTES
def test_what_is_taken_is_strict(route: HubRoute) -> None:
    """SEC-020: a field that is not documented is refused, not ignored, in bodies and queries, at every depth."""
    for kind in (route.query, route.body):
        if kind is None:
            continue
        _, schemas = msgspec.json.schema_components([kind])
        for name, schema in schemas.items():
            assert schema.get("type") != "object" or schema.get("additionalProperties") is False, name


def test_every_reference_leads_somewhere() -> None:
    """No `$ref` to a schema that is not there, and no schema without a description."""
    text = msgspec.json.encode(document()).decode()
    schemas = document()["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(schemas)
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []
