"""Training loops whose whole steps are CUDA graphs: the host launches a graph and computes nothing."""

import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from lenet_pl.benchmark.loops import TimedRun, Workload
from lenet_pl.data.augment import Augment
from lenet_pl.data.transform import Preprocess

WARM_UP = 3  # steps that libraries need before they can be captured


def capture(work: Callable[[], None], warm_up: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Record what some work launches on the GPU, so that one launch does it again; on the CPU it is simply done again.

    Args:
        work: of fixed shapes and addresses, that never waits for the device.
        warm_up: is done before, some times; the same work, or a part of it that has all its kinds of operations.
        device: on which it works.
    """
    if device.type != "cuda":
        return work
    side_stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side_stream.wait_stream(torch.cuda.current_stream(device))
    try:
        with torch.cuda.stream(side_stream):
            for _ in range(WARM_UP):
                warm_up()
    finally:  # or memory that it reads would be used for something else
        torch.cuda.current_stream(device).wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return Captured(graph, work, warm_up)


class Captured:
    """A captured graph; keeps what was captured, as the graph itself keeps no tensor that it reads or writes."""

    def __init__(self, graph: torch.cuda.CUDAGraph, *work: Callable[[], None]) -> None:
        self.graph, self.work = graph, work

    def __call__(self) -> None:
        self.graph.replay()


class WholeSteps:
    """Steps from the index of the images to the changed weights.

    Args:
        model: on the device.
        images: uint8 (N, C, h, w), on the device.
        labels: int64 (N,), on the device.
        preprocess: on the device.
        optimizer: of the model's parameters.
        label_smoothing: share of the target that is spread over all classes.
        dtype: of autocast; None: everything in fp32.
        compiled: by torch.compile; the optimizer is not.
        channels_last: in memory, as lenet_pl has images and weights; false: channel after channel.
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
        """Take a step on some images.

        Args:
            chosen: int64 (B,).
            maps: (N, 2, 3), of all images, from output to input in sides; None: no augmentation.

        Returns:
            The loss, (), on the device.
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
        # A weight that is cast once for several steps would keep its old value in a graph
        half = torch.autocast(raw.device.type, self.dtype, cache_enabled=False) if self.dtype else nullcontext()
        pixels = self.preprocess.normalize(pixels)
        if not self.channels_last and pixels.shape[1] == 1:  # or torch would see channels last in them still
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
    """Train with whole steps in a CUDA graph; order and augmentation are drawn on the device once an epoch.

    Args:
        model: The network to train.
        workload: The data, batch size and device. Of its augmentation, only affine transforms are applied.
        steps: in one graph, which divides the steps that are run. Where it does not divide those of an epoch, the last
            ones of one are of the order before.
        dtype: of autocast; None: everything in fp32.
        compiled: by torch.compile.
        channels_last: in memory; false: channel after channel.
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
            raise ValueError(f"{count // batch_size} steps are not a multiple of the {steps} in a graph")
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
    """Draw how each image is moved, (N, 2, 3), as `affine_grid` takes it; all on the device."""
    matrices = augment.affine_matrices(torch.rand(count, 9, device=device), side, side)
    return torch.cat([matrices[:, :, :2], matrices[:, :, 2:] * (2 / side)], 2)
