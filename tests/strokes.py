"""Ten digits as a person draws them, strokes of points on a board of 280 × 280 px, and a mouse that draws them."""

import math
from typing import Any

Point = tuple[float, float]
Stroke = list[Point]


def arc(x: float, y: float, width: float, height: float, start: float, end: float) -> Stroke:
    """Follow an ellipse between two angles, in degrees from the right, clockwise on the screen."""
    steps = 16
    angles = [math.radians(start + (end - start) * k / steps) for k in range(steps + 1)]
    return [(x + width * math.cos(a), y + height * math.sin(a)) for a in angles]


DIGITS: dict[str, list[Stroke]] = {
    "0": [arc(140, 140, 55, 85, -90, 270)],
    "1": [[(115, 85), (148, 55), (146, 140), (144, 225)]],
    "2": [[*arc(138, 100, 50, 45, 190, 375), (95, 222), (100, 222), (195, 220)]],
    "3": [[*arc(135, 98, 45, 42, 200, 450), *arc(135, 182, 52, 44, -90, 160)]],
    "4": [[(150, 55), (85, 155), (200, 155)], [(165, 100), (160, 225)]],
    "5": [[(185, 60), (110, 60), (102, 128), *arc(138, 170, 52, 50, -120, 150)]],
    "6": [[(165, 55), (120, 110), *arc(137, 178, 42, 45, 190, 550)]],
    "7": [[(85, 65), (195, 62), (160, 130), (130, 225)]],
    "8": [[*arc(140, 98, 38, 40, 90, -270), *arc(140, 183, 47, 45, -90, 270)]],
    "9": [[*arc(140, 105, 42, 45, 0, 360), (182, 105), (178, 170), (165, 228)]],
}


def trace(page: Any, strokes: list[Stroke]) -> None:
    """Follow strokes with the mouse on the board of a page."""
    board = page.locator("#canvas").bounding_box()
    scale = board["width"] / 280
    for stroke in strokes:
        points = [(board["x"] + x * scale, board["y"] + y * scale) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def draw(page: Any, strokes: list[Stroke]) -> str:
    """Draw on the page of the demo; returns the predicted class of the first network."""
    page.get_by_role("button", name="Clear").click()
    trace(page, strokes)
    page.wait_for_selector("#answers[aria-busy=false] article[data-predicted]")
    return str(page.locator("article").first.get_attribute("data-predicted"))
