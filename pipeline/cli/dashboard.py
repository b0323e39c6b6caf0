"""`cascade dashboard`: the web page over the cascade, served from here."""

import asyncio
import json
import signal

import click

from pipeline.settings import load_settings

__all__ = ["command"]


@click.command("dashboard")
@click.option("--host", help="Address to listen on; CASCADE_DASHBOARD__HOST, 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port; CASCADE_DASHBOARD__PORT, 8765.")
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON.")
def command(host: str | None, port: int | None, as_json: bool) -> None:
    """Serve the dashboard until Ctrl-C; users are made by `cascade users add`.

    It waits for a broker where none runs. On an address that others reach it takes TLS, see
    CASCADE_DASHBOARD__TLS_CERTIFICATE.
    """
    from pipeline.dashboard.server import serve
    from pipeline.dashboard.users import UserFile

    settings = load_settings()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(
        update={"dashboard": settings.dashboard.model_copy(update=given)}
    )
    if not UserFile.of(settings).users():
        click.echo("Nobody can log in yet: cascade users add NAME --role risk-officer", err=True)

    def tell(address: str) -> None:
        click.echo(json.dumps({"address": address}) if as_json else f"Dashboard at {address}")

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop.set)
        await serve(settings, stop, tell)

    asyncio.run(run())
