"""The page in Chromium: upload, recording, timeline, keyboard, widths."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from kinema.tasks.recognition.description import load_recognizer
from kinema.weights.model_files import save_model
from tests.serve.server import Server, serving

CHROMIUM = Path("/usr/bin/chromium")
LONG = "pouring a rather large amount of something hot from one container into another one without spilling any of it"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page of the server; nothing it does may be an error, or reach another host."""
    page = browser.new_page()
    faults = list[str]()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on(
        "request",
        lambda request: None if request.url.startswith((server.url, "blob:", "data:")) else faults.append(request.url),
    )
    page.goto(server.url)
    page.wait_for_selector("#classes li", state="attached")
    yield page
    assert not [fault for fault in faults if "422" not in fault]
    page.close()


def upload(page: Page, clip: Path) -> None:
    page.set_input_files("#file", clip)
    page.wait_for_selector("#results:not([hidden])", timeout=60_000)


@pytest.fixture(scope="module")
def webm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of six seconds that Chromium plays."""
    import av
    import numpy as np

    path = tmp_path_factory.mktemp("webm") / "a clip 走る.webm"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(60):
            image = np.full((48, 64, 3), number * 4, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
    return path


def test_an_upload_has_an_answer_and_a_timeline_that_seeks(page: Page, webm: Path) -> None:
    upload(page, webm)
    labels = page.locator("#answers li")
    assert labels.count() == 5
    best = labels.first.locator("b").inner_text()
    assert best in page.inner_text("#status")
    bars = page.locator("#timeline button")
    assert bars.count() >= 4
    bars.nth(3).click()
    start = page.evaluate("document.querySelector('#preview').currentTime")
    said = page.inner_text("#moment")
    assert start > 1
    assert said.startswith(f"0:0{int(start)} to 0:0")
    assert bars.nth(3).get_attribute("aria-current") == "true"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == bars.nth(2).get_attribute("aria-label")
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('#preview').currentTime") < start
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement === document.querySelector('#timeline').lastElementChild")


def test_a_recording_is_answered(page: Page) -> None:
    page.click("#record")
    page.wait_for_selector("#stop:not([hidden])")
    page.wait_for_timeout(2500)
    page.click("#stop")
    page.wait_for_selector("#results:not([hidden])", timeout=60_000)
    assert page.locator("#answers li").count() == 5
    assert page.locator("#record").is_visible()


def test_what_is_no_video_is_said(page: Page, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("no video")
    page.set_input_files("#file", tmp_path / "x.mp4")
    page.wait_for_selector("#status.fault", timeout=60_000)
    assert "cannot be read" in page.inner_text("#status")
    (tmp_path / "large.mp4").write_bytes(b"\0" * (2**21 + 1))
    page.set_input_files("#file", tmp_path / "large.mp4")
    page.get_by_text("at most 2 are accepted").wait_for()


def test_all_controls_are_named_and_reached_by_keyboard(page: Page, webm: Path) -> None:
    upload(page, webm)
    page.click("summary")
    names = page.evaluate(
        """() => [...document.querySelectorAll('button, input, video, progress, a, [role]')]
            .filter((one) => one.checkVisibility())
            .map((one) => one.getAttribute('aria-label') || one.getAttribute('aria-labelledby')
                || one.labels?.[0]?.textContent || one.textContent || one.getAttribute('role'))"""
    )
    assert all(name and name.strip() for name in names)
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.parentElement.id"))
    assert {"file", "record", "timeline", "search", "scroll"} <= reached
    assert page.get_attribute("#status", "aria-live") == "polite"


@pytest.mark.parametrize("count", [2, 400])
def test_long_and_chinese_names_fit(count: int, tiny_run: Path, tmp_path: Path, browser: Browser, webm: Path) -> None:
    network, description = load_recognizer(tiny_run / "checkpoints" / "last")
    network.reset_head(count)
    names = (
        LONG,
        "一边走路一边看手机并且差点撞到路灯杆上然后又若无其事地继续往前走",
        *(f"class {number}" for number in range(2, count)),
    )
    described = replace(description, model=replace(description.model, num_classes=count), classes=names[:count])
    (tmp_path / "named").mkdir()
    save_model(tmp_path / "named", network.state_dict(), described)
    with serving(tmp_path / "named", tmp_path) as server:
        for width in (360, 1280):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.goto(server.url)
            page.wait_for_selector("#classes li", state="attached")
            upload(page, webm)
            page.click("summary")
            assert page.locator("#classes li").count() == count
            page.fill("#search", "看手机")
            assert page.locator("#classes li").count() == 1
            page.fill("#search", "")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.screenshot(path=tmp_path / f"{count}_{width}.png", full_page=True)
            page.close()
