import numpy as np
import torch
from conftest import Compose
from torch import Tensor

from lenet_pl.artifacts.augmentation_plot import augments, draw_augmentation, ineffective
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.image_dataset import ImageDataset

IMAGES = ImageDataset(torch.arange(8).mul(30).to(torch.uint8).view(8, 1, 1, 1).expand(-1, 1, 8, 8), torch.arange(8))


def test_colors_of_gray_images_are_noted(compose: Compose) -> None:
    cifar = compose("augment=cifar", "augment.hue=0.1").augment
    assert ineffective(cifar, 3) == []
    (line,) = ineffective(cifar, 1)
    assert line == "augment.saturation and augment.hue changed nothing, since the images are gray"


def module(**strengths: float) -> ImageDataModule:
    data = ImageDataModule("digits", image_size=8, batch_size=8, augment=strengths)
    data.prepare_data()
    data.setup()
    return data


def test_each_row_has_an_image_and_eight_different_transforms_of_it() -> None:
    data = module(noise=0.02)
    assert augments(data)
    (axis,) = draw_augmentation(data, IMAGES).axes
    shown = [np.asarray(one.get_array()) for one in axis.images]
    assert len(shown) == 8 * 9
    for row in range(8):
        first, *others = shown[9 * row : 9 * row + 9]
        assert (first == 30 * row).all()
        assert len({one.tobytes() for one in others}) == 8
        assert all(abs(one.astype(float) - 30 * row).mean() < 8 for one in others)
    assert [text.get_text() for text in axis.texts][:3] == ["0", "", ""]


def test_mixed_images_have_the_weights_of_their_classes_as_titles() -> None:
    (axis,) = draw_augmentation(module(mixup=1), IMAGES).axes
    shown = Tensor(np.stack([np.asarray(one.get_array()) for one in axis.images]).astype(float))[:, 0, 0] / 30
    for level, text in zip(shown.tolist(), [text.get_text() for text in axis.texts], strict=True):
        words = text.replace("%", "").split()
        if len(words) == 4:
            wanted = (int(words[0]) * int(words[1]) + int(words[2]) * int(words[3])) / 100
            assert abs(level - wanted) < 0.1


def test_without_augmentation_there_is_nothing_to_draw() -> None:
    assert not augments(module())
