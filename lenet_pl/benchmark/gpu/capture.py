"""Work captured as a CUDA graph."""

from collections.abc import Callable

import torch

WARM_UP = 3  # steps before a capture, in which libraries initialize themselves


def capture(work: Callable[[], None], warm_up: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Capture work as a CUDA graph. On the CPU, return the work itself.

    Args:
        work: The function to capture. Its tensors have fixed shapes and addresses, and it never waits for the device.
        warm_up: A function that is called a few times before the capture: `work`, or a shorter function with all of its
            operations.
        device: The device of the work.

    Returns:
        A function that repeats the work.
    """
    if device.type != "cuda":
        return work
    side_stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side_stream.wait_stream(torch.cuda.current_stream(device))
    try:
        with torch.cuda.stream(side_stream):
            for _ in range(WARM_UP):
                warm_up()
    finally:  # without the wait, memory that is still read could be reused
        torch.cuda.current_stream(device).wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return Captured(graph, work, warm_up)


class Captured:
    """A captured graph with the captured functions, which keep its tensors alive. The graph itself does not."""

    def __init__(self, graph: torch.cuda.CUDAGraph, *work: Callable[[], None]) -> None:
        self.graph, self.work = graph, work

    def __call__(self) -> None:
        self.graph.replay()
