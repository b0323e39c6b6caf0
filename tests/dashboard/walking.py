"""What a person does on the page, and what one sees there."""

import json

from tests.dashboard.chromium import Page
from tests.dashboard.rig import OFFICER, PASSWORD, Rig

__all__ = ["CONTRAST", "STATE", "confirm", "follow_keys", "log_in", "low_contrasts", "overflow"]

STATE = "document.getElementById('state')?.textContent"
_MOST_TABS = 80

CONTRAST = 4.5
"""Least ratio of text to its ground, WCAG 2.2 AA (1.4.3)."""

_CONTRASTS = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const part = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const ground = (element) => {
    const body = element.closest('.node')?.querySelector('rect.body');
    if (body) return rgb(getComputedStyle(body).fill);
    for (let each = element; each; each = each.parentElement) {
      const found = rgb(getComputedStyle(each).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    if (element.closest('button:disabled, .unseen, .skip, option')) continue;
    const style = getComputedStyle(element);
    const ink = rgb(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const name = `${element.tagName} ${element.getAttribute('class')}`;
    const text = walker.currentNode.textContent.trim().slice(0, 40);
    if (ratio < LIMIT) found.push(`${ratio.toFixed(2)} ${name}: ${text}`);
  }
  return found;
})()""".replace("LIMIT", str(CONTRAST))


async def log_in(page: Page, rig: Rig, *, url: str = "") -> None:
    """Open the page and log in, by keys alone; the cascade is in sight afterwards."""
    await page.open(url or rig.dashboard.url)
    await page.wait("document.activeElement?.id === 'user'", "the name to have the focus")
    await page.type(OFFICER)
    await page.press("Tab")
    await page.type(PASSWORD)
    await page.press("Enter")
    await page.wait(STATE, "the cascade after the login")


async def confirm(page: Page, reason: str) -> None:
    """Fill in the dialog that is open, and confirm it by the Enter key."""
    await page.wait("document.getElementById('dialog').open", "a dialog")
    await page.type(reason)
    await page.press("Enter")
    await page.wait("!document.getElementById('dialog').open", "the dialog to close")


async def follow_keys(page: Page, key: str) -> None:
    """Press Tab until what has `data-key` is reached, and can be seen to be.

    Raises:
        AssertionError: If it is not reached, or nothing shows that it has the focus.
    """
    selector = json.dumps(f"[data-key='{key}']:not(:disabled)")
    await page.wait(f"document.querySelector({selector})", f"{key} to be there")
    there = f"document.activeElement?.dataset?.key === {json.dumps(key)}"
    for _ in range(_MOST_TABS):
        if await page.value(there):
            shown = await page.value(
                "(() => { const e = document.activeElement; const b = e.querySelector('rect.body');"
                " return parseFloat(getComputedStyle(e).outlineWidth) >= 2"
                " && getComputedStyle(e).outlineStyle !== 'none'"
                " || b && parseFloat(getComputedStyle(b).strokeWidth) >= 3; })()"
            )
            assert shown, f"Expected to see that {key} has the focus"
            return
        await page.press("Tab")
    raise AssertionError(f"Expected to reach {key} by {_MOST_TABS} presses of Tab")


async def low_contrasts(page: Page) -> list[str]:
    """Return the texts that stand out too little from their ground."""
    found: list[str] = await page.value(_CONTRASTS)
    return found


async def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    found: int = await page.value(
        "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
        " - document.documentElement.clientWidth"
    )
    return found
