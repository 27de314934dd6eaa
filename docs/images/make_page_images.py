"""Take the pictures of docs/howto/export.md: `python docs/images/make_page_images.py <model.html>`.

The page is opened in Debian's chromium as a file, without a network. A digit is drawn with the mouse, and one value is
opened. The network in the pictures is that of
`python -m lenet_pl.train model=lenet5 data=mnist trainer.max_epochs=5 run=runs/measured/lenet5`, the page that of
`python -m lenet_pl.export run=runs/measured/lenet5 formats=[page]`.
"""

import io
import math
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parent
SCREENS = {"desktop": {"width": 1280, "height": 960}, "phone": {"width": 390, "height": 844}}
COLORS = 256  # of the palette, which keeps the files small
GAP = 20  # px between the two screens of the phone


def draw_three(page: Any) -> None:
    """Draw a 3 with the mouse."""
    board = page.locator("#canvas").bounding_box()
    upper = [
        (135 + 45 * math.cos(a), 98 + 42 * math.sin(a)) for a in (math.radians(200 + 250 * k / 20) for k in range(21))
    ]
    lower = [
        (135 + 52 * math.cos(a), 182 + 44 * math.sin(a)) for a in (math.radians(250 * k / 20 - 90) for k in range(21))
    ]
    scale = board["width"] / 280
    places = [(board["x"] + x * scale, board["y"] + y * scale) for x, y in upper + lower]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()
    page.wait_for_selector("body[data-predicted]")
    page.wait_for_timeout(300)


def take(page: Any, start: str) -> Image.Image:
    """Take a picture of the screen that starts with an element."""
    page.evaluate(f"{start}.scrollIntoView()")
    page.wait_for_timeout(100)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def side_by_side(screens: list[Image.Image]) -> Image.Image:
    """Put pictures next to each other."""
    width, height = screens[0].size
    sheet = Image.new("RGB", (len(screens) * (width + GAP) - GAP, height), "#888")
    for place, screen in enumerate(screens):
        sheet.paste(screen, (place * (width + GAP), 0))
    return sheet


def main(path: Path) -> None:
    """Take all pictures."""
    with sync_playwright() as start:
        browser = start.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for screen, size in SCREENS.items():
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport=size, color_scheme=scheme, offline=True, reduced_motion="reduce")
                page = context.new_page()
                page.goto(path.resolve().as_uri())
                draw_three(page)
                page.locator(".map canvas").nth(1).click(position={"x": 60, "y": 40})
                starts = ["document.body"] + ["document.querySelectorAll('.layer')[1]"] * (screen == "phone")
                picture = side_by_side([take(page, start) for start in starts])
                picture.quantize(COLORS).save(IMAGES / f"page_{screen}_{scheme}.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
