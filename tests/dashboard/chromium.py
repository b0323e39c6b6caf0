"""A headless Chromium under test, over its DevTools protocol: no driver, no further library.

https://chromedevtools.github.io/devtools-protocol/ has the methods and their parameters.
"""

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

__all__ = ["Page", "browser", "find_chromium"]

_START_S = 90.0
_ANSWER_S = 60.0
_WAIT_S = 90.0
_LOOK_S = 0.1
_KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    " ": ("Space", 32, " "),
}


def find_chromium() -> str | None:
    """Return the program; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


class Page:
    """One page of a browser.

    Args:
        socket: Connection to it.
    """

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.faults: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result.

        Raises:
            AssertionError: If the browser refuses.
        """
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            found = await self._socket.receive_json(timeout=_ANSWER_S)
            self._note(found)
            if found.get("id") == self._number:
                assert "error" not in found, f"{method}: {found['error']}"
                result: dict[str, Any] = found["result"]
                return result

    async def open(self, url: str) -> None:
        """Open an address."""
        await self.call("Page.navigate", url=url)
        await self.wait("document.readyState === 'complete'", f"{url} to be loaded")

    async def value(self, expression: str) -> Any:
        """Return what a JavaScript expression comes to."""
        found = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def wait(self, expression: str, what: str, limit_s: float = _WAIT_S) -> None:
        """Poll until an expression is true.

        Raises:
            AssertionError: If it is not within the limit; says what the page shows.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + limit_s
        while not await self.value(f"Boolean({expression})"):
            if loop.time() > until_s:
                shown = await self.value("document.body.innerText.slice(0, 1500)")
                raise AssertionError(f"Expected {what} within {limit_s:g} s, was:\n{shown}")
            await asyncio.sleep(_LOOK_S)

    async def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key: Tab, Enter, Escape or the space bar."""
        code, number, text = _KEYS[key]
        common = {
            "key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 * shift,
        }  # fmt: skip
        kind = "keyDown" if text else "rawKeyDown"
        await self.call("Input.dispatchKeyEvent", type=kind, text=text, **common)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    async def type(self, text: str) -> None:
        """Type into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def click(self, selector: str) -> None:
        """Click into the middle of an element, with the pointer."""
        await self.wait(
            f"document.querySelector({json.dumps(selector)})", f"{selector} to be there"
        )
        place = await self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent",
                type=kind, x=place[0], y=place[1], button="left", clickCount=1,
            )  # fmt: skip

    async def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """Give the page a size, in CSS pixels."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip

    async def scheme(self, name: str) -> None:
        """Prefer `light` or `dark` colours, and no motion."""
        features = [
            {"name": "prefers-color-scheme", "value": name},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def screenshot(self, width: int, height: int) -> bytes:
        """Return a picture of the top of the page, as WebP."""
        found = await self.call(
            "Page.captureScreenshot",
            format="webp",
            quality=90,
            captureBeyondViewport=True,
            clip={"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
        )
        return base64.b64decode(found["data"])

    def _note(self, message: dict[str, Any]) -> None:
        """Note what the page itself says is wrong: exceptions, and what its policy blocked."""
        if message.get("method") == "Runtime.exceptionThrown":
            self.faults.append(str(message["params"]["exceptionDetails"])[:500])
        elif message.get("method") == "Log.entryAdded":
            entry = message["params"]["entry"]
            if entry["level"] == "error" and entry.get("source") != "network":
                self.faults.append(str(entry["text"])[:500])


@asynccontextmanager
async def browser(program: str, folder: Path) -> AsyncIterator[Page]:
    """Run a browser until the block ends; it keeps what it has in `folder`.

    It asks nobody but this machine.
    """
    process = await asyncio.create_subprocess_exec(
        *(
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--no-default-browser-check", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-extensions", "--mute-audio",
            "--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={folder}",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank",
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        address = await _address(process, folder / "DevToolsActivePort")
        async with (
            ClientSession() as session,
            session.ws_connect(await _page_of(session, address), max_msg_size=0) as socket,
        ):
            page = Page(socket)
            for domain in ("Page", "Runtime", "Log"):
                await page.call(f"{domain}.enable")
            yield page
    finally:
        process.terminate()
        await process.wait()


async def _address(process: asyncio.subprocess.Process, file: Path) -> str:
    loop = asyncio.get_running_loop()
    until_s = loop.time() + _START_S
    while loop.time() < until_s:
        code = process.returncode
        assert code is None, f"Expected Chromium to run, ended with {code}"
        port = await asyncio.to_thread(_first_line, file)
        if port:
            return f"http://127.0.0.1:{port}"
        await asyncio.sleep(_LOOK_S)
    raise AssertionError(f"Expected Chromium to start within {_START_S:g} s")


def _first_line(file: Path) -> str:
    """Return the first line of a file that is written whole; empty where it is not there yet."""
    text = file.read_text() if file.exists() else ""
    return text.splitlines()[0] if "\n" in text else ""


async def _page_of(session: ClientSession, address: str) -> str:
    async with session.get(f"{address}/json/list") as response:
        targets = await response.json()
    return str(next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page"))
