"""Settings of `python -m lenet_pl.benchmark`."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from lenet_pl.settings.types import LocalPath, PositiveInt, Settings, Threads

Names = Annotated[list[str], Field(min_length=1)]
Numbers = Annotated[list[PositiveInt], Field(min_length=1)]
# Sets that are there without a path of the user's
DatasetName = Literal["cifar10", "digits", "emnist", "fake", "fashion", "kmnist", "mnist", "qmnist", "usps"]
Part = Literal[
    "loops",
    "batch_sizes",
    "augmentations",
    "steps_per_hook",
    "step",
    "trials",
    "start",
    "data_sizes",
    "memory_mapped",
    "jobs",
    "side_by_side",
    "shared_images",
    "mnist_99",
    "tutorials",
    "leaderboard",
    "diagnose",
    "gpu",
]
TutorialRecipe = Literal[
    "lenet5_mnist",
    "lenet_bn_mnist",
    "lenet_sigmoid_avg_mnist",
    "lenet_sigmoid_fashion",
    "lenet_avg_dropout_mnist",
    "cnn3_bn_cifar10",
    "cnn_plain_mnist",
]
TutorialSource = Literal["tutorial", "lenet_pl", "fixed"]
GpuStep = Literal["equality", "cuda_graph", "rates", "mnist_99", "memory", "ddp", "seeds"]


class BenchmarkSettings(Settings):
    """The measurements of the benchmark, and their duration."""

    output_dir: LocalPath
    """Folder that receives the results."""
    traceback: bool
    """Whether errors show where in the code they arose."""
    parts: Annotated[list[Part], Field(min_length=1)]
    """Measurements to make."""
    datasets: Annotated[list[DatasetName], Field(min_length=1)]
    """Datasets, of which the first that is on this machine is used."""
    data_root: LocalPath
    """Folder in which datasets are looked for."""
    models: Names
    """Choices of the group `model`."""
    augments: Names
    """Choices of the group `augment`."""
    batch_sizes: Numbers
    """Images per step."""
    batch_series: Numbers
    """Images per step, for the part batch_sizes."""
    data_series: Numbers
    """Numbers of images, for the part data_sizes."""
    memory_limit_mb: Annotated[int, Field(ge=256)]
    """Memory limit in MB, for the part memory_mapped."""
    jobs: PositiveInt
    """Jobs of each kind, for the part jobs."""
    seeds: PositiveInt
    """Number of seeds, for the parts mnist_99, tutorials and leaderboard (at most those of the row)."""
    tutorial_runs: PositiveInt
    """Runs of the tutorial's loop, for the part mnist_99."""
    tutorials_dir: LocalPath
    """Folder that keeps the trainings of the part tutorials; those that are finished are not repeated."""
    tutorial_recipes: Annotated[list[TutorialRecipe], Field(min_length=1)]
    """Experiments to train, for the part tutorials."""
    tutorial_sources: Annotated[list[TutorialSource], Field(min_length=1)]
    """Who trains, for the part tutorials: the tutorial's loop, the experiment, or the experiment named _fixed."""
    leaderboard_file: LocalPath
    """File of rows such as docs/leaderboard.csv, for the part leaderboard."""
    leaderboard_row: str
    """Row to repeat, by its `id`; without it in the 95% interval for that many seeds, the exit code is 1."""
    cifar10_folder: LocalPath | None
    """Folder with images of CIFAR-10 in train/<class> and test/<class>; null: the published files."""
    num_threads: Threads
    """Intra-op threads; null: as many as torch finds."""
    rounds: PositiveInt
    """Rounds, each of which runs every loop once."""
    seconds: PositiveFloat
    """Seconds per loop and round."""
    tutorial: bool
    """Whether the slow loop of the tutorial is measured too."""
    gpu_device: Literal["auto", "cpu", "cuda"]
    """Device of the part gpu; on the cpu only what needs no CUDA graph is measured."""
    gpu_steps: Annotated[list[GpuStep], Field(min_length=1)]
    """Steps of the part gpu, in order."""
    gpu_amount: Literal["full", "short", "small"]
    """Amount of work in the part gpu; short: LeNet-5 alone, for three minutes; small: a check that everything runs."""
    gpu_limit: PositiveFloat
    """Time limit of the part gpu, s."""
