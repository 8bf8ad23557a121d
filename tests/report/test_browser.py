"""The page in a browser: drawn, driven, photographed, without a word on the console."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lpcam.demo import DemoResult
from lpcam.report.whole import write_report
from lpcam.sources import DataSource
from lpcam.workspace import Workspace

api = pytest.importorskip("playwright.sync_api", reason="pip install playwright to drive the page in a browser")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium to test the page")

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any, demo: DemoResult) -> Iterator[Any]:
    """Open the page by a call; what it says on the console, or asks of the network, fails the test."""
    said: list[str] = []
    pages = []

    def open_page(viewport: dict[str, int] = DESKTOP, scheme: str = "light", path: Path = demo.page) -> Any:
        page = browser.new_page(viewport=viewport, color_scheme=scheme)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or said.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert said == []


def photographed(page: Any, name: str) -> np.ndarray:
    """Return a screenshot as grey, and keep it where LPCAM_SCREENSHOTS says."""
    content = page.screenshot()
    if folder := os.environ.get("LPCAM_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.png").write_bytes(content)
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image.convert("L"))


def pixels(page: Any, card: int, panel: int) -> np.ndarray:
    """Return what a canvas of the gallery shows: RGB [H·W, 3]."""
    script = """([card, panel]) => {
      const canvas = document.querySelectorAll("#cards article")[card].querySelectorAll("canvas")[panel];
      return canvas.toDataURL("image/png").split(",")[1];
    }"""
    with Image.open(io.BytesIO(base64.b64decode(page.evaluate(script, [card, panel])))) as image:
        return np.array(image.convert("RGB")).reshape(-1, 3).astype(int)


def settled(page: Any) -> None:
    """Wait until the cards are drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 120)))")


def captions(page: Any, card: int) -> list[str]:
    return page.locator("#cards article").nth(card).locator("figcaption").all_inner_texts()


def order(page: Any) -> list[str]:
    return page.locator("#cards article h2 span").all_inner_texts()


def slide(page: Any, name: str, value: int) -> None:
    page.locator(f"#{name}").evaluate(
        "(input, value) => { input.value = value; for (const kind of ['input', 'change'])"
        " input.dispatchEvent(new Event(kind, { bubbles: true })); }",
        value,
    )
    settled(page)


@pytest.mark.parametrize(
    ("name", "viewport", "scheme", "light"),
    [("desktop", DESKTOP, "light", True), ("phone", PHONE, "light", True), ("dark", DESKTOP, "dark", False)],
)
def test_every_part_is_seen_at_every_width_in_both_schemes(opened, name, viewport, scheme, light):
    page = opened(viewport, scheme)
    for part in ("summary", "gallery", "prototypes"):
        page.evaluate("(part) => document.getElementById(part).scrollIntoView()", part)
        settled(page)
        shot = photographed(page, f"{name}-{part}")
        assert (np.median(shot) > 128) == light
        assert shot.std() > 12
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]  # nothing sticks out


def test_text_has_the_contrast_that_eyes_need(opened):
    script = """() => {
      const light = (text) => {
        const parts = text.match(/[\\d.]+/g).slice(0, 3).map((value) => value / 255)
          .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
      };
      const ground = (node) => {
        for (let each = node; each; each = each.parentElement) {
          const colour = getComputedStyle(each).backgroundColor;
          if (!/, 0\\)$|transparent/.test(colour)) return colour;
        }
        return "rgb(255, 255, 255)";
      };
      const poor = [], texts = "h1, h2, p, li, dt, dd, th, td, caption, figcaption, label, a, b, button, select";
      for (const node of document.querySelectorAll(texts)) {
        if (!node.innerText?.trim() || node.disabled || /color-mix|color\\(/.test(ground(node))) continue;
        const [a, b] = [light(getComputedStyle(node).color), light(ground(node))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) poor.push(`${node.tagName} ${node.innerText.slice(0, 30)} ${contrast.toFixed(2)}`);
      }
      return poor;
    }"""
    for scheme in ("light", "dark"):
        assert opened(DESKTOP, scheme).evaluate(script) == []


def test_the_threshold_slider_redraws_every_method_and_says_the_score_of_the_files(opened, demo):
    page = opened()
    page.select_option("#sort", label="in the order of the list")  # the scores would put another photo first
    slide(page, "threshold", 30)
    assert page.locator("#threshold-value").inner_text() == "0.30"
    page.select_option("#view", "seed")
    settled(page)
    some = [pixels(page, 0, panel) for panel in range(2, 6)]
    assert all(" at 0.30" in text for text in captions(page, 0)[2:])
    slide(page, "threshold", 100)
    assert all("background only" not in text for text in captions(page, 0))
    for before, panel in zip(some, range(2, 6), strict=True):
        assert (pixels(page, 0, panel) != before).any()
    assert all("IoU 0 %" in text for text in captions(page, 0)[2:])  # nothing is above 1
    page.click("#own")
    settled(page)
    for text, row in zip(captions(page, 0)[2:], demo.rows, strict=True):
        assert text.endswith(f"at {row.threshold:.2f}")


def test_the_opacity_slider_leads_from_photo_to_map(opened):
    page = opened()
    slide(page, "opacity", 0)
    photo, bare = pixels(page, 0, 0), pixels(page, 0, 2)
    slide(page, "opacity", 100)
    full = pixels(page, 0, 2)
    near = np.abs(photo - bare).max(axis=1) < 2  # all but outline and name
    assert near.mean() > 0.75
    assert (np.abs(photo - full).max(axis=1) < 2).mean() < 0.3


def test_a_seed_by_hand_from_the_map_that_is_shown(opened):
    page = opened()
    slide(page, "opacity", 100)
    slide(page, "threshold", 50)
    heat = pixels(page, 0, 2)
    page.select_option("#view", "seed")
    settled(page)
    seed = pixels(page, 0, 2)
    inside = seed.max(axis=1) - seed.min(axis=1) > 60  # coloured
    light = heat @ [0.2126, 0.7152, 0.0722]
    if inside.any() and not inside.all():
        assert np.median(light[inside]) > np.median(light[~inside])


def test_sorting_goes_by_the_scores_of_the_files(opened):
    page = opened()
    for title, rising in (("IoU of LPCAM, best first", False), ("IoU of LPCAM, worst first", True)):
        page.select_option("#sort", label=title)
        settled(page)
        found = [captions(page, card)[4] for card in range(12)]
        values = [float(text.split("IoU ")[1].split(" %")[0]) for text in found if "IoU " in text]
        single = [len(page.locator("#cards article").nth(card).locator("h2 button").all()) == 1 for card in range(12)]
        shown = [value for value, alone in zip(values, single, strict=False) if alone]
        assert shown == sorted(shown, reverse=not rising)
        assert len(shown) > 3


def test_the_list_is_filtered_by_class_and_name_and_paged(opened):
    page = opened()
    page.select_option("#sort", label="in the order of the list")
    assert order(page) == [f"train_{index:04d}" for index in range(12)]
    page.locator("[data-step='1']").first.click()
    settled(page)
    assert order(page)[0] == "train_0012"
    page.fill("#search", "0007")
    settled(page)
    assert order(page) == ["train_0007"]
    page.fill("#search", "")
    page.select_option("#class", label="sheep")
    settled(page)
    assert order(page)
    assert all("sheep" in text for text in page.locator("#cards article h2").all_inner_texts())


def test_arrows_go_from_photo_to_photo_and_over_the_page(opened):
    page = opened()
    page.select_option("#sort", label="in the order of the list")
    page.evaluate("document.activeElement.blur()")
    current = page.locator("article[aria-current='true'] h2")
    for name in ("train_0000", "train_0001"):
        page.keyboard.press("ArrowRight")
        assert current.inner_text().startswith(name)
    for _ in range(11):
        page.keyboard.press("ArrowRight")
    settled(page)
    assert current.inner_text().startswith("train_0012")
    page.keyboard.press("ArrowLeft")
    settled(page)
    assert current.inner_text().startswith("train_0011")


def test_a_class_is_chosen_where_a_photo_has_several(opened):
    page = opened()
    page.select_option("#sort", label="in the order of the list")
    settled(page)
    several = next(
        card for card in range(12) if page.locator("#cards article").nth(card).locator("h2 button").count() > 1
    )
    before = pixels(page, several, 2)
    second = page.locator("#cards article").nth(several).locator("h2 button").nth(1)
    second.click()
    settled(page)
    assert second.get_attribute("aria-pressed") == "true"
    assert captions(page, several)[2].split("\n")[1].startswith(second.inner_text())
    assert (pixels(page, several, 2) != before).any()


def test_prototypes_of_every_class_are_shown(opened, demo):
    page = opened()
    names = page.locator("#prototype-class option").all_inner_texts()
    for name in (names[0], names[-1]):
        page.select_option("#prototype-class", label=name)
        counts = demo.prototypes[name]
        kept = counts["class_prototypes"] + counts["context_prototypes"]
        assert page.locator(".sight").count() == page.locator(".sight img").count() == kept
        assert (
            page.locator(".sight img").first.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 100
        )
        assert page.locator(".sight b").first.inner_text() == f"{name} 1"
    drawn = page.locator("#plane").evaluate(
        "(canvas) => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size"
    )
    assert drawn > 8


def test_the_confusion_of_every_method_is_shown(opened, demo):
    page = opened()
    page.select_option("#confusion-method", label="CAM")
    rows = page.locator("#confusion tbody tr")
    seen = [name for name, value in demo.rows[0].per_class.items() if value is not None]
    assert [text.split("\t")[0] for text in rows.all_inner_texts()] == seen
    for index in range(rows.count()):
        shares = [float(text or 0) for text in rows.nth(index).locator("td").all_inner_texts()]
        assert 97 <= sum(shares) <= 103


def test_a_run_without_masks_and_prototypes_is_shown_too(opened, demo, tmp_path, monkeypatch):
    split = DataSource("demo", demo.data, "train").open()
    bare = replace(split, photos=tuple(replace(photo, mask=None) for photo in split.photos[:13]))
    monkeypatch.setattr(DataSource, "open", lambda self: bare)
    shutil.copytree(demo.workspace / "seeds/lpcam", tmp_path / "w/seeds/lpcam")
    source = DataSource("demo", demo.data, "train")
    written = write_report(Workspace(tmp_path / "w"), data=source).page
    page = opened(path=written)
    assert page.locator("#sort option").all_inner_texts() == ["in the order of the list"]
    assert page.locator("#confusion, #prototypes, polyline").count() == 0
    assert page.locator("#cards article").count() == 12
    assert captions(page, 0)[1] == "LPCAM\nseed at 0.30"
    before = pixels(page, 0, 1)
    slide(page, "threshold", 90)
    assert (pixels(page, 0, 1) != before).any()
