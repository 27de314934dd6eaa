"""The cost of each augmentation, next to torchvision's transform called for each image, in interleaved rounds."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from lenet_pl.batch import Batch
from lenet_pl.benchmark.compare_loops import log_progress, summarize_rates, train_settings
from lenet_pl.benchmark.loops import LENET_PL
from lenet_pl.benchmark.worker import Workers, own_rate
from lenet_pl.data.augment import Augment
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.mixing import Mixing
from lenet_pl.engine.build import build_datamodule
from lenet_pl.settings import AugmentSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.settings.choices import read_choice

STRENGTHS: dict[str, dict[str, Any]] = {
    "rotation, shift": {"degrees": 10, "translate": 0.1},
    "crop, flip": {"crop_padding": 4, "hflip": 0.5},
    "elastic": {"elastic_alpha": 34, "elastic_sigma": 4},
    "brightness, contrast": {"brightness": 0.2, "contrast": 0.2},
    "hue": {"hue": 0.1},
    "rand_augment": {"rand_augment": 2},
    "trivial_augment": {"trivial_augment": True},
    "gaussian_blur": {"gaussian_blur": [0.1, 2.0]},
    "noise": {"noise": 0.1},
    "random_erasing": {"random_erasing": 1},
    "cutout": {"cutout": 16},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1},
}
OF_COLOR = ("hue",)  # measured on three channels
ROUND = 1 / 8  # time of an augmentation in a round, as a fraction of that of a loop

Work = Callable[[], object]


def measure_augmentations(settings: BenchmarkSettings, data: str) -> list[dict[str, Any]]:
    """Measure each augmentation alone on one batch, and a training without any, for comparison.

    Args:
        settings: The settings of the benchmark.
        data: The choice of the config group `data`.

    Returns:
        One row per augmentation, with the images per second (median, smallest and largest over the rounds), those of
        torchvision's transform called for each image (None if it has none), and the time as a fraction of that of a
        training step of the first model without augmentation.
    """
    size = settings.batch_sizes[0]
    given = train_settings(settings, data, settings.models[0], "none", size)
    module = build_datamodule(given)
    work = {name: _ours(module, size, name) for name in STRENGTHS}
    theirs = {name: _torchvision(module, size, name) for name in STRENGTHS}
    rates: dict[str, list[float]] = {name: [] for name in STRENGTHS}
    others: dict[str, list[float]] = {name: [] for name, one in theirs.items() if one}
    training: list[float] = []
    limited = given.model_copy(
        update={
            "trainer": given.trainer.model_copy(
                update={"limit_train_batches": min(200, len(module.train_dataloader()))}
            )
        }
    )
    with Workers(settings.num_threads) as workers:
        for number in range(1, settings.rounds + 1):
            log_progress(f"augmentations: round {number} of {settings.rounds}")
            training.append(workers.do(LENET_PL, own_rate, limited))
            for name, one in work.items():
                rates[name].append(size * _per_second(one, settings.seconds * ROUND))
                if other := theirs[name]:
                    others[name].append(size * _per_second(other, settings.seconds * ROUND))
    return [
        {
            "augmentation": name,
            "model": given.model.name,
            "batch_size": size,
            "channels": 3 if name in OF_COLOR else module.channels,
            **summarize_rates(rates[name]),
            "torchvision_images_per_second": round(median(others[name]), 1) if name in others else None,
            "of_training_step": median(step / rate for step, rate in zip(training, rates[name], strict=True)),
            "training_images_per_second": round(median(training), 1),
        }
        for name in STRENGTHS
    ]


def table_rows(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the lines of the table of `measure_augmentations`, the heading first."""
    lines: list[tuple[str, ...]] = [
        ("augmentation", "images/s", "spread", "ms per batch", "of a training step", "torchvision, images/s")
    ]
    for row in rows:
        other = row["torchvision_images_per_second"]
        lines.append(
            (
                row["augmentation"],
                f"{row['images_per_second']:,.0f}",
                f"{row['smallest']:,.0f}–{row['largest']:,.0f}",
                f"{1000 * row['batch_size'] / row['images_per_second']:.2f}",
                f"{row['of_training_step']:.0%}",
                "" if other is None else f"{other:,.0f}",
            )
        )
    first = rows[0]
    step = f"{first['training_images_per_second']:,.0f}"
    lines.append((f"training step of {first['model']}, batch {first['batch_size']}", step, "", "", "100%", ""))
    return lines


def _batch(module: ImageDataModule, size: int, name: str) -> Batch:
    chosen = module.train_set[slice(0, size)]
    pixels = module.preprocess.resize(chosen.images)
    color = name in OF_COLOR and pixels.shape[1] == 1
    return Batch(pixels.repeat(1, 3, 1, 1) if color else pixels, chosen.labels)


def _ours(module: ImageDataModule, size: int, name: str) -> Work:
    settings = AugmentSettings(**read_choice("augment", "none", STRENGTHS[name]))
    augment, mixing = Augment(settings), Mixing(settings.mixup, settings.cutmix)
    batch, generator = _batch(module, size, name), torch.Generator().manual_seed(0)
    if mixing.active:
        return lambda: mixing(batch, generator)
    return lambda: augment(batch.images, generator)


def _torchvision(module: ImageDataModule, size: int, name: str) -> Work | None:
    """Return torchvision's transform of a batch, called for each image as by a torch Dataset; None if it has none."""
    from torchvision.transforms import v2

    batch = _batch(module, size, name)
    pixels, classes = batch.images, module.num_classes
    made: dict[str, Callable[[], Callable[..., Any]]] = {
        "rotation, shift": lambda: v2.RandomAffine(10, (0.1, 0.1), interpolation=v2.InterpolationMode.BILINEAR),
        "crop, flip": lambda: v2.Compose([v2.RandomCrop(pixels.shape[-1], padding=4), v2.RandomHorizontalFlip()]),
        "elastic": lambda: v2.ElasticTransform(68.0, 4.0),  # its alpha is in half px
        "brightness, contrast": lambda: v2.ColorJitter(0.2, 0.2),
        "hue": lambda: v2.ColorJitter(hue=0.1),
        "rand_augment": lambda: v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR),
        "trivial_augment": lambda: v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR),
        "gaussian_blur": lambda: v2.GaussianBlur(13, (0.1, 2.0)),
        "noise": lambda: v2.GaussianNoise(sigma=0.1),
        "random_erasing": lambda: v2.RandomErasing(1.0, value="random"),
    }
    mixes: dict[str, Callable[[], Callable[..., Any]]] = {
        "mixup": lambda: v2.MixUp(alpha=0.2, num_classes=classes),
        "cutmix": lambda: v2.CutMix(alpha=1.0, num_classes=classes),
    }
    if name in mixes:
        mix = mixes[name]()
        return lambda: mix(pixels, batch.labels)
    if name not in made:
        return None
    transform = made[name]()

    def each() -> Tensor:
        return torch.stack([transform(image) for image in pixels])

    return each


def _per_second(work: Work, seconds: float) -> float:
    """Return how often some work is done in a second; it is done once before."""
    work()
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds or not count:
        work()
        count += 1
    return count / spent
