"""The Weights & Biases logger of a run."""

import os
import shlex
import uuid
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.loggers import WandbLogger

from lenet_pl.display.figure import Figure
from lenet_pl.engine.loggers.interface import End, Params
from lenet_pl.engine.loggers.tracker import Label, LoggerRun, Points, TrackingLogger
from lenet_pl.errors import SettingError, display_path
from lenet_pl.settings.logger import WandbSettings

EXIT_CODES = {"finished": 0, "failed": 1, "interrupted": 255}  # 255: W&B shows the run as killed
LONGEST_GROUP = 128


class WandbRun(TrackingLogger, WandbLogger):  # type: ignore[misc]  # parameters have other types
    """Weights & Biases logger of a run. A resumed run gets another folder below `wandb/`, with the same id.

    Args:
        folder: The run folder.
        settings: The settings of Weights & Biases.
        label: The name, group, tags and notes of the run.
        record: The W&B run that is continued, or a new one.
    """

    product = "Weights & Biases"

    def __init__(self, folder: Path, settings: WandbSettings, label: Label, record: LoggerRun) -> None:
        offline = settings.mode == "offline"
        configure(silent=offline)
        import wandb

        self.offline, self._resumed, self._open = offline, record.run_id is not None, False
        record.run_id = record.run_id or uuid.uuid4().hex[:8]
        super().__init__(
            folder,
            record,
            name=label.name,
            save_dir=folder,
            id=record.run_id,
            project=settings.project,
            entity=settings.entity,
            group=label.group[-LONGEST_GROUP:] if label.group else None,
            tags=label.tags,
            notes=label.notes,
            mode=settings.mode,
            # Nothing of the machine is sent but what the run records itself
            settings=wandb.Settings(
                silent=offline,
                console="off",
                save_code=False,
                disable_git=True,
                disable_job_creation=True,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
                symlink=False,
                allow_offline_artifacts=offline,
            ),
        )

    def _start(self, params: Params) -> None:
        import wandb

        wandb.setup()  # silent from here on; Lightning passes a deprecated argument
        WandbLogger.log_hyperparams(self, params)
        self._open = True
        if not self._resumed:
            self._remember()

    def _write(self, points: Points) -> None:
        for step, metrics in points:
            self.experiment.log({**metrics, "trainer/global_step": step}, step=step)

    def _log_figure(self, name: str, figure: Figure, file: Path, step: int) -> None:
        import wandb

        self.experiment.log({name: wandb.Image(str(file))}, step=step)

    def _log_file(self, file: Path) -> None:
        self.experiment.save(str(file), base_path=str(self.folder), policy="now")

    def _log_end(self, params: Params, metrics: Mapping[str, float], step: int) -> None:
        super()._log_end(params, metrics, step)
        self.experiment.summary.update(dict(metrics))

    def view(self) -> str:
        place = shlex.quote(display_path(self.folder / "wandb"))
        return f"wandb sync {place}/offline-run-*" if self.offline else str(self.experiment.url)

    def close(self, end: End) -> None:
        if self._open:  # after an error, too: the next training needs another W&B run
            self._open = False
            self.experiment.finish(exit_code=EXIT_CODES[end])


def check_wandb(settings: WandbSettings) -> None:
    """Check that there is an account if data are to be sent.

    Raises:
        SettingError: There is none.
    """
    if settings.mode == "online":
        configure(silent=False)
        import wandb

        if not wandb.api.api_key:
            raise SettingError(
                "logger.wandb.mode: got online, but no account is known on this machine; use `wandb login`, or offline"
            )


def configure(*, silent: bool) -> None:
    """Configure W&B before it is imported: no error reports, and no messages if `silent`."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    if silent:
        os.environ.setdefault("WANDB_SILENT", "true")
