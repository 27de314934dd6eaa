"""Training loops whose steps are CUDA graphs. The host only launches the graphs."""

import time
from contextlib import nullcontext

import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from lenet_pl.benchmark.gpu.capture import capture
from lenet_pl.benchmark.loops import TimedRun, Workload
from lenet_pl.data.augment import Augment
from lenet_pl.data.transform import Preprocess


class WholeSteps:
    """Whole training steps, from the indices of the images to the updated weights.

    Args:
        model: The network, on the device.
        images: The pixels of all images, uint8 (N, C, h, w), on the device.
        labels: The labels of all images, int64 (N,), on the device.
        preprocess: The resizing and normalization, on the device.
        optimizer: The optimizer of the model's parameters.
        label_smoothing: The fraction of the target that is distributed evenly over all classes.
        dtype: The dtype of autocast; None for fp32 without autocast.
        compiled: Whether torch.compile compiles the computation of the loss. The optimizer is never compiled.
        channels_last: Whether images and weights are in channels-last format, as in lenet_pl.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        preprocess: Preprocess,
        optimizer: optim.Optimizer,
        *,
        label_smoothing: float = 0.0,
        dtype: torch.dtype | None = None,
        compiled: bool = False,
        channels_last: bool = True,
    ) -> None:
        self.channels_last = channels_last
        order = torch.channels_last if channels_last else torch.contiguous_format
        model.to(memory_format=order)
        self.model, self.images, self.labels, self.preprocess = model, images, labels, preprocess
        self.optimizer, self.label_smoothing, self.dtype = optimizer, label_smoothing, dtype
        self._loss = torch.compile(self._loss_of) if compiled else self._loss_of
        for group in optimizer.param_groups:
            group["capturable"] = images.device.type == "cuda"

    def step(self, chosen: Tensor, maps: Tensor | None = None) -> Tensor:
        """Take a training step on one batch.

        Args:
            chosen: The indices of the images, int64 (B,).
            maps: The affine maps of all images from output to input coordinates in the units of `affine_grid`, float
                (N, 2, 3); None for no augmentation.

        Returns:
            The loss, a scalar tensor on the device.
        """
        raw, labels = self.images.index_select(0, chosen), self.labels.index_select(0, chosen)
        loss = self._loss(raw, labels, None if maps is None else maps.index_select(0, chosen))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    def _loss_of(self, raw: Tensor, labels: Tensor, maps: Tensor | None) -> Tensor:
        pixels = self.preprocess.resize(raw)
        if maps is not None:
            grid = functional.affine_grid(maps, list(pixels.shape), align_corners=False)
            pixels = functional.grid_sample(pixels, grid, align_corners=False)
        # Without the cache, as a graph would reuse the cached cast of a weight after the weight has changed
        half = torch.autocast(raw.device.type, self.dtype, cache_enabled=False) if self.dtype else nullcontext()
        pixels = self.preprocess.normalize(pixels)
        if not self.channels_last and pixels.shape[1] == 1:  # with one channel, torch could still detect channels last
            pixels = pixels.flatten().view(pixels.shape)
        with half:
            logits = self.model(pixels if self.channels_last else pixels.contiguous())
        return functional.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)


def graph_loop(
    model: nn.Module,
    workload: Workload,
    *,
    steps: int = 1,
    dtype: torch.dtype | None = None,
    compiled: bool = False,
    channels_last: bool = True,
) -> TimedRun:
    """Prepare a loop whose steps are CUDA graphs. Order and augmentation are drawn on the device once per epoch.

    Args:
        model: The network to train.
        workload: The data, batch size and device. Of its augmentation, only affine transforms are applied.
        steps: The number of steps per graph, which must divide the number of steps of each run. If it does not divide
            the steps of an epoch, a graph that crosses the end of an epoch uses the previous order.
        dtype: The dtype of autocast; None for fp32 without autocast.
        compiled: Whether torch.compile compiles the computation of the loss.
        channels_last: Whether images and weights are in channels-last format.

    Returns:
        The loop, which raises ValueError if `steps` does not divide its number of steps.
    """
    preprocess, augment, batch_size = workload.preprocess, workload.augment, workload.batch_size
    device = workload.device
    model = model.to(device)
    pixels, labels = workload.images.images.to(device), workload.images.labels.to(device)
    optimizer = optim.Adam(model.parameters(), 1e-3, fused=True)
    preprocess.to(device)
    whole = WholeSteps(
        model, pixels, labels, preprocess, optimizer, dtype=dtype, compiled=compiled, channels_last=channels_last
    )
    epoch = len(labels) // batch_size
    order = torch.empty(epoch, batch_size, dtype=torch.int64, device=device)
    maps = torch.empty(len(labels), 2, 3, device=device) if augment.active else None
    place = torch.zeros(1, dtype=torch.int64, device=device)
    losses = torch.zeros(epoch, device=device)

    def begin_epoch() -> None:
        order.copy_(torch.randperm(len(labels), device=device)[: order.numel()].view_as(order))
        if maps is not None:
            maps.copy_(draw_maps(augment, len(labels), preprocess.image_size, device))

    def step() -> None:
        loss = whole.step(order.index_select(0, place).view(-1), maps)
        losses.index_copy_(0, place, loss.view(1))
        place.add_(1).remainder_(epoch)

    def several() -> None:
        for _ in range(steps):
            step()

    begin_epoch()
    replay = capture(several, step, device)

    def run(count: int) -> float:
        if count // batch_size % steps:
            raise ValueError(f"got {count // batch_size} steps; must be a multiple of the {steps} steps of a graph")
        start = time.perf_counter()
        for done in range(0, count // batch_size, steps):
            if done % epoch < steps:
                begin_epoch()
            replay()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    return run


def draw_maps(augment: Augment, count: int, side: int, device: torch.device) -> Tensor:
    """Draw random affine maps in the format of `affine_grid`.

    Args:
        augment: The random transforms, of which only the affine ones are used.
        count: The number of images N.
        side: The side of the images in pixels.
        device: The device on which the maps are drawn.

    Returns:
        The maps, float (N, 2, 3).
    """
    matrices = augment.affine_matrices(torch.rand(count, 9, device=device), side, side)
    return torch.cat([matrices[:, :, :2], matrices[:, :, 2:] * (2 / side)], 2)
