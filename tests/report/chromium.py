"""A page in Chromium, with what it logged and requested, and measures of accessibility."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")

CONTRASTS = """
() => {
  // WCAG 2.2, relative luminance and contrast ratio, of every visible text against the colors behind it.
  const parse = (text) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const luminance = (color) => {
    const [r, g, b] = color.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    if (!walker.currentNode.data.trim() || !box.width || style.visibility === "hidden") continue;
    if (element.closest("script,style,.hidden,.skip,title,desc")) continue;
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.unshift(parse(getComputedStyle(e).backgroundColor));
    const back = layers.reduce((below, top) => over(top, below), [255, 255, 255, 1]);
    const front = over(parse(element.closest("svg") ? style.fill : style.color), back);
    const [a, b] = [luminance(front), luminance(back)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) low.push([walker.currentNode.data.trim().slice(0, 40), ratio]);
  }
  return low;
}
"""

FAULTS = """
() => {
  // Rules of axe-core: heading-order, image-alt, svg-img-alt, label, duplicate-id, html-has-lang, region names.
  const faults = [];
  let level = 0;
  for (const heading of document.querySelectorAll("h1,h2,h3,h4")) {
    const own = +heading.tagName[1];
    if (own > level + 1) faults.push(`heading ${heading.textContent} skips a level`);
    level = own;
  }
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  for (const image of document.images) if (!image.alt) faults.push("image without alt");
  for (const svg of document.querySelectorAll("svg:not([aria-hidden])")) {
    const ids = (svg.getAttribute("aria-labelledby") || "").split(" ");
    if (!ids.every((id) => document.getElementById(id)?.textContent)) faults.push("svg without name");
  }
  for (const video of document.querySelectorAll("video")) {
    if (!video.getAttribute("aria-label") || !video.controls) faults.push("video without name or controls");
  }
  for (const table of document.querySelectorAll("table")) {
    if (!table.caption) faults.push("table without caption");
    for (const th of table.querySelectorAll("th")) if (!th.scope) faults.push("th without scope");
  }
  for (const region of document.querySelectorAll("[role=region]")) {
    if (!region.getAttribute("aria-label") || region.tabIndex !== 0) faults.push("region without name or focus");
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  if (new Set(ids).size !== ids.length) faults.push("an id is used twice");
  if (!document.documentElement.lang || !document.title) faults.push("no language or title");
  return faults;
}
"""


@dataclass
class Opened:
    """A page, its console messages and errors, and its requests beyond the file itself."""

    page: Any
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: pages are tested in a real browser")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, file: Path, *, width: int = 1280, dark: bool = False) -> Iterator[Opened]:
    """Open a local page."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    result = Opened(page)
    page.on("console", lambda message: result.messages.append(message.text))
    page.on("pageerror", lambda error: result.messages.append(str(error)))
    own = file.resolve().as_uri()
    page.on(
        "request",
        lambda request: (
            result.requests.append(request.url) if request.url != own and not request.url.startswith("data:") else None
        ),
    )
    page.goto(own)
    yield result
    context.close()
