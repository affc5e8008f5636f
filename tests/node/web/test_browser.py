"""The pages in a real browser: no script or policy error, nothing wider than a phone, contrast, keyboard."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from node.app import open_node
from node.web.application import make_application
from tests.node.web.test_pages import PAGES

_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
CONTRAST = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const e of document.querySelectorAll("main *, header *")) {
    const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text || !e.getClientRects().length) continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(e.tagName + " " + e.textContent.trim().slice(0, 40));
  }
  return bad;
}"""
"""Text below the 4.5:1 of WCAG 2.2, 1.4.3."""
TOUCHING = """() => {
  const found = [...document.querySelectorAll("main button, main select, main input:not([type=hidden])")];
  const shown = found.filter((e) => e.getClientRects().length);
  const bad = [];
  for (const [i, a] of shown.entries()) for (const b of shown.slice(i + 1)) {
    const [p, q] = [a.getBoundingClientRect(), b.getBoundingClientRect()];
    const [dx, dy] = [Math.max(p.left, q.left) - Math.min(p.right, q.right),
                      Math.max(p.top, q.top) - Math.min(p.bottom, q.bottom)];
    if (Math.max(dx, dy) < 8) bad.push(a.textContent.trim() + " | " + b.textContent.trim());
  }
  return bad;
}"""
"""Pairs of controls less than 8 px apart."""


@pytest.fixture
def address(config, worked, tmp_path) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    with open_node(config) as node:
        application = make_application(node, tmp_path / "config.json")
        server = uvicorn.Server(uvicorn.Config(application, log_config=None))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()
    listening.close()


@pytest.fixture
def browser(peer: Callable[[str], Path]) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=peer("chromium"), args=_FLAGS)
        yield browser
        browser.close()


def open_page(browser: Browser, width: int) -> tuple[Page, list[str]]:
    errors: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return page, errors


@pytest.mark.peer
def test_pages_in_a_browser(browser, address, worked) -> None:
    (job,) = worked.jobs()
    for width in (1280, 390):
        page, errors = open_page(browser, width)
        for path in (*PAGES[:2], *PAGES[3:], f"/jobs/{job.job_id}"):
            page.goto(address + path)
            page.evaluate("document.querySelectorAll('details').forEach((box) => (box.open = true))")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
            assert page.evaluate(CONTRAST) == [], path
            assert page.evaluate(TOUCHING) == [], (path, width)
            assert page.locator("h1").count() == 1
        assert errors == []


@pytest.mark.peer
def test_a_job_is_sent_again_by_keyboard_alone(browser, address, worked) -> None:
    page, errors = open_page(browser, 1280)
    page.goto(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.pathname || ''").startswith("/jobs/"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    page.get_by_role("button", name="Send everything again").focus()
    page.keyboard.press("Enter")
    page.get_by_text("3 objects are sent again").wait_for()
    assert errors == []


@pytest.mark.peer
def test_an_indication_is_chosen_by_keyboard_alone(browser, address, worked) -> None:
    (job,) = worked.jobs()
    page, errors = open_page(browser, 390)
    page.goto(f"{address}/jobs/{job.job_id}")
    page.get_by_text("Measure with another region or indication").focus()
    for key in ("Enter", "Tab", "Tab", "ArrowDown", "ArrowDown", "Tab", "Enter"):
        page.keyboard.press(key)
    page.get_by_text("is queued: revision 2").wait_for()
    latest = worked.ledger.find(worked.jobs()[-1].job_id)
    assert (latest.region_uid, latest.indication) == (None, "scd-chronic-transfusion")
    assert errors == []


@pytest.mark.peer
def test_the_list_refreshes_by_itself(browser, address, worked) -> None:
    page, errors = open_page(browser, 1280)
    page.goto(address)
    assert page.get_by_text("2 of 3").count() == 1
    worked.archive.refuse = lambda path: None
    worked.steps(40, each_s=300)
    page.get_by_text("3 of 3").wait_for(timeout=10000)
    assert errors == []
