"""The API document of a server, with the names that it has."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """A route with its method.

    Attributes:
        method: HTTP method.
        path: path, with its parameters in braces.
        statuses: documented statuses of responses.
        schema: schema of the body; None without one.
    """

    method: str
    path: str
    statuses: frozenset[int]
    schema: Mapping[str, Any] | None


def document(url: str) -> dict[str, Any]:
    """Return the document of a server; models and versions are those that it has.

    Without the names, whoever reads the document makes names up, and no request gets far.
    """
    found: dict[str, Any] = httpx.get(f"{url}/openapi.json").json()
    info = httpx.get(f"{url}/v1/ancestral/info").json()
    bundles = [each["name"] for each in info["bundles"]]
    index = httpx.post(f"{url}/v2/repository/index", json={}).json()
    models = [each["name"] for each in index]
    for schema in found["components"]["schemas"].values():
        properties = schema.get("properties", {})
        if "model" in schema.get("required", ()) and len(properties) > 2:
            properties["model"] = {"type": "string", "enum": bundles}
    for path, operations in found["paths"].items():
        for operation in operations.values():
            for each in operation.get("parameters", ()):
                if each["name"] == "model":
                    known = models if path.startswith("/v2") else bundles
                    each["schema"] = {"type": "string", "enum": known}
                elif each["name"] == "version":
                    each["schema"] = {"type": "string", "enum": ["1"]}
    return found


def operations(found: Mapping[str, Any]) -> Iterator[Operation]:
    """Yield the operations of a document."""
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            statuses = frozenset(map(int, operation["responses"]))
            content = operation.get("requestBody", {}).get("content", {})
            reference = content.get("application/json", {}).get("schema", {}).get("$ref")
            schema = None
            if reference is not None:
                schema = found["components"]["schemas"][reference.rpartition("/")[2]]
            yield Operation(method.upper(), path, statuses, schema)
