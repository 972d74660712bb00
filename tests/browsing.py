"""Open a page in headless Chromium: what it asks for, says and shows."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.chromium import PROGRAM, Chromium

needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium")

# The least contrast of any text with its background, and that text.
CONTRAST = """
(() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (colour, below) => {
    context.fillStyle = `rgb(${below.slice(0, 3).join()})`;
    context.fillRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const behind = (element) => {
    const parent = element.parentElement;
    return over(getComputedStyle(element).backgroundColor,
      parent ? behind(parent) : [255, 255, 255]);
  };
  const light = (rgb) => rgb.slice(0, 3)
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0.05);
  let worst = [21, ""];
  for (const element of document.body.querySelectorAll("*")) {
    const text = [...element.childNodes]
      .filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
    if (!text || !element.getClientRects().length || element.closest("script, style, title")) {
      continue;
    }
    const style = getComputedStyle(element);
    const ground = behind(element);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    const both = [light(over(colour, ground)), light(ground)];
    const ratio = Math.max(...both) / Math.min(...both);
    if (ratio < worst[0]) worst = [ratio, text];
  }
  return worst;
})()
"""
FITS = "document.documentElement.scrollWidth <= innerWidth"
LEAST_CONTRAST = 4.5  # WCAG 2.2, level AA


def browse(page: str, probe: str, folder: Path, *, width: int, dark: bool) -> Any:
    """Return the value of an expression of JavaScript on a page.

    The page asks for nothing but itself, says nothing on the console, does not scroll sideways,
    and all its text can be read.
    """
    file = folder / "page.html"
    file.write_text(page, "utf-8")
    with Chromium(folder / "profile", dark=dark, size=f"{width},900") as browser:
        load(browser, file.as_uri())
        value = browser.run(probe)
        contrast, text = browser.run(CONTRAST)
        assert browser.run(FITS)
        assert browser.messages == []
        assert browser.requests == [file.as_uri()]
        assert contrast >= LEAST_CONTRAST, text
    return value


def load(browser: Chromium, address: str) -> None:
    browser.call("Network.enable")
    browser.call("Page.navigate", url=address)
    browser.until(f"location.href === '{address}' && document.readyState === 'complete'")
