"""Several trainings at once, each in a process of its own, with one copy of the images in memory."""

import pickle
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lenet_pl.engine.callbacks import Callbacks
from lenet_pl.engine.initial_weights import InitialWeights
from lenet_pl.errors import SettingError
from lenet_pl.plugins.loading import given_plugins
from lenet_pl.runtime.environment import recorded_command
from lenet_pl.runtime.memory import return_freed_memory
from lenet_pl.runtime.shared_tensors import TensorFile, loads
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.runtime.threads import usable_cores
from lenet_pl.train.member import Member, quiet_after_first
from lenet_pl.train.member_pool import MemberPool
from lenet_pl.train.member_process import MemberJob


def train_at_once(
    n_jobs: int,
    missing: Sequence[Member],
    members: Sequence[Member],
    signals: SignalHandler,
    train_one: Callable[..., dict[str, Any]],
    callbacks: Callbacks = (),
    initial: InitialWeights | None = None,
) -> list[Exception]:
    """Train several members at once, each in a process of its own.

    The tensors of the data are written to a temporary file, which all processes map, this one included. Each
    process maps images that are on disk already from there.

    Args:
        n_jobs: The number of processes.
        missing: The members to train, in order.
        members: All members, whose images are moved to the file.
        signals: The signal handler of this process. A first signal is passed on to the processes, which save their
            exact state and end; a second one ends them at once.
        train_one: The function that trains once: `lenet_pl.train.train_one`.
        callbacks: The callbacks of the caller, or a function that builds them, as for `check_parallel`.
        initial: The initial weights of all.

    Returns:
        The errors of members that failed. All others are trained.

    Raises:
        Interruption: If a signal arrived, and all processes have ended.
    """
    with tempfile.TemporaryDirectory(prefix="lenet_pl-", ignore_cleanup_errors=True) as place:
        file = TensorFile(Path(place) / "tensors.pt")
        data = _share_data(file, members, initial)
        jobs = deque(
            (
                member,
                MemberJob(
                    train_one,
                    member.folder,
                    quiet_after_first(member.settings, number).model_dump(),
                    given_plugins(),
                    recorded_command(),
                    max(1, usable_cores() // n_jobs),
                    data[member.title],
                    file.path,
                    pickle.dumps(callbacks),
                ),
            )
            for number, member in enumerate(missing, 1)
        )
        return MemberPool(n_jobs, signals).train(jobs)


def check_parallel(n_jobs: int, first: Member, callbacks: Callbacks) -> None:
    """Raise SettingError if there are teachers, if the callbacks cannot be pickled, or if data on disk may differ."""
    if first.settings.teacher:
        raise SettingError(f"n_jobs: got {n_jobs} with teacher; must be 1, as each process would hold all teachers")
    if _on_disk(first) and getattr(first.settings.data, "accept_changes", False):
        raise SettingError(
            f"n_jobs: got {n_jobs} with data.accept_changes=true and images that stay on disk; must be 1, or use "
            "data.in_memory=true"
        )
    try:
        pickle.dumps(callbacks)
    except Exception as error:  # third-party callbacks may raise anything
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise SettingError(
            f"callbacks: cannot be sent to the processes of n_jobs={n_jobs} ({why}); must be picklable, such as "
            "instances of a class at the top of a module, or use n_jobs=1"
        ) from error


def _on_disk(member: Member) -> bool:
    return any(split.prefetcher for split in member.data.source.splits)


def _share_data(file: TensorFile, members: Sequence[Member], initial: InitialWeights | None) -> dict[str, bytes]:
    """Move the tensors of all data to a file, and return what each process needs to map them."""
    shared = not _on_disk(members[0])
    sent = {one.title: file.dumps((one.data.loaded if shared else None, initial)) for one in members}
    file.save()
    if shared:
        for one, (loaded, _) in zip(members, loads(file.path, *sent.values()), strict=True):
            one.data.arrange(loaded)
        return_freed_memory()
    return sent
