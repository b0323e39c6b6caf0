"""A token endpoint for OAUTHBEARER: gives a client that knows its secret a signed JWT."""

import base64
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

__all__ = ["AUDIENCE", "TokenServer"]

AUDIENCE = "kafka"
_LIFE_S = 300
_KEY_ID = "test"


class TokenServer:
    """An OAuth token endpoint on loopback.

    Args:
        folder: Where its key set goes, for the broker to read.
        secrets: The secret of each client.
    """

    def __init__(self, folder: Path, secrets: dict[str, str]) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._secrets = secrets
        self.key_set = folder / "jwks.json"
        numbers = self._key.public_key().public_numbers()
        self.key_set.write_text(
            json.dumps(
                {
                    "keys": [
                        {
                            "kty": "RSA", "kid": _KEY_ID, "use": "sig", "alg": "RS256",
                            "n": _number(numbers.n), "e": _number(numbers.e),
                        }
                    ]
                }
            )
        )  # fmt: skip
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """Answer a client-credentials request."""
                length = int(self.headers.get("Content-Length", "0"))
                form = urllib.parse.parse_qs(self.rfile.read(length).decode())
                token = outer.token(self.headers.get("Authorization", ""), form)
                content = {} if token is None else {
                    "access_token": token, "token_type": "Bearer", "expires_in": _LIFE_S,
                }  # fmt: skip
                self.send_response(401 if token is None else 200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def token(self, authorization: str, form: dict[str, list[str]]) -> str | None:
        """Return a token for a client that shows its secret; None for any other."""
        if authorization.startswith("Basic "):
            text = base64.b64decode(authorization.removeprefix("Basic ")).decode()
            client, _, secret = (urllib.parse.unquote(part) for part in text.partition(":"))
        else:
            client = form.get("client_id", [""])[0]
            secret = form.get("client_secret", [""])[0]
        if not client or self._secrets.get(client) != secret:
            return None
        now = int(time.time())
        claims = {
            "sub": client, "aud": AUDIENCE, "iss": "tests", "scope": "kafka",
            "iat": now, "exp": now + _LIFE_S,
        }  # fmt: skip
        header = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        signed = f"{_text(json.dumps(header).encode())}.{_text(json.dumps(claims).encode())}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_text(signature)}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _number(value: int) -> str:
    return _text(value.to_bytes((value.bit_length() + 7) // 8))
