"""A schema registry on loopback, for tests: the part of Confluent's REST API that clients use.

Source: Confluent Schema Registry API reference. It compares schemas with the package `avro`, under
BACKWARD_TRANSITIVE, and refuses with 409 what does not fit, as the real one does.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import parse

__all__ = ["FakeRegistry", "running_registry"]

_SCHEMA_TYPE = "application/vnd.schemaregistry.v1+json"


class FakeRegistry:
    """What a registry knows.

    Attributes:
        schemas: Each schema, as text; its id is its place, from 1.
        subjects: Subject to the ids of its versions, the first one first.
        levels: Subject to the compatibility it is held to.
        requests: Method and path of each request.
    """

    def __init__(self) -> None:
        self.schemas: list[str] = []
        self.subjects: dict[str, list[int]] = {}
        self.levels: dict[str, str] = {}
        self.requests: list[tuple[str, str]] = []
        self.url = ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return status and content."""
        self.requests.append((method, path))
        path = path.partition("?")[0]
        if found := re.fullmatch(r"/schemas/ids/(\d+)", path):
            return self._by_id(int(found[1]))
        if found := re.fullmatch(r"/config/(.+)", path):
            self.levels[found[1]] = body["compatibility"]
            return 200, body
        if found := re.fullmatch(r"/compatibility/subjects/(.+)/versions", path):
            return 200, {"is_compatible": self._fits(found[1], body["schema"])}
        if found := re.fullmatch(r"/subjects/([^/]+)/versions", path):
            return self._versions(method, found[1], body)
        if found := re.fullmatch(r"/subjects/([^/]+)", path):
            return self._look_up(found[1], body["schema"])
        return 404, {"error_code": 404, "message": f"No {method} {path}"}

    def add(self, subject: str, schema: str) -> int:
        """Register a schema, compatible or not, and return its id."""
        plain = json.dumps(json.loads(schema), sort_keys=True)
        if plain not in self.schemas:
            self.schemas.append(plain)
        number = self.schemas.index(plain) + 1
        versions = self.subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return number

    def _by_id(self, number: int) -> tuple[int, Any]:
        if not 1 <= number <= len(self.schemas):
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 200, {"schema": self.schemas[number - 1]}

    def _versions(self, method: str, subject: str, body: dict[str, Any]) -> tuple[int, Any]:
        if method == "GET":
            versions = self.subjects.get(subject)
            if versions is None:
                return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
            return 200, list(range(1, len(versions) + 1))
        if not self._fits(subject, body["schema"]):
            return 409, {"error_code": 409, "message": "Schema being registered is incompatible"}
        return 200, {"id": self.add(subject, body["schema"])}

    def _look_up(self, subject: str, schema: str) -> tuple[int, Any]:
        plain = json.dumps(json.loads(schema), sort_keys=True)
        for version, number in enumerate(self.subjects.get(subject, []), 1):
            if self.schemas[number - 1] == plain:
                found = {"subject": subject, "version": version, "id": number, "schema": schema}
                return 200, found
        return 404, {"error_code": 40403, "message": "Schema not found"}

    def _fits(self, subject: str, schema: str) -> bool:
        reader = parse(schema)
        return all(
            ReaderWriterCompatibilityChecker()
            .get_compatibility(reader, parse(self.schemas[number - 1]))
            .compatibility
            is SchemaCompatibilityType.compatible
            for number in self.subjects.get(subject, [])
        )


@contextmanager
def running_registry() -> Iterator[FakeRegistry]:
    """Serve a registry on loopback until the block ends."""
    registry = FakeRegistry()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            status, content = registry.answer(self.command, self.path, body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", _SCHEMA_TYPE)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _serve  # noqa: N815  # the base class looks for these names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
