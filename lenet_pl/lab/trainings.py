"""All trainings of the lab, those that run and those in its folder."""

import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lenet_pl.engine.lr_changes import read_lr_changes, write_lr_changes
from lenet_pl.errors import SettingError
from lenet_pl.lab.actions import ACTIONS, check_action
from lenet_pl.lab.choices import Chosen, command_line, compose_settings
from lenet_pl.lab.found_run import SNAPSHOTS, find_run, resumable
from lenet_pl.lab.preview import describe_network
from lenet_pl.lab.process import LabJob
from lenet_pl.lab.training import Training
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.lab import LabSettings
from lenet_pl.train.recorded_settings import recorded_settings

LISTED = 40  # earlier runs


class Trainings:
    """The trainings of the lab. On exit they are stopped, and each can be resumed.

    Args:
        settings: The settings of the lab.

    Attributes:
        closing: Whether the server is about to end.
    """

    def __init__(self, settings: LabSettings) -> None:
        self.settings, self.folder = settings, Path(settings.output_dir)
        self.closing = False
        self._lock = threading.Lock()
        self._all: dict[str, Training] = {}

    def __enter__(self) -> "Trainings":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingError(f"output_dir: got {self.folder} ({error.strerror}); must be a folder") from None
        for path in sorted(path.parent for path in self.folder.glob("*/config.yaml"))[-LISTED:]:
            self._all[path.name] = find_run(path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()
        for training in self._all.values():
            training.stop()
        for training in self._all.values():
            training.join()

    def hang_up(self) -> None:
        """Let the streams of events end."""
        self.closing = True

    def all(self) -> list[Training]:
        """List all trainings, the oldest first."""
        return list(self._all.values())

    def start(
        self, chosen: Chosen, vary: tuple[str, Sequence[Any]] | None = None, *, paused: bool = False
    ) -> list[str]:
        """Start a training, or several that differ in one setting.

        Args:
            chosen: What the page has chosen.
            vary: A key, and further values of it, each for one more training.
            paused: Whether they wait before the first step.

        Returns:
            The names of the runs.

        Raises:
            UserError: A setting is invalid, or too many trainings run; none is started then.
        """
        variants = [dict(chosen)]
        if vary:
            variants += [dict(chosen) | {vary[0]: value} for value in vary[1]]
        for variant in variants:
            describe_network(compose_settings(self.settings, variant))
        with self._lock:
            self._check_room(len(variants))
            return [self._start(variant, vary[0] if vary else "", paused=paused) for variant in variants]

    def action(self, name: str, action: str, value: Any) -> None:
        """Pass an action to a training.

        Raises:
            SettingError: There is no such training, or it cannot do this now.
        """
        training = self._get(name)
        if action == "stop":
            training.stop()
        elif action == "kill":
            training.kill()
        elif action == "resume":
            with self._lock:
                self._resume(training)
        elif action in ACTIONS:
            training.action(action, check_action(action, value))
        else:
            raise SettingError(f"action: got {action!r}; must be resume, stop, kill, rewind or {', '.join(ACTIONS)}")

    def rewind(self, name: str, epoch: Any) -> str:
        """Start a run that continues from an earlier epoch of another one, and waits before its first step.

        Returns:
            The name of the new run.

        Raises:
            UserError: The epoch was not kept, or too many trainings run.
        """
        old = self._get(name)
        kept = self.folder / SNAPSHOTS / name / f"{epoch:06d}" if isinstance(epoch, int) else None
        if kept is None or not (kept / "last.ckpt").exists():
            raise SettingError(f"epoch: got {epoch!r}; must be one of {old.history.state.get('snapshots', [])}")
        step = load_checkpoint(kept / "last.ckpt")["global_step"]
        with self._lock:
            self._check_room(1)
            folder = self._new_folder()
            for file in ("config.yaml", "data.json"):
                if (self.folder / name / file).exists():
                    shutil.copyfile(self.folder / name / file, folder / file)
            shutil.copytree(kept, folder / "checkpoints")
            if changes := [change for change in read_lr_changes(self.folder / name) if change.step < step]:
                write_lr_changes(folder, changes)
            training = self._all[folder.name] = Training(
                folder.name,
                label=f"{old.history.state['label']}, from epoch {epoch} of {name}",
                command=old.history.state["command"],
                status="stopped",
                lr_changes=[{"lr": change.lr, "step": change.step} for change in changes],
                origin={"name": name, "epoch": epoch},
            )
            self._resume(training, paused=True)
        return folder.name

    def _start(self, chosen: Mapping[str, Any], varied: str, *, paused: bool) -> str:
        folder = self._new_folder()
        settings = compose_settings(self.settings, chosen, str(folder))
        command = command_line(self.settings, chosen, str(folder))
        label = f"{settings.model.name} on {settings.data.name}"
        if varied:
            label += f", {varied}={_shown(settings, varied)}"
        training = Training(folder.name, label=label, command=command, status="starting", epochs=_epochs(settings))
        self._all[folder.name] = training
        training.start(self._job(folder, settings, command, paused=paused))
        return folder.name

    def _resume(self, training: Training, *, paused: bool = False) -> None:
        folder = self.folder / training.name
        if training.running:
            raise SettingError(f"run: {training.name} is running; must be stopped")
        if not resumable(folder):
            raise SettingError(f"run: {training.name} is finished, or has no checkpoint; must be an interrupted run")
        self._check_room(1)
        unused = compose_settings(self.settings, {}, str(folder)).model_copy(update={"resume": True})
        settings = recorded_settings(folder, unused)
        training.history.update(epochs=_epochs(settings))
        training.start(self._job(folder, settings, training.history.state["command"], paused=paused))

    def _job(self, folder: Path, settings: TrainSettings, command: str, *, paused: bool) -> LabJob:
        return LabJob(folder, settings.model_dump(), command, self.folder / SNAPSHOTS / folder.name, paused)

    def _check_room(self, more: int) -> None:
        running, most = sum(training.running for training in self._all.values()), self.settings.max_running
        if running + more > most:
            raise SettingError(
                f"max_running: {running} trainings run, and {more} more would be started; must be at most {most}; "
                "stop one, or start the lab with a larger max_running"
            )

    def _new_folder(self) -> Path:
        numbers = [int(path.name) for path in self.folder.iterdir() if path.name.isdecimal()]
        for number in range(max(numbers, default=0) + 1, 10**6):
            try:
                (folder := self.folder / f"{number:03d}").mkdir()
            except FileExistsError:  # another lab works in this folder, too
                continue
            return folder
        raise SettingError(f"output_dir: {self.folder} has no free number; must be another folder")

    def _get(self, name: str) -> Training:
        if name not in self._all:
            raise SettingError(f"run: got {name!r}; must be a run of this lab")
        return self._all[name]


def _shown(settings: TrainSettings, key: str) -> str:
    """Write a setting for a label; a group by its name."""
    value: Any = settings.model_dump()
    for name in key.split("."):
        value = value[name]
    return str(value.get("name", "") if isinstance(value, dict) else value)


def _epochs(settings: TrainSettings) -> int:
    return settings.trainer.max_epochs
