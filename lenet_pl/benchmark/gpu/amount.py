"""Amounts of work of the part `gpu`."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Amount:
    """Amount of work of the steps.

    Attributes:
        models: The choices of the config group `model` whose rates are measured.
        batches: The batch sizes whose rates are measured.
        rounds: The number of interleaved rounds.
        seconds: The approximate time of each loop per round, in seconds.
        many: The number of steps in one CUDA graph.
        epochs: The number of epochs of the trainings that are compared with the CPU.
        epoch_steps: The number of steps per epoch of these trainings.
        own_seeds: The number of runs of the recipe with lenet_pl.
        graph_seeds: The number of runs of the recipe as a CUDA graph.
        candidates: The maximum number of variants of the recipe.
        networks: The numbers of stacked networks.
        ddp_steps: The number of timed steps with DistributedDataParallel.
        compiled: Whether torch.compile is tried.
        loops: The loops whose rates are measured; empty for all.
        kernels: Whether the kernels of a step are profiled.
    """

    models: tuple[str, ...]
    batches: tuple[int, ...]
    rounds: int
    seconds: float
    many: int
    epochs: int
    epoch_steps: int
    own_seeds: int
    graph_seeds: int
    candidates: int
    networks: tuple[int, ...]
    ddp_steps: int
    compiled: bool
    loops: tuple[str, ...] = ()
    kernels: bool = True


FULL = Amount(
    models=("lenet5", "lenet_bn", "cnn5_bn"),
    batches=(128, 512, 2048),
    rounds=3,
    seconds=0.25,
    many=20,
    epochs=3,
    epoch_steps=100,
    own_seeds=5,
    graph_seeds=20,
    candidates=99,
    networks=(1, 4, 16, 64),
    ddp_steps=300,
    compiled=True,
)
# Three minutes: what the CUDA graph of lenet_pl gains
SHORT = replace(
    FULL,
    models=("lenet5",),
    batches=(128, 512),
    own_seeds=3,
    candidates=1,
    compiled=False,
    kernels=False,
    loops=("tuned tensor loop", "one CUDA graph a step", "lenet_pl", "lenet_pl, CUDA graph", "lenet_pl, steps alone"),
)
SMALL = Amount(
    models=("lenet5",),
    batches=(128,),
    rounds=1,
    seconds=0.02,
    many=2,
    epochs=2,
    epoch_steps=5,
    own_seeds=1,
    graph_seeds=2,
    candidates=2,
    networks=(1, 2),
    ddp_steps=5,
    compiled=False,
)
