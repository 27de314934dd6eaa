import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FASHION, needs_fashion
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor, v2

from lenet_pl.data import torch_dataset
from lenet_pl.data.sources import load_dataset
from lenet_pl.data.torch_dataset import dataset_from_arrays, dataset_from_torch
from lenet_pl.errors import DataError
from lenet_pl.settings import DigitsDataSettings, validate
from lenet_pl.settings.choices import read_choice

DIGITS = load_digits()
LEVELS = torch.from_numpy(DIGITS.images * (255 / 16)).round().to(torch.uint8)  # (N, H, W)
LABELS = torch.from_numpy(DIGITS.target)


class Items(Dataset[Any]):
    """A dataset of the given items."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.numpy())


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "PIL in gray": to_pil,
    "float of torchvision's ToTensor": lambda image: ToTensor()(to_pil(image)),
    "torchvision's image": lambda image: v2.ToImage()(to_pil(image)),
    "uint8 (H, W)": lambda image: image,
    "uint8 array (C, H, W)": lambda image: image[None].numpy(),
    "uint8 array (H, W, C)": lambda image: image[..., None].numpy(),
    "float64 array": lambda image: image.numpy() / 255,
}


@pytest.mark.parametrize("form", FORMS)
def test_items_of_any_form_are_the_digits_of_scikit_learn(form: str) -> None:
    items = [(FORMS[form](image), label) for image, label in zip(LEVELS[:200], LABELS[:200], strict=True)]
    found = dataset_from_torch(Items(items))
    assert found.array.dtype == torch.uint8
    assert torch.equal(found.array, LEVELS[:200, None])
    assert torch.equal(found.labels, LABELS[:200])


@pytest.mark.parametrize("label", [3, np.int64(3), np.array([3]), torch.tensor(3), torch.tensor([3])])
def test_labels_of_any_integer_type_are_read(label: Any) -> None:
    assert dataset_from_torch(Items([(LEVELS[0], label)])).labels.tolist() == [3]


@pytest.mark.parametrize("scale", [1, 255])
def test_arrays_and_tensors_are_converted(scale: int) -> None:
    images = LEVELS if scale == 1 else LEVELS / 255
    read_only = images.numpy().copy()
    read_only.flags.writeable = False
    for given in (images, images.numpy(), images[:, None], read_only):
        for labels in (LABELS, LABELS.numpy(), LABELS.int(), LABELS.numpy().astype(np.uint8)):
            found = dataset_from_arrays(given, labels)
            assert torch.equal(found.array, LEVELS[:, None])
            assert torch.equal(found.labels, LABELS)
            assert found.labels.dtype == torch.int64


def test_contents_are_those_of_the_named_dataset() -> None:
    known = load_dataset(validate(DigitsDataSettings, read_choice("data", "digits")), 32)
    found = dataset_from_torch(TensorDataset(LEVELS[:, None], LABELS))
    both = torch.cat([split.contents for split in known.splits if split.contents is not None])
    assert found.contents is not None
    assert sorted(found.contents.tolist()) == sorted(both.tolist())


def test_color_is_kept() -> None:
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    found = dataset_from_torch(Items([(image, 0)]))
    assert found.array[0, :, 1, 2].tolist() == list(image.getpixel((2, 1)))  # type: ignore[arg-type]


@needs_fashion
def test_torchvision_and_the_file_reader_agree(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in FASHION.glob("*.gz"):  # torchvision wants unpacked files
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    fashion = FashionMNIST(str(tmp_path), train=False, transform=ToTensor())
    found = dataset_from_torch(Subset(fashion, range(500)))
    assert torch.equal(found.array, fashion.data[:500, None])
    assert torch.equal(found.labels, fashion.targets[:500])


def test_reading_a_long_dataset_is_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset_from_torch(TensorDataset(LEVELS, LABELS), "training")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(torch_dataset, "LONG", 100)
    dataset_from_torch(TensorDataset(LEVELS, LABELS), "training")
    assert capsys.readouterr() == ("reading 1,797 training images\n", "")


class Endless(IterableDataset[Any]):
    """A dataset without a length."""

    def __iter__(self) -> Any:
        return iter(())


GOOD = LEVELS[0]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Endless(), r"got Endless; must be a map-style dataset with a length"),
        (5, r"got int; must be a map-style dataset"),
        (Items([]), r"got no images; must be one or more$"),
        (Items([GOOD]), r"item 0 is of type Tensor; must be a pair \(image, label\)$"),
        (Items([{"image": GOOD, "label": 0}]), r"item 0 is of type dict; must be a pair"),
        (Items([(GOOD, 0), (LEVELS[0, :7, :7], 0)]), r"image 1 is of shape \(1, 7, 7\), image 0 of \(1, 8, 8\)"),
        (Items([(GOOD[:7], 0)]), r"image 0: got 1 channels of 7×8 px; must be 1 or 3 channels"),
        (Items([(torch.zeros(8, 8, 3), 0)]), r"image 0: got 8 channels of 8×3 px"),
        (Items([(torch.zeros(2, 8, 8), 0)]), r"image 0: got 2 channels of 8×8 px"),
        (
            Items([(torch.zeros(1, 1, 8, 8), 0)]),
            r"image 0 is of shape \(1, 1, 8, 8\); must be \(C, H, W\) or \(H, W\)$",
        ),
        (Items([("cat.png", 0)]), r"image 0 is of type str; must be a PIL image"),
        (Items([(Image.new("RGBA", (8, 8)), 0)]), r"image 0 has the PIL mode RGBA; must be L or RGB"),
        (Items([(GOOD / 127.5 - 1, 0)]), r"image 0: got values from -1 to 0\.8\d*; must be 0 to 1, or uint8 levels"),
        (Items([(GOOD.float(), 0)]), r"image 0: got values from 0 to 2\d\d; must be 0 to 1.*divide levels by 255$"),
        (Items([(GOOD * float("nan"), 0)]), r"image 0: got values from nan to nan"),
        (Items([(GOOD.long(), 0)]), r"image 0: got torch\.int64; must be uint8 levels, or floats from 0 to 1$"),
        (Items([(GOOD, 0), (GOOD, "cat")]), r"label 1 is 'cat' of type str; must be an integer class from 0$"),
        (Items([(GOOD, 0.5)]), r"label 0 is 0\.5 of type float"),
        (Items([(GOOD, torch.eye(10)[0])]), r"label 0 is tensor"),
        (Items([(GOOD, -1)]), r"got labels -1 to -1; must be 0 to at most 999$"),
        (Items([(GOOD, 10**6)]), r"got labels 1000000 to 1000000"),
    ],
)
def test_what_is_wrong_is_one_line(dataset: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"^training:? ?.*{message}") as error:
        dataset_from_torch(dataset, "training")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (LEVELS, LABELS[:-1], r"got labels of torch\.int64 and shape \(1796,\); must be integers, one for each"),
        (LEVELS, LABELS[:, None], r"got labels of .* shape \(1797, 1\)"),
        (LEVELS, LABELS.float(), r"got labels of torch\.float32"),
        (LEVELS, LABELS > 4, r"got labels of torch\.bool"),
        (LEVELS[0], LABELS, r"got images of shape \(8, 8\); must be \(N, C, H, W\) or \(N, H, W\)$"),
        (LEVELS[:0], LABELS[:0], r"got images of shape \(0, 8, 8\)"),
        (LEVELS * 1.0, LABELS, r"images: got values from 0 to 255; must be 0 to 1"),
    ],
)  # fmt: skip
def test_unsuitable_arrays_are_refused(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"^training:? ?.*{message}"):
        dataset_from_arrays(images, labels, "training")
