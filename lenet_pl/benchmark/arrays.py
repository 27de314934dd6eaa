"""Datasets of any size, written as the arrays that `data=arrays` reads."""

import os
from pathlib import Path

import numpy as np

from lenet_pl.engine.build import build_datamodule
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.settings.compose import compose

CHUNK = 10_000  # images per write
SIDE, CHANNELS = 32, 3  # format of color images


def write_arrays(settings: BenchmarkSettings, folder: Path, images: int, data: str, *, color: bool = False) -> None:
    """Write training images and 1000 test images in the format of `data=arrays`: real images, repeated.

    Where the system can do so, the pixels are dropped from the page cache, so that later reads come from disk.

    Args:
        settings: The settings of the benchmark.
        folder: The folder of the arrays, which is created.
        images: The number of training images.
        data: The choice of the config group `data` that the images are from.
        color: Whether images are padded to 32×32 and repeated to three channels.
    """
    overrides = [f"data={data}", f"data_root={settings.data_root}"]
    module = build_datamodule(compose("train", TrainSettings, ["run=unused", *overrides]))
    folder.mkdir(parents=True)
    for split, given, count in (("train", module.train_set, images), ("test", module.test_set, 1000)):
        some = given[slice(0, CHUNK)]
        pixels, labels = some.images[:, 0].numpy(), some.labels.numpy()
        if color:
            edge = (SIDE - pixels.shape[1]) // 2
            pixels = np.pad(pixels, ((0, 0), (edge, edge), (edge, edge)))[..., None].repeat(CHANNELS, 3)
        whole = np.lib.format.open_memmap(
            folder / f"{split}_images.npy", "w+", dtype=np.uint8, shape=(count, *pixels.shape[1:])
        )
        for start in range(0, count, len(pixels)):
            whole[start : start + len(pixels)] = pixels[: count - start]
        whole.flush()
        np.save(folder / f"{split}_labels.npy", np.resize(labels, count))
        with (folder / f"{split}_images.npy").open("rb") as stream:
            os.fsync(stream.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
