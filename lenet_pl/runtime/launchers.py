"""The launchers that start the processes of a run, and the task that one of them gave this process."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launcher:
    """Names of the environment variables that a launcher sets for its processes.

    Attributes:
        name: Name of the launcher, as users know it.
        rank: Variable of the rank, from 0.
        sizes: Variables of the world size, of which the first that is set counts.
        here: Variable of the number of processes on this machine, which may be unset.
        needed: Variables that must be set too. Without them, rank and size may come from another launcher.
        identity: Variables that together identify a launch. If all are unset, the parent process identifies it.
    """

    name: str
    rank: str
    sizes: tuple[str, ...]
    here: str
    needed: tuple[str, ...]
    identity: tuple[str, ...]


LAUNCHERS = (  # a launcher that is started inside another one comes first
    Launcher("torchrun", "RANK", ("WORLD_SIZE",), "LOCAL_WORLD_SIZE", ("LOCAL_RANK", "TORCHELASTIC_RUN_ID"),
             ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")),
    Launcher("mpirun", "OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",), "OMPI_COMM_WORLD_LOCAL_SIZE", (),
             ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid")),
    Launcher("mpiexec", "PMI_RANK", ("PMI_SIZE",), "MPI_LOCALNRANKS", (), ("PMI_JOBID",)),
    Launcher("jsrun", "JSM_NAMESPACE_RANK", ("JSM_NAMESPACE_SIZE",), "", ("LSB_JOBID",), ()),
    # A batch script also has the number of tasks and is not one of them. Only srun creates a step.
    Launcher("srun", "SLURM_PROCID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"), "SLURM_STEP_TASKS_PER_NODE",
             ("SLURM_JOB_ID", "SLURM_STEP_ID"), ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")),
    Launcher("the launcher", "RANK", ("WORLD_SIZE",), "LOCAL_WORLD_SIZE", ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"),
             ("MASTER_ADDR", "MASTER_PORT")),
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A task of a launcher, as described by the environment.

    Attributes:
        launcher: The launcher.
        rank: Rank of the task, from 0.
        size: Number of tasks.
        size_variable: Variable and value that give the number of tasks, such as "WORLD_SIZE=2".
        here: Number of tasks on this machine. Empty if it is unknown.
    """

    launcher: Launcher
    rank: int
    size: int
    size_variable: str
    here: str


def started_as(*names: str) -> Task | None:
    """Find the task of a launcher that this process was started as. None if no set of variables is complete.

    Args:
        names: Names of the launchers to consider. By default, all of them.
    """
    for launcher in LAUNCHERS:
        if names and launcher.name not in names:
            continue
        rank = number_in(launcher.rank)
        variable = next((name for name in launcher.sizes if os.environ.get(name)), "")
        size = number_in(variable)
        if rank is None or size is None or rank >= size or any(not os.environ.get(name) for name in launcher.needed):
            continue
        return Task(launcher, rank, size, f"{variable}={size}", os.environ.get(launcher.here, ""))
    return None


def number_in(name: str) -> int | None:
    """Return the number, 0 or more, that an environment variable holds; None if it holds none."""
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else None
