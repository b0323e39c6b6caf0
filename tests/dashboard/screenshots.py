"""Makes the README's pictures: `scripts/test dashboard --screenshots`."""

import asyncio
from pathlib import Path

import pytest

from pipeline.packets.events import EmergencyLevel
from tests.dashboard.chromium import Page
from tests.dashboard.rig import Rig
from tests.dashboard.walking import STATE, confirm, log_in

_FOLDER = Path(__file__).parents[2] / ".readme"
_MOST_BYTES = 150_000
_CHARTS_S = 60.0  # most of what the charts go back
_DRAWN_S = 1.5
_DESK = 1160
pytestmark = pytest.mark.timeout(900)
_GATHERED = "document.querySelectorAll('#latency .line').length >= 2"


async def _keep(page: Page, name: str, width: int, height: int) -> None:
    await page.value("scrollTo(0, 0)")
    await asyncio.sleep(_DRAWN_S)
    content = await page.screenshot(width, height)
    await asyncio.to_thread((_FOLDER / name).write_bytes, content)
    assert len(content) < _MOST_BYTES, f"Expected {name} below {_MOST_BYTES}, was {len(content)}"


async def test_screenshots(page: Page, cascade: Rig) -> None:
    """Light and dark on a desk, and a phone; with something to see in each part."""
    await asyncio.to_thread(_FOLDER.mkdir, exist_ok=True)
    cascade.declare(EmergencyLevel.ADVISORY, "latency is above what is usual at this hour")
    await page.size(_DESK, 900)
    await log_in(page, cascade)
    await page.wait(f"{STATE} === '▶ ACTIVE'", "trading to be active")
    await page.click("[data-key=isolate]")
    await page.wait("document.getElementById('dialog').open", "a dialog")
    await page.type("symbol:FB")
    await page.press("Tab")
    await confirm(page, "its prices repeat themselves")
    await page.wait(_GATHERED, "figures")
    await page.wait("document.querySelectorAll('#validation .list, #validation .calm').length",
                    "a validation")  # fmt: skip
    await page.wait("document.getElementById('said').textContent === ''", "nothing said any more")
    await page.wait("document.querySelectorAll('#flows tbody tr').length >= 12", "flows")
    await asyncio.sleep(_CHARTS_S)
    await _keep(page, "dashboard-light.webp", _DESK, 900)
    await page.scheme("dark")
    await _keep(page, "dashboard-dark.webp", _DESK, 900)
    await page.size(390, 844, phone=True)
    await page.scheme("light")
    await _keep(page, "dashboard-phone.webp", 390, 1180)
