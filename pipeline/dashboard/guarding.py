"""What every request passes: host, origin, headers of the answer, errors, session and role.

| against | by |
|---|---|
| scripts from elsewhere, framing | a content security policy that allows own files alone |
| other sites that send requests | cookie SameSite=Strict, `Origin`, `Sec-Fetch-Site`, CSRF token |
| names that are rebound to loopback | `Host` must be a name of the server |
| guessing passwords | scrypt, limits by address and by user, one answer for all failures |
| floods | bounded bodies, streams, sessions and hashes under way; limits on commands |
"""

import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from pipeline.errors import PipelineError, RetryableError, UsageError

__all__ = ["Handler", "address_of", "guard", "is_loopback", "refused", "with_headers"]

_logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Server": "cascade",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_A_YEAR = "max-age=31536000"
_SAME = frozenset({"same-origin", "none"})


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def refused(status: int, why: str, **headers: str) -> web.Response:
    """Return an answer that says why something is not done."""
    return web.json_response({"error": why}, status=status, headers=headers)


def address_of(request: web.Request) -> str:
    """Return the address that a request came from; proxies' headers are not believed."""
    return request.remote or ""


def with_headers(*, secure: bool) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return what gives each answer its headers; called by aiohttp before it is sent.

    Args:
        secure: Whether the server speaks TLS.
    """

    async def prepare(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        if secure:
            response.headers["Strict-Transport-Security"] = _A_YEAR

    return prepare


def guard(*, loopback: bool) -> Middleware:
    """Return the middleware of all requests.

    Args:
        loopback: Whether the server listens on loopback alone: then no other name is its own.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if loopback and not is_loopback(_host_of(request)):
            return refused(421, "This server answers to localhost alone.")
        if _is_foreign(request):
            return refused(403, "Requests from other sites are refused.")
        return await _answered(request, handler)

    return middleware


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return refused(error.status, error.reason) if error.status >= 400 else error  # noqa: PLR2004  # client errors begin there
    except UsageError as error:
        return refused(409, str(error))
    except RetryableError as error:
        return refused(503, str(error), **{"Retry-After": "5"})
    except PipelineError as error:
        _logger.warning("dashboard_request_failed path=%s why=%s", request.path, error)
        return refused(503, str(error))
    except Exception:
        _logger.exception("dashboard_request_broke path=%s", request.path)
        return refused(500, "Something broke; the server's log says what.")


def _host_of(request: web.Request) -> str:
    try:
        return urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    except ValueError:
        return ""


def _is_foreign(request: web.Request) -> bool:
    """Say whether another site sent a request that changes something, or asks for data."""
    if not request.path.startswith("/api/"):
        return False
    if request.headers.get("Sec-Fetch-Site", "none") not in _SAME:
        return True
    origin = request.headers.get("Origin")
    # Of a proxy that ends TLS the scheme is another one.
    return origin is not None and origin.partition("://")[2] != request.headers.get("Host", "")
