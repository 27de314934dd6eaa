"""Settings of `python -m lenet_pl.benchmark`."""

from typing import Annotated, Literal

from pydantic import Field

from lenet_pl.settings.types import Count, LocalPath, Positive, Settings, Threads

Names = Annotated[list[str], Field(min_length=1)]
Counts = Annotated[list[Count], Field(min_length=1)]
# Sets that are there without a path of the user's
DataSet = Literal["cifar10", "digits", "emnist", "fake", "fashion", "kmnist", "mnist", "qmnist", "usps"]
Part = Literal[
    "loops", "batch_sizes", "start", "data_sizes", "memory_mapped", "jobs", "side_by_side", "seeds", "mnist_99", "gpu"
]
GpuStep = Literal["equality", "rates", "mnist_99", "memory", "ddp", "seeds"]


class BenchmarkSettings(Settings):
    """What is compared, and for how long."""

    run: LocalPath  # folder that receives the results
    traceback: bool
    parts: Annotated[list[Part], Field(min_length=1)]  # what is measured
    data_sets: Annotated[list[DataSet], Field(min_length=1)]  # the first that is there is used
    data_root: LocalPath
    models: Names  # choices of the group `model`
    augments: Names  # choices of the group `augment`
    batch_sizes: Counts  # images per step
    batch_series: Counts  # images per step, for the part batch_sizes
    data_series: Counts  # images, for the part data_sizes
    memory_limit_mb: Annotated[int, Field(ge=256)]  # MB, for the part memory_mapped
    jobs: Count  # of each kind, for the part jobs
    networks: Counts  # that differ in the seed and are trained at once, for the part seeds
    seed_batches: Counts  # images per step of each network, for the part seeds
    seeds: Count  # for the part mnist_99
    tutorial_runs: Count  # of the tutorial's loop in the part mnist_99
    threads: Threads
    rounds: Count
    seconds: Positive  # per loop and round
    tutorial: bool  # run the tutorial loop too
    gpu_device: Literal["auto", "cpu", "cuda"]  # of the part gpu; on the cpu only what needs no CUDA graph is measured
    gpu_steps: Annotated[list[GpuStep], Field(min_length=1)]
    gpu_amount: Literal["full", "small"]  # small: a check that all of it runs
    gpu_limit: Positive  # s, for the whole part gpu
