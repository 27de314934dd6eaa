import numpy as np
import pytest
from PIL import Image, ImageDraw

from lenet_pl.photo.straight import find_runs


@pytest.mark.parametrize("angle", [0, 3, 45, 90, 133])
@pytest.mark.parametrize("width", [3, 11])
def test_a_line_is_found_from_end_to_end(angle: int, width: int) -> None:
    image = Image.new("L", (900, 900))
    way = 300 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    ends = [tuple(450 - way), tuple(450 + way)]
    ImageDraw.Draw(image).line(ends, fill=255, width=width)
    [run] = find_runs(np.asarray(image) > 0, 100)
    assert run.length == pytest.approx(600, abs=12)
    assert run.width == pytest.approx(width, abs=4)
    found = {tuple(np.round(end[::-1]).astype(int)) for end in (run.start, run.end)}
    for end in ends:
        assert min(np.hypot(*(np.array(end) - other)) for other in found) < 10


def test_curves_and_dots_are_no_runs() -> None:
    image = Image.new("L", (600, 600))
    pen = ImageDraw.Draw(image)
    pen.ellipse((100, 100, 500, 500), outline=255, width=8)
    pen.ellipse((280, 280, 320, 320), fill=255)
    assert find_runs(np.asarray(image) > 0, 250) == []
    assert find_runs(np.zeros((50, 50), bool), 5) == []
