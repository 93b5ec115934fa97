"""Frames a second and first paint of the playground in Chromium, on the spiral with 2-16-16-3.

    python benchmarks/live_page.py

Wanted are 60 frames a second and a paint within 500 ms. Chromium has no
graphics card here.
"""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import tinygrad_opt as tg

PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
FRAMES = "playground.timing.frames / (performance.now() - playground.timing.began) * 1000"
STEPS = "playground.timing.steps / (performance.now() - playground.timing.began) * 1000"


def main(runs=5, seconds=5):
    """Measure a few times in one browser, each in a page of its own."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        page = tg.playground().save(Path(folder) / "playground.html")
        chromium = play.chromium.launch(
            executable_path=browser,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        print("first paint  ready  frames/s  steps/s")
        for _ in range(runs):
            tab = chromium.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.as_uri())
            tab.wait_for_selector("html[data-ready]", state="attached")
            ready = tab.evaluate("performance.now()")
            tab.wait_for_timeout(500)
            paint = tab.evaluate(PAINT)
            tab.click("#play")
            tab.wait_for_timeout(1000 * seconds)
            frames, steps = tab.evaluate(FRAMES), tab.evaluate(STEPS)
            print(f"{paint:8.0f} ms {ready:5.0f}ms  {frames:8.1f} {steps:8.0f}")
            tab.close()
        chromium.close()


if __name__ == "__main__":
    main()
