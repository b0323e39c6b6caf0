"""A collector of traces on loopback: takes OTLP over HTTP, as any collector of the field does."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["Collector", "collector"]


class Collector:
    """What has come in.

    Attributes:
        endpoint: For OTEL_EXPORTER_OTLP_ENDPOINT.
        requests: The requests, decoded.
        status: What it answers from now on.
    """

    def __init__(self, status: int) -> None:
        self.endpoint = ""
        self.requests: list[ExportTraceServiceRequest] = []
        self.status = status

    def take(self, body: bytes, encoding: str | None) -> None:
        """Take a request's body."""
        plain = gzip.decompress(body) if encoding == "gzip" else body
        self.requests.append(ExportTraceServiceRequest.FromString(plain))

    def spans(self) -> list[Span]:
        """Return all spans, in the order in which they came."""
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def trace(self, trace_id: str) -> list[Span]:
        """Return the spans of a trace."""
        return [each for each in self.spans() if each.trace_id.hex() == trace_id]


@contextmanager
def collector(status: int = 200) -> Iterator[Collector]:
    """Listen on a free port of loopback until the block ends."""
    found = Collector(status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if found.status == 200:
                found.take(body, self.headers["Content-Encoding"])
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)
