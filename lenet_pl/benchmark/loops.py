"""The hand-written training loops. Each of them trains a model on a given number of images."""

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn, optim
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from lenet_pl.data.augment import Augment
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.transform import Preprocess

TUTORIAL, PLAIN, TUNED, LENET_PL = "tutorial loop", "plain tensor loop", "tuned tensor loop", "lenet_pl"
TimedRun = Callable[[int], float]  # trains on a number of images, returns the time in seconds
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Workload:
    """The work of a training loop apart from the model: data, transforms, batch size and device.

    Attributes:
        images: The training images and their labels.
        preprocess: The resizing and normalization of a batch.
        augment: The random transforms of a batch; not `active` if there are none.
        batch_size: The number of images per step.
        device: The device that the loop trains on. The loop moves the model and the data there.
    """

    images: ImageDataset
    preprocess: Preprocess
    augment: Augment
    batch_size: int
    device: torch.device = CPU

    @classmethod
    def from_data(cls, data: ImageDataModule, batch_size: int, device: torch.device = CPU) -> "Workload":
        """Take the training images and their transforms from a data module."""
        assert isinstance(data.augment, Augment)  # the loops know the project's own transforms
        return cls(data.train_set, data.preprocess, data.augment, batch_size, device)


def activation_before_pool(model: nn.Module) -> nn.Module:
    """Move activations in front of the pooling layers, as in most hand-written networks.

    The outputs are the same, because lenet_pl only swaps the two where they commute.
    """
    features = getattr(model, "features", None)
    if features is not None:
        layers = list(features.named_children())
        for here, after in itertools.pairwise(range(len(layers))):
            if layers[here][0].startswith("pool") and layers[after][0].startswith("activation"):
                layers[here], layers[after] = layers[after], layers[here]
        model.features = nn.Sequential(OrderedDict(layers))
    return model.to(memory_format=torch.contiguous_format)


def tutorial_loop(model: nn.Module, workload: Workload) -> TimedRun:
    """Prepare the loop of a tutorial: single PIL images, a DataLoader, and the loss read at every step."""
    preprocess, augment, batch_size = workload.preprocess, workload.augment, workload.batch_size
    steps: list[Any] = [transforms.Resize((preprocess.image_size, preprocess.image_size))]
    if augment.active:
        steps.append(transforms.RandomAffine(augment.settings.degrees, (augment.settings.translate,) * 2))
    steps += [transforms.ToTensor(), transforms.Normalize(preprocess.mean, preprocess.std)]
    loader = DataLoader(_PerImage(workload.images, transforms.Compose(steps)), batch_size, shuffle=True)
    model = activation_before_pool(model).to(workload.device)
    optimizer = optim.Adam(model.parameters(), 1e-3)
    loss_of = nn.CrossEntropyLoss()
    batches = _forever(loader)

    def run(count: int) -> float:
        start = time.perf_counter()
        running = 0.0
        correct = 0
        for _ in range(count // batch_size):
            pixels, labels = (part.to(workload.device) for part in next(batches))
            optimizer.zero_grad()
            logits = model(pixels)
            loss = loss_of(logits, labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            correct += int((logits.argmax(1) == labels).sum().item())
        return time.perf_counter() - start

    return run


def plain_loop(model: nn.Module, workload: Workload) -> TimedRun:
    """Prepare a loop over float images in memory, in plain fp32. Random transforms process whole batches."""
    preprocess, augment, device = workload.preprocess, workload.augment, workload.device
    model = activation_before_pool(model).to(device)
    pixels = preprocess.to(device).resize(workload.images.images.to(device))
    ready = pixels if augment.active else preprocess.normalize(pixels).contiguous()
    return _tensor_loop(
        model,
        ready,
        workload.images.labels.to(device),
        optim.Adam(model.parameters(), 1e-3),
        workload.batch_size,
        prepare=lambda batch: preprocess.normalize(augment(batch, GENERATOR)).contiguous() if augment.active else batch,
    )


def tuned_loop(model: nn.Module, workload: Workload) -> TimedRun:
    """Prepare a loop optimized by hand: uint8 images, channels last, fused Adam, no reading of the loss.

    As in lenet_pl, the model pools before its activations, and the worker process keeps freed memory.
    """
    preprocess, augment, device = workload.preprocess, workload.augment, workload.device
    model = model.to(device).to(memory_format=torch.channels_last)
    preprocess.to(device)

    def prepare(batch: Tensor) -> Tensor:
        sized = preprocess.resize(batch)
        return preprocess.normalize(augment(sized, GENERATOR) if augment.active else sized)

    optimizer = optim.Adam(model.parameters(), 1e-3, fused=True)
    pixels, labels = workload.images.images.to(device), workload.images.labels.to(device)
    return _tensor_loop(model, pixels, labels, optimizer, workload.batch_size, prepare=prepare)


GENERATOR = torch.Generator().manual_seed(0)


def _tensor_loop(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    optimizer: optim.Optimizer,
    batch_size: int,
    *,
    prepare: Callable[[Tensor], Tensor],
) -> TimedRun:
    def run(count: int) -> float:
        start = time.perf_counter()
        order = torch.randperm(len(labels), generator=GENERATOR).to(labels.device)
        for step in range(count // batch_size):
            first = step * batch_size % (len(labels) - batch_size + 1)
            chosen = order[first : first + batch_size]
            loss = functional.cross_entropy(model(prepare(images[chosen])), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if images.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return run


def _forever(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


class _PerImage(Dataset[tuple[Tensor, int]]):
    """Dataset that converts and transforms single PIL images, as those of torchvision do."""

    def __init__(self, images: ImageDataset, transform: Callable[[Any], Tensor]) -> None:
        self.images = images.images
        self.labels = images.labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(np.ascontiguousarray(self.images[index].permute(1, 2, 0).numpy()).squeeze())
        return self.transform(image), int(self.labels[index])
