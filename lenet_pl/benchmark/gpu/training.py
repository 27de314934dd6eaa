"""A whole training as one CUDA graph."""

import time

import torch
from torch import Tensor

from lenet_pl.benchmark.gpu.capture import capture
from lenet_pl.benchmark.gpu.loops import WholeSteps
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.engine.build import build_task
from lenet_pl.optim.optimizers import build_optimizer
from lenet_pl.optim.schedulers import build_scheduler
from lenet_pl.settings import LossSettings, TrainSettings


class WholeTraining:
    """All steps of a training as one CUDA graph, which contains the learning rate and momentum of every step.

    Args:
        given: The settings of the training.
        data: The data of the training.
        device: The device of model, data and graph. On the CPU, the steps run without a graph.
        dtype: The dtype of autocast; None for fp32 without autocast.
        compiled: Whether torch.compile compiles the computation of the loss.
        channels_last: Whether images and weights are in channels-last format.
    """

    def __init__(
        self,
        given: TrainSettings,
        data: ImageDataModule,
        device: torch.device,
        dtype: torch.dtype | None = None,
        compiled: bool = False,
        channels_last: bool = True,
    ) -> None:
        self.given, self.data, self.device = given, data, device
        self.model = build_task(given, data).model.to(device).train()
        self.optimizer = build_optimizer(given.optimizer, self.model.parameters())
        self._lr = self.optimizer.param_groups[0]["lr"]
        self.test = data.test_set.to(device) if device.type == "cuda" else data.test_set
        images, labels = data.train_set.images.to(device), data.train_set.labels.to(device)
        assert isinstance(given.loss, LossSettings)
        smoothing, preprocess = given.loss.label_smoothing, data.preprocess.to(device)
        self._whole = WholeSteps(
            self.model,
            images,
            labels,
            preprocess,
            self.optimizer,
            label_smoothing=smoothing,
            dtype=dtype,
            compiled=compiled,
            channels_last=channels_last,
        )
        self.order = torch.stack([torch.randperm(len(labels), device=device) for _ in range(given.trainer.max_epochs)])
        size = given.loader.batch_size
        batches: list[Tensor] = [batch for epoch in self.order for batch in epoch.split(size)]
        self._batches = [batch for batch in batches if len(batch) == size or not given.loader.drop_last]
        self.losses = torch.zeros(len(self._batches), device=device)
        # The warm-up includes the smaller last batch of an epoch
        self._replay = capture(self._all_steps, lambda: self._steps(len(labels) // size + 1, 1), device)

    def _steps(self, *places: int) -> None:
        for place in places:
            at = min(place, len(self._batches)) - 1
            self.losses[at].copy_(self._whole.step(self._batches[at]))

    def _all_steps(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr
        schedule = build_scheduler(self.given.scheduler, self.optimizer, len(self._batches))
        for at in range(len(self._batches)):
            self._steps(at + 1)
            if schedule:
                schedule["scheduler"].step()

    def run(self, seed: int) -> float:
        """Train from the initial weights of lenet_pl with this seed, and return the time in seconds."""
        torch.manual_seed(seed)
        initial = [weight.to(self.device) for weight in build_task(self.given, self.data).model.state_dict().values()]
        weights = list(self.model.state_dict().values())
        kept = [value for state in self.optimizer.state.values() for value in state.values()]
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        torch._foreach_copy_(weights, initial)
        if kept:
            torch._foreach_zero_(kept)
        for epoch in self.order:
            epoch.copy_(torch.randperm(len(epoch), device=self.device))
        self._replay()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - start

    def accuracy(self, images: ImageDataset) -> float:
        """Return the accuracy of the network on images that are on its device."""
        self.model.eval()
        with torch.inference_mode():
            parts = [images[slice(at, at + 1000)] for at in range(0, len(images), 1000)]
            right = sum((self.model(self.data.preprocess(p.images)).argmax(1) == p.labels).sum() for p in parts)
        self.model.train()
        return float(right / len(images))
