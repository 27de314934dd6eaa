import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Compose
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import v2

from lenet_pl.data.augment import Augment
from lenet_pl.data.callable_augment import CallableAugment, choose_augment, draws_once_per_batch, is_from_torchvision
from lenet_pl.errors import SettingError
from lenet_pl.runtime.seeding import keyed_generator

PIXELS = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)).expand(24, 1, 16, 16)
TORCHVISION: dict[str, Callable[[Tensor], Tensor]] = {
    "affine": v2.RandomAffine(30, (0.2, 0.2)),
    "compose": v2.Compose([v2.RandomCrop(16, 4), v2.RandomHorizontalFlip()]),
    "choice": v2.RandomChoice([v2.RandomRotation(40), v2.RandomErasing(1.0)]),
    "old affine": transforms.RandomAffine(30),
    "old compose": transforms.Compose([transforms.RandomErasing(1.0)]),
}


def key(step: int) -> torch.Generator:
    return keyed_generator("augment", 0, 0, step, 0)


def brighten_each(pixels: Tensor) -> Tensor:
    return pixels * torch.rand(len(pixels), 1, 1, 1)


def brighten_all(pixels: Tensor) -> Tensor:
    return pixels * torch.rand(())


def brighten_with_numpy(pixels: Tensor) -> Tensor:
    factors = np.random.rand(len(pixels)) * random.random()
    return pixels * torch.from_numpy(factors).float().view(-1, 1, 1, 1)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_draws_for_each_image(name: str) -> None:
    augment = choose_augment(TORCHVISION[name])
    assert isinstance(augment, CallableAugment)
    assert augment.per_image
    assert is_from_torchvision(TORCHVISION[name])
    changed = augment(PIXELS, key(0))
    assert changed.shape == PIXELS.shape
    assert len({image.numpy().tobytes() for image in changed}) > len(PIXELS) / 2


def test_torchvision_itself_draws_once_per_batch() -> None:
    assert draws_once_per_batch(v2.RandomAffine(30), PIXELS)
    assert draws_once_per_batch(v2.RandomErasing(0.5), PIXELS)
    assert not draws_once_per_batch(v2.GaussianBlur(3, 1.0), PIXELS)


def test_images_get_what_a_torch_dataset_would_give_them() -> None:
    """The parameters of successive images are successive draws of one seeded generator."""
    transform = v2.RandomAffine(30, (0.2, 0.2))
    changed = CallableAugment(transform)(PIXELS, key(0))
    seed = int(torch.randint(2**63 - 1, (), generator=key(0)))
    torch.manual_seed(seed)
    for image, found in zip(PIXELS, changed, strict=True):
        assert torch.equal(transform(image), found)


@pytest.mark.parametrize("transform", [*TORCHVISION.values(), brighten_each, brighten_with_numpy])
def test_numbers_depend_on_the_key_alone_and_the_global_states_are_kept(transform: Any) -> None:
    augment = CallableAugment(transform)
    first = augment(PIXELS, key(0))
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    other, again = augment(PIXELS, key(1)), augment(PIXELS, key(0))
    drawn = torch.rand(()), random.random(), np.random.rand()
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    assert drawn == (torch.rand(()), random.random(), np.random.rand())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_function_that_draws_once_per_batch_causes_one_warning() -> None:
    augment = choose_augment(brighten_all)
    with pytest.warns(UserWarning, match=r"^augment: the transform draws the same parameters for all images"):
        changed = augment(PIXELS, key(0))
    assert len({image.numpy().tobytes() for image in changed}) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        augment(PIXELS, key(1))
        choose_augment(brighten_each)(PIXELS, key(0))
        choose_augment(lambda pixels: 1 - pixels)(PIXELS, key(0))
        each = CallableAugment(brighten_all, per_image=True)(PIXELS, key(0))
    assert len({image.numpy().tobytes() for image in each}) == len(PIXELS)


@pytest.mark.parametrize("given", ["affine", {"degrees": 10, "translate": 0.1}])
def test_own_augmentations_by_name_and_by_strength(given: Any, compose: Compose) -> None:
    wanted = Augment(compose("augment=affine").augment, 0.5)
    found = choose_augment(given, 0.5)
    assert isinstance(found, Augment)
    assert (found.settings, found.background) == (wanted.settings, 0.5)
    assert choose_augment(wanted) is wanted
    assert torch.equal(found(PIXELS, key(0)), wanted(PIXELS, key(0)))


def test_none_is_no_augmentation() -> None:
    assert not choose_augment(None).active


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (v2.Resize(8), r"float32 of shape \(1, 8, 8\) for torch\.float32 of shape \(1, 16, 16\)"),
        (v2.ToDtype(torch.uint8), r"uint8 of shape \(1, 16, 16\)"),
        (
            lambda pixels: pixels.mean(0),
            r"float32 of shape \(1, 16, 16\) for torch\.float32 of shape \(24, 1, 16, 16\)",
        ),
        (lambda pixels: None, r"NoneType for"),
    ],
)
def test_a_result_of_another_shape_or_type_is_refused(transform: Any, message: str) -> None:
    with pytest.raises(SettingError, match=rf"^augment: the transform returned .*{message}.*; must be floating point"):
        CallableAugment(transform)(PIXELS, key(0))
