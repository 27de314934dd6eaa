import torch
from matplotlib.figure import Figure

from lenet_pl.artifacts.plots import draw_samples


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_each_image_is_drawn_above_its_line_of_text() -> None:
    figure = draw_samples(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), ["one", "two", "three"], "digits", columns=2)
    assert texts(figure) == ["one", "two", "three"]
    assert len(figure.axes[0].images) == 3


def test_a_picture_of_no_images_says_so() -> None:
    figure = draw_samples(torch.zeros(0, 1, 8, 8, dtype=torch.uint8), [], "mistakes")
    assert texts(figure) == ["none"]
