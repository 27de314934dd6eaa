"""GPU memory of a training."""

import gc
from typing import Any

import torch

from lenet_pl.benchmark.gpu.rates import MANY as GRAPH
from lenet_pl.benchmark.gpu.rates import loops, own_loop
from lenet_pl.benchmark.gpu.steps import Bench
from lenet_pl.benchmark.loops import LENET_PL, TUNED
from lenet_pl.engine.build import build_datamodule


def measure_memory(bench: Bench, record: dict[str, Any]) -> None:
    """Measure the memory allocated before a training and at its peak, for the smallest and largest batch size."""
    record["rows"] = rows = []
    if bench.device.type != "cuda":
        record["not_measured"] = "torch only counts the memory of GPUs"
        return
    for size in sorted({bench.amount.batches[0], bench.amount.batches[-1]}):
        given = bench.given("model=lenet5", f"loader.batch_size={size}", "trainer.deterministic=false")
        data = build_datamodule(given)
        made = loops(bench, given, data, compiled=False)
        for name in (TUNED, GRAPH, LENET_PL):
            gc.collect()
            torch._C._cuda_clearCublasWorkspaces()  # 34 MB for each stream of any loop that multiplied matrices
            torch.cuda.empty_cache()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            run = made[name]() if name != LENET_PL else own_loop(bench, given, data)
            run(bench.amount.many * size)
            peak = torch.cuda.max_memory_allocated()
            reserved = torch.cuda.max_memory_reserved()
            bytes_of = {"before": before, "peak": peak, "reserved": reserved, "set": data.train_set.images.numel()}
            mb = {f"{what}_mb": round(count / 1e6, 1) for what, count in bytes_of.items()}
            rows.append({"loop": name, "batch_size": size, **mb})
            del run
