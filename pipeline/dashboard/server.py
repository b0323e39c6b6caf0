"""The web server of the dashboard; `cascade dashboard` runs it."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from aiohttp import web

from pipeline.clock import WallClock
from pipeline.dashboard.acting import Desk
from pipeline.dashboard.gatekeeper import Gatekeeper, Tell
from pipeline.dashboard.guarding import guard, is_loopback, with_headers
from pipeline.dashboard.handlers import Acts, Handlers, Sees
from pipeline.dashboard.observing import Observer
from pipeline.dashboard.sessions import Sessions
from pipeline.dashboard.streaming import Pictures
from pipeline.dashboard.telling import SecurityTeller
from pipeline.dashboard.users import UserFile
from pipeline.errors import ConfigurationError
from pipeline.events import EventBus
from pipeline.replay.flow import FlowFinder
from pipeline.replay.flow_view import flow_to_dict
from pipeline.replay.reading import TopicReader
from pipeline.settings import Settings
from pipeline.settings.components import DashboardSettings

__all__ = ["application", "check_bind", "serve", "tls_context"]

_logger = logging.getLogger(__name__)

_MOST_BODY: Final = 16 * 1024
_CONNECT_S = 5.0
_SHUTDOWN_S = 2.0
# A flow that is not there is looked for in every record; who wants older ones has `cascade flow`.
_SEARCHED_US: Final = 15 * 60 * 1_000_000


def check_bind(settings: DashboardSettings) -> bool:
    """Return whether the server is for this machine alone.

    Raises:
        ConfigurationError: If others would reach it without TLS, and nobody said that they may.
    """
    if is_loopback(settings.host):
        return True
    if settings.tls_certificate is None and settings.remote_http == "refuse":
        raise ConfigurationError(
            f"Expected TLS on {settings.host}, which others reach, was none. Set"
            " CASCADE_DASHBOARD__TLS_CERTIFICATE and CASCADE_DASHBOARD__TLS_KEY; or, behind a proxy"
            " that ends TLS, CASCADE_DASHBOARD__REMOTE_HTTP=allow."
        )
    return False


def tls_context(settings: DashboardSettings) -> ssl.SSLContext | None:
    """Return the server's TLS; None where it has no certificate.

    Raises:
        ConfigurationError: If certificate or key cannot be used.
    """
    if settings.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"Expected a certificate and its key at {settings.tls_certificate} and"
            f" {settings.tls_key}, was: {error}"
        ) from error
    return context


def application(
    gatekeeper: Gatekeeper,
    pictures: Pictures,
    sees: Sees,
    acts: Acts,
    find_flow: Callable[[str, str | None], dict[str, Any]],
    *,
    loopback: bool,
    secure: bool,
) -> web.Application:
    """Return the web application; arguments as those of `Handlers`.

    Args:
        gatekeeper: Knows who asks.
        pictures: What is streamed.
        sees: Knows what the page shows.
        acts: Does what users command.
        find_flow: Returns a flow's whole life.
        loopback: Whether the server is for this machine alone.
        secure: Whether it speaks TLS.
    """
    app = web.Application(middlewares=[guard(loopback=loopback)], client_max_size=_MOST_BODY)
    app.on_response_prepare.append(with_headers(secure=secure))
    app.add_routes(Handlers(gatekeeper, pictures, sees, acts, find_flow).routes())

    async def start(_: web.Application) -> None:
        await pictures.start()

    async def stop(_: web.Application) -> None:
        await pictures.close()

    app.on_startup.append(start)
    app.on_shutdown.append(stop)
    return app


async def serve(settings: Settings, stop: asyncio.Event, started: Callable[[str], None]) -> None:
    """Run the dashboard until `stop` is set.

    Args:
        settings: Settings; without a broker it waits for one.
        stop: Ends it.
        started: Called with the page's address once it can be opened.

    Raises:
        ConfigurationError: If it may not, or cannot, listen where it should.
    """
    chosen = settings.dashboard
    loopback, tls = check_bind(chosen), tls_context(chosen)
    users = UserFile.of(settings)
    users.users()  # refuses a file that others can read before anything is served
    bus = EventBus(settings=settings, connect_timeout_s=_CONNECT_S)
    teller, desk = SecurityTeller(bus), Desk(bus)
    pictures: Pictures
    observer = Observer(bus, watched=lambda: pictures.streams > 0)
    pictures = Pictures(observer.picture)
    secure = tls is not None
    gatekeeper = _gatekeeper(settings, users, teller, secure=secure)
    app = application(
        gatekeeper, pictures, observer, desk, _flow_search(bus), loopback=loopback, secure=secure
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    teller.start()
    observer.start()
    try:
        await runner.setup()
        port = await _listen(runner, chosen, tls)
        host = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
        started(f"{'https' if secure else 'http'}://{host}:{port}/")
        await stop.wait()
    finally:
        await runner.cleanup()
        await asyncio.to_thread(_close, observer, desk, teller, bus)


def _gatekeeper(settings: Settings, users: UserFile, tell: Tell, *, secure: bool) -> Gatekeeper:
    return Gatekeeper(users, Sessions(settings.dashboard.session_idle_s), tell, secure=secure)


async def _listen(
    runner: web.AppRunner, settings: DashboardSettings, tls: ssl.SSLContext | None
) -> int:
    site = web.TCPSite(runner, settings.host, settings.port, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        raise ConfigurationError(
            f"Expected to listen on {settings.host}:{settings.port}, was refused:"
            f" {error.strerror or error}. Choose another port by CASCADE_DASHBOARD__PORT."
        ) from error
    return int(runner.addresses[0][1])


def _flow_search(bus: EventBus) -> Callable[[str, str | None], dict[str, Any]]:
    def find(flow_id: str, symbol: str | None) -> dict[str, Any]:
        settings = bus.connect()
        since_us = WallClock().now_us() - _SEARCHED_US
        with TopicReader(settings, "dashboard-flow") as reader:
            finder = FlowFinder(settings, reader, symbol=symbol, since_us=since_us)
            return flow_to_dict(finder.find(flow_id))

    return find


def _close(observer: Observer, desk: Desk, teller: SecurityTeller, bus: EventBus) -> None:
    for end in (observer.close, desk.close, teller.close, bus.close):
        with suppress(Exception):
            end()
