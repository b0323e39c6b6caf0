"""The dashboard in a browser, over a cascade that runs; `scripts/test dashboard` gives verdicts."""

import asyncio
import json
from pathlib import Path

import pytest

from pipeline.packets.events import ControlKind, EmergencyLevel, TradingState
from tests.dashboard.chromium import Page
from tests.dashboard.rig import OFFICER, PASSWORD, Dashboard, Rig
from tests.dashboard.walking import STATE, confirm, follow_keys, log_in, low_contrasts, overflow
from tests.faults.proxy import FaultProxy
from tests.kafka_workers import wait_until

pytestmark = pytest.mark.timeout(600)  # the cascade starts within the first

_MOST_BYTES = 65_536
_PHONE = 360
_STAGES = ("strategic", "tactical", "risk", "execution", "gateway")


async def _flowing(page: Page) -> None:
    await page.wait(
        "document.querySelectorAll('#flows tbody tr').length >= 5", "flows to be listed"
    )


async def test_halts_and_resumes(page: Page, cascade: Rig) -> None:
    """Log in, halt, confirm, see the halted state, resume; the log has the user as author."""
    await log_in(page, cascade)
    await page.wait(f"{STATE} === '▶ ACTIVE'", "trading to be active")
    await page.click("[data-key=halt]")
    assert TradingState.ACTIVE is cascade.control().trading_state  # not before it is confirmed
    await confirm(page, "prices look wrong")
    await page.wait(f"{STATE} === '■ HALTED'", "the halted state")
    await page.wait(
        "document.getElementById('said').textContent.includes('acknowledged by all')"
        " || document.getElementById('said').textContent.includes('HALT at epoch')",
        "what came of it",
    )
    machine = cascade.control()
    assert (TradingState.HALTED, OFFICER) == (machine.trading_state, cascade.last(ControlKind.HALT))
    assert f"halted by {OFFICER}: prices look wrong" == machine.reason
    await page.wait(
        f"document.querySelector('.trading .why').textContent.includes('halted by {OFFICER}')",
        "author and reason",
    )
    await page.click("[data-key=resume]")
    await confirm(page, "prices are right again")
    await page.wait(f"{STATE} === '▶ ACTIVE'", "trading to be active again")
    assert (TradingState.ACTIVE, OFFICER) == (
        cascade.control().trading_state, cascade.last(ControlKind.RESUME),
    )  # fmt: skip


async def test_keyboard_alone(page: Page, cascade: Rig) -> None:
    """Halt and resume without a pointer; one sees where one is, and Escape gives nothing."""
    await log_in(page, cascade)
    await page.wait(f"{STATE} === '▶ ACTIVE'", "trading to be active")
    await follow_keys(page, "halt")
    await page.press("Enter")
    await page.wait("document.getElementById('dialog').open", "a dialog")
    await page.press("Escape")
    await page.wait("!document.getElementById('dialog').open", "the dialog to close")
    assert TradingState.ACTIVE is cascade.control().trading_state
    await page.wait("document.activeElement.dataset.key === 'halt'", "the focus where it was")
    await page.press("Enter")
    await confirm(page, "by keyboard")
    await page.wait(f"{STATE} === '■ HALTED'", "the halted state")
    await follow_keys(page, "resume")
    await page.press(" ")
    await confirm(page, "by keyboard again")
    await page.wait(f"{STATE} === '▶ ACTIVE'", "trading to be active again")
    await follow_keys(page, "stage-gateway")
    await page.press("Enter")
    await page.wait("document.getElementById('dialog-title')?.textContent === 'Gateway'", "a stage")


async def test_isolates_and_releases(page: Page, cascade: Rig) -> None:
    """A stage is fenced off from its place in the picture, and let back in from the list."""
    await log_in(page, cascade)
    await page.click("[data-key=stage-tactical]")
    await page.click("#dialog .danger")
    await confirm(page, "decides nonsense")
    await page.wait("document.querySelector('.node.isolated .title')?.textContent === 'Tactical'",
                    "tactical to be shown as isolated")  # fmt: skip
    assert "tactical" in cascade.control().fences.fences.stages
    await page.click("[data-key='release-stage:tactical']")
    await confirm(page, "mended")
    await page.wait("!document.querySelector('.node.isolated')", "nothing isolated any more")
    assert not cascade.control().fences.fences.stages


async def test_acknowledges_an_emergency(page: Page, cascade: Rig) -> None:
    """An emergency that is declared comes into sight, and is taken on with its author."""
    await log_in(page, cascade)
    emergency = cascade.declare(EmergencyLevel.ADVISORY, "latency is unusual")
    await page.click(f"[data-key='emergency-{emergency}']")
    await confirm(page, "on it")
    await page.wait(
        f"document.getElementById('emergencies').textContent.includes('taken on by {OFFICER}')",
        "who has taken it on",
    )
    wait_until(lambda: cascade.taken_on_by(emergency) == OFFICER, "the record of it")


async def test_drills_down_to_a_flow(page: Page, cascade: Rig) -> None:
    """From the list of flows to one flow's records, in the order of the stages."""
    await log_in(page, cascade)
    await _flowing(page)
    await page.click("#flows tbody .link")
    await page.wait("document.querySelector('#dialog .timeline svg')", "the flow's timeline")
    types = await page.value(
        "[...document.querySelectorAll('#dialog .steps > li strong')].map(e => e.textContent)"
    )
    assert ["MarketData", "StrategicSignal", "TacticalSignal", "RiskAssessment"] == types[:4]
    assert "ExecutionPlan" in types


async def test_says_everything_without_colour(page: Page, cascade: Rig) -> None:
    """Each stage, outcome and state has a symbol and a word, and each stage a label to be read."""
    await log_in(page, cascade)
    await _flowing(page)
    words = await page.value(
        "[...document.querySelectorAll('.node .word')].map(e => e.textContent)"
    )
    assert 6 == len(words)
    assert all(len(each.split(" ", 1)) == 2 for each in words)
    badges = await page.value("[...document.querySelectorAll('.badge')].map(e => e.textContent)")
    assert all(len(each.split(" ", 1)) == 2 or each == "over" for each in badges)
    labels = await page.value(
        "[...document.querySelectorAll('.node')].map(e => e.getAttribute('aria-label'))"
    )
    for stage, label in zip(_STAGES, labels[1:], strict=True):
        assert label.startswith(f"{stage.capitalize()}: ")
        assert "a second" in label


async def test_phone_width(page: Page, cascade: Rig) -> None:
    """Nothing is wider than a phone, dialogs included, and the picture stands upright."""
    await page.size(_PHONE, 800, phone=True)
    await log_in(page, cascade)
    await _flowing(page)
    assert 0 == await overflow(page)
    upright = await page.value(
        "[...document.querySelectorAll('.node rect.body')].map(e => e.getAttribute('x'))"
    )
    assert 1 == len(set(upright))
    await page.click("[data-key=halt]")
    await page.wait("document.getElementById('dialog').open", "a dialog")
    assert 0 == await overflow(page)
    box = await page.value(
        "(() => { const r = document.getElementById('dialog').getBoundingClientRect();"
        " return [r.left, r.right]; })()"
    )
    assert 0 <= box[0] < box[1] <= _PHONE
    await page.press("Escape")
    await page.click("#flows tbody .link")
    await page.wait("document.querySelector('#dialog .timeline svg')", "the flow's timeline")
    assert 0 == await overflow(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_schemes(page: Page, cascade: Rig, scheme: str) -> None:
    """Light and dark follow the system, and all text stands out enough in both."""
    await page.scheme(scheme)
    await page.open(cascade.dashboard.url)
    await page.wait("!document.getElementById('login').hidden", "the login")
    assert [] == await low_contrasts(page)
    await log_in(page, cascade)
    await _flowing(page)
    assert [] == await low_contrasts(page)
    ground = await page.value("getComputedStyle(document.body).backgroundColor")
    red = int(ground.removeprefix("rgb(").split(",")[0])
    assert (red < 64) is (scheme == "dark")


async def test_with_nothing_running(page: Page, cascade: Rig, tmp_path: Path, kafka: str) -> None:
    """Without a broker the page says so, shows no state that it does not know, and comes alive."""
    with FaultProxy(kafka) as proxy:
        proxy.refusing = True
        alone = cascade.settings.model_copy(update={"broker": proxy.address, "home": tmp_path})
        dashboard = await asyncio.to_thread(Dashboard, alone, "alone")
        try:
            await log_in(page, cascade, url=dashboard.url)
            await page.wait("!document.getElementById('trouble').hidden", "what is missing")
            assert "? NOT KNOWN" == await page.value(STATE)
            assert 5 == await page.value("document.querySelectorAll('.node.unknown').length - 1")
            proxy.refusing = False
            await page.wait(
                f"document.getElementById('trouble').hidden && {STATE} === '▶ ACTIVE'",
                "the page to come alive",
            )
        finally:
            await asyncio.to_thread(dashboard.close)


async def test_a_thousand_packets_a_second(page: Page, cascade: Rig) -> None:
    """Each browser gets about one picture a second, of a bounded size, whatever the rate."""
    await log_in(page, cascade)
    before = await page.value("performance.now()")
    await page.value(
        "window.seen = []; new EventSource('/api/events').addEventListener('picture',"
        " (event) => window.seen.push([event.data.length, JSON.parse(event.data).figures.ended]))"
    )
    cascade.flood(1000.0, 8.0)
    await page.wait("seen.length >= 8 && seen.at(-1)[1] - seen[0][1] >= 1000", "a thousand packets")
    lasted_s = (await page.value("performance.now()") - before) / 1000
    seen = await page.value("seen")
    assert len(seen) <= lasted_s * 1.1 + 2
    assert max(size for size, _ in seen) < _MOST_BYTES


async def test_asks_nobody_but_its_server(page: Page, cascade: Rig) -> None:
    """Everything comes from the dashboard, by policy; scripts from elsewhere do not run."""
    await log_in(page, cascade)
    await _flowing(page)
    hosts = await page.value(
        "[...new Set(performance.getEntriesByType('resource').map(e => new URL(e.name).origin))]"
    )
    assert [cascade.dashboard.url.rstrip("/")] == hosts
    assert not await page.value("document.cookie")
    kept = json.dumps(await page.value("({...localStorage})"))
    assert PASSWORD not in kept
    assert PASSWORD not in cascade.dashboard.log
