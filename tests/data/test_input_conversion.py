import pytest
import torch
from torch.nn import functional

from lenet_pl.data.input_conversion import InputConversion
from lenet_pl.data.transform import Preprocess

IMAGES = torch.randint(0, 256, (3, 1, 28, 28), generator=torch.Generator().manual_seed(0)).byte()


def preprocess(size: int, fit: str = "pad", mean: float = 0.1, std: float = 0.3, background: int = 0) -> Preprocess:
    return Preprocess(size, fit, [mean], [std], background)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (preprocess(28), preprocess(28, mean=0.5, std=0.2)),
        (preprocess(32), preprocess(28)),
        (preprocess(28), preprocess(32, mean=0.4)),
        (preprocess(33, background=255), preprocess(28, background=255)),
        (preprocess(30, background=40), preprocess(33, background=40)),
        (preprocess(32), preprocess(20)),  # interpolated by the target alone
        (preprocess(32), preprocess(40, "resize")),
        (preprocess(40, "resize"), preprocess(40, "resize", mean=0.2)),
    ],
    ids=str,
)
def test_the_input_is_that_of_the_own_preprocessing(source: Preprocess, target: Preprocess) -> None:
    converted = InputConversion(source, 28, target, 28)(source(IMAGES))
    torch.testing.assert_close(converted, target(IMAGES), rtol=1e-5, atol=1e-5)


def test_what_augmentation_moved_into_the_margin_is_kept() -> None:
    given, wanted = preprocess(32), preprocess(36)
    pixels = torch.rand(2, 1, 32, 32)
    converted = InputConversion(given, 28, wanted, 28)(given.normalize(pixels))
    torch.testing.assert_close(converted, wanted.normalize(functional.pad(pixels, (2, 2, 2, 2))))


def test_the_same_preprocessing_changes_nothing() -> None:
    inputs = torch.randn(2, 1, 28, 28)
    assert torch.equal(InputConversion(preprocess(28), 28, preprocess(28), 28)(inputs), inputs)


@pytest.mark.parametrize(
    ("source", "target", "enlarges"), [(16, 28, True), (28, 16, False), (28, 32, False), (32, 28, False)]
)
def test_missing_detail_is_known(source: int, target: int, enlarges: bool) -> None:
    assert InputConversion(preprocess(source), 28, preprocess(target), 28).enlarges == enlarges
