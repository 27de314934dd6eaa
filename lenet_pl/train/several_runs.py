"""Several trainings that share their images, with a run folder each: one after another, or several at once."""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from lenet_pl.artifacts.results_file import RESULTS, make_way, read_end
from lenet_pl.data.data_record import write_data_record
from lenet_pl.engine.build import build_task, without_resume
from lenet_pl.engine.callbacks import Callbacks, for_each
from lenet_pl.engine.device import check_device, device_kind
from lenet_pl.engine.initial_weights import InitialWeights
from lenet_pl.errors import DataError, DivergenceError, SettingError
from lenet_pl.runtime.atomic_files import remove_partial_files, write_text
from lenet_pl.runtime.environment import describe_environment
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.runtime.threads import choose_threads
from lenet_pl.settings import TrainSettings
from lenet_pl.train.member import Member, build_member, quiet_after_first
from lenet_pl.train.member_process import LOG
from lenet_pl.train.parallel_runs import check_parallel, train_at_once
from lenet_pl.train.teachers import Teachers

Train = Callable[..., dict[str, Any]]
NEEDED = ("metrics", "epochs", "best_epoch", "training_seconds", "images")  # of the results of each training
LATER = ("at_chance", "notes")  # missing in results of earlier versions


class SeveralRuns:
    """Trainings with several seeds, or on the folds of a cross-validation.

    Args:
        kind: What distinguishes them, "seeds" or "folds".
        settings: The common settings.
        folder: The folder that contains their run folders.
        members: The trainings, in order.
        signals: The signal handler of the process.
        train_one: The function that trains once: `lenet_pl.train.train_one`.
        callbacks: Lightning callbacks, copied for each training, or a function of its settings that builds them.
        initial: The initial weights of all; None for random ones.
        teachers: The teachers of all; None without.
    """

    def __init__(
        self,
        kind: str,
        settings: TrainSettings,
        folder: Path,
        members: Sequence[Member],
        signals: SignalHandler,
        train_one: Train,
        callbacks: Callbacks = (),
        initial: InitialWeights | None = None,
        teachers: Teachers | None = None,
    ) -> None:
        self.kind, self.settings, self.folder, self.members = kind, settings, folder, members
        self.signals, self.train_one, self.callbacks, self.initial = signals, train_one, callbacks, initial
        self.teachers, self.distill = teachers, teachers.distillation if teachers else None

    def train(self) -> list[dict[str, Any]]:
        """Train all members except the finished ones, and return the results of all.

        A finished run with fewer epochs than requested is trained further, unless it stopped early.

        Raises:
            UserError: The settings do not fit the data, or the results of a member are corrupt; or with `n_jobs`, a
                member failed; raised after all others are trained.
            DivergenceError: A training diverged; raised after all others are trained.
            Interruption: A signal arrived; the command can be resumed.
        """
        first, count = self.members[0], len(self.members)
        # Building the networks first reports invalid settings before anything is measured or written
        sizes = {len(member.data.train_set): member for member in self.members}
        for member in sizes.values():
            network = build_task(member.settings, member.data, initial=self.initial, distill=self.distill).model
        threads = self.settings.trainer.num_threads
        example = first.data.example_input()
        torch.set_num_threads(threads or choose_threads(network, example, self.settings.loader.batch_size))
        missing = [member for member in self.members if not self._is_finished(member)]
        if (n_jobs := min(self.settings.n_jobs, len(missing))) > 1:
            check_parallel(n_jobs, first, self.callbacks)
        remove_partial_files(self.folder)
        make_way(self.folder)  # before config.yaml may ask for more epochs
        text = yaml.safe_dump(without_resume(self.settings), sort_keys=False, allow_unicode=True)
        write_text(self.folder / "config.yaml", text)
        if self.kind == "seeds":  # each fold has a split of its own
            write_data_record(self.folder, first.data.record)
        kept = f"; {count - len(missing)} are finished" if len(missing) < count else ""
        how = f"{n_jobs} at once, whose output is in {LOG} of each folder" if n_jobs > 1 else "one after another"
        print(f"{count} {self.kind}, {how}{kept}", flush=True)
        if self.initial and self.initial.weights:
            print(self.initial.describe(network, first.data.classes, reset_head=self.settings.reset_head), flush=True)
        if self.teachers:
            print(*self.teachers.descriptions(), sep="\n", flush=True)
        if n_jobs > 1:
            common = self.signals, self.train_one, self.callbacks, self.initial
            failures = train_at_once(n_jobs, missing, self.members, *common)
        else:
            failures = self._train(missing)
        if failures:
            raise failures[0]
        return [_results(member.folder / RESULTS) for member in self.members]

    def summarize(self, each: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
        """Return what results.json has for several seeds and for folds alike.

        Args:
            each: The results of the members.
            seconds: The duration of the command, s.
        """
        names = [name for name in each[0]["metrics"] if all(name in one["metrics"] for one in each)]
        values = {name: [one["metrics"][name] for one in each] for name in names}
        data = self.members[0].data
        return {
            "task": self.kind,
            "model": self.settings.model.name,
            "data": data.source.name,
            "data_digest": data.record.digest if data.record else None,
            "metrics": {name: round(statistics.fmean(some), 6) for name, some in values.items()},
            "std": {name: _sd(some) for name, some in values.items()},
            "total_seconds": round(seconds, 2),
            **describe_environment(torch.device("cuda" if device_kind(self.settings.trainer) == "gpu" else "cpu")),
        }

    def _is_finished(self, member: Member) -> bool:
        """Whether a member has results, and not those of a shorter training."""
        end = read_end(member.folder)
        return end is not None and end.reached(self.settings.trainer.max_epochs if self.settings.train else 0)

    def _train(self, members: Sequence[Member]) -> list[Exception]:
        """Train members in order, and return the errors of those that diverged."""
        failures: list[Exception] = []
        callbacks = for_each(self.callbacks)
        for number, member in enumerate(members, 1):
            print(f"{member.title}, {number} of {len(members)}", flush=True)
            member.folder.mkdir(exist_ok=True)
            settings = quiet_after_first(member.settings, number)
            build = partial(build_member, member.data, self.initial, distill=self.distill)
            try:
                self.train_one(settings, member.folder, self.signals, callbacks, build)
            except DivergenceError as error:  # others may converge; any other error would recur
                error.add_note(member.title)
                failures.append(error)
        return failures


def check_devices(settings: TrainSettings, kind: str, instead: str) -> None:
    """Raise SettingError if several devices or trainings on a GPU are requested, or if the device is not available."""
    if settings.trainer.num_devices > 1:
        raise SettingError(f"trainer.devices: got {settings.trainer.devices} with {kind}; must be 1, or {instead}")
    check_device(settings.trainer)
    if settings.n_jobs > 1 and (device := device_kind(settings.trainer)) != "cpu":
        raise SettingError(
            f"n_jobs: got {settings.n_jobs} on a device of the kind {device}, which one training uses at a time; must "
            "be 1, or use trainer.accelerator=cpu"
        )


def _results(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {key: content[key] for key in NEEDED} | {key: content.get(key) for key in LATER}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a training's results ({type(error).__name__})") from None


def _sd(values: Sequence[float]) -> float | None:
    return round(statistics.stdev(values), 6) if len(values) > 1 and all(map(math.isfinite, values)) else None
