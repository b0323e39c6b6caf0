"""A webhook on this machine that keeps what it is told, and when."""

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Receiver", "Told"]


@dataclass(frozen=True, slots=True)
class Told:
    """An alert that arrived.

    Attributes:
        at_us: When, microseconds since the Unix epoch.
        subject: What it is about.
        level: The level of the message that it came in.
        ended: Whether it is over.
        alert: All of it.
    """

    at_us: int
    subject: str
    level: str
    ended: bool
    alert: dict[str, Any]


class Receiver:
    """An HTTP server on the loopback that takes the documents of notices.

    Attributes:
        refusing: Whether it answers 503 to everything.
        refused: How often it has.
    """

    def __init__(self) -> None:
        self.refusing = False
        self.refused = 0
        self._told: list[Told] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                at_us = time.time_ns() // 1000
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.refusing:
                    outer.refused += 1
                else:
                    outer._take(json.loads(body), at_us)
                self.send_response(503 if outer.refusing else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/alerts"

    @property
    def told(self) -> tuple[Told, ...]:
        """All alerts that arrived, oldest first."""
        return tuple(self._told)

    def find(self, subject: str, *, ended: bool, since_us: int = 0) -> Told | None:
        """Return the first one on a subject that arrived from a moment on."""
        for each in self.told:
            if (each.subject, each.ended) == (subject, ended) and each.at_us >= since_us:
                return each
        return None

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, document: dict[str, Any], at_us: int) -> None:
        for alert in document["alerts"]:
            ended = alert.get("ended_us", 0) > 0
            self._told.append(Told(at_us, alert["subject"], document["level"], ended, alert))
