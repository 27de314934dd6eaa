"""The MLflow logger of a run."""

import contextlib
import logging
import os
import shlex
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger

from lenet_pl.display.figure import Figure
from lenet_pl.engine.loggers.interface import End, Params
from lenet_pl.engine.loggers.tracker import Label, LoggerRun, Points, TrackingLogger
from lenet_pl.errors import SettingError
from lenet_pl.runtime.optional_work import reason
from lenet_pl.settings.logger import MlflowSettings

BATCH = 1000  # metrics in one request, MLflow's limit
STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
KEY = "logger.mlflow.tracking_uri"


class MlflowRun(TrackingLogger, MLFlowLogger):  # type: ignore[misc]  # parameters have other types
    """MLflow logger of a run.

    Args:
        folder: The run folder.
        settings: The settings of MLflow.
        label: The name, group, tags and notes of the run.
        record: The MLflow run that is continued, or a new one.
    """

    product = "MLflow"

    def __init__(self, folder: Path, settings: MlflowSettings, label: Label, record: LoggerRun) -> None:
        configure()
        self.uri = tracking_uri(settings)
        super().__init__(
            folder,
            record,
            experiment_name=settings.experiment_name,
            run_name=label.name,
            tracking_uri=self.uri,
            tags=_tags(label),
            run_id=record.run_id,
        )

    def _start(self, params: Params) -> None:
        resumed = self.record.run_id is not None
        run_id = self._run()
        if resumed:
            self.experiment.update_run(run_id, status="RUNNING")
        else:
            self.record.run_id = run_id
            self._remember()
        there = self.experiment.get_run(run_id).data.params
        # MLflow does not change params. Only the number of epochs of a resumed run can differ
        for key, value in params.items():
            if there.get(key, str(value)) != str(value) and key == "trainer.max_epochs":
                self.experiment.set_tag(run_id, key, value)
        MLFlowLogger.log_hyperparams(self, {key: value for key, value in params.items() if key not in there})

    def _write(self, points: Points) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000  # ms
        metrics = [Metric(name, value, now, step) for step, values in points for name, value in values.items()]
        for first in range(0, len(metrics), BATCH):
            self.experiment.log_batch(self._run(), metrics=metrics[first : first + BATCH])

    def _log_figure(self, name: str, figure: Figure, file: Path, step: int) -> None:
        self.experiment.log_artifact(self._run(), str(file), "figures")

    def _log_file(self, file: Path) -> None:
        self.experiment.log_artifact(self._run(), str(file))

    def close(self, end: End) -> None:
        super().close(end)
        if self.notes and self.record.run_id:  # the server may be back
            with contextlib.suppress(Exception):
                self._close(end)

    def _close(self, end: End) -> None:
        if self.record.run_id:
            self.experiment.set_terminated(self._run(), STATUS[end])

    def view(self) -> str:
        if "@" in self.uri:  # of the environment, and may contain a password
            return ""
        if self.uri.startswith("http"):
            return f"{self.uri.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{self.record.run_id}"
        return f"mlflow ui --backend-store-uri {shlex.quote(self.uri)}"

    def _run(self) -> str:
        """Return the id of the MLflow run, which is created if necessary."""
        run_id = self.run_id
        assert run_id is not None
        return run_id


def tracking_uri(settings: MlflowSettings) -> str:
    """Return the tracking URI of the settings or of the environment, or MLflow's default."""
    return settings.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def check_mlflow(settings: MlflowSettings, record: LoggerRun | None) -> None:
    """Check that the tracking server answers and knows the run, and create the experiment.

    Args:
        settings: The settings of MLflow.
        record: The MLflow run that is to be continued; None for a new one.

    Raises:
        SettingError: It does not.
    """
    configure()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = tracking_uri(settings)
    shown = uri if uri == settings.tracking_uri else f"the URI of MLFLOW_TRACKING_URI or {uri.rpartition('@')[2]}"
    try:
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(settings.experiment_name)
        if experiment is None:
            with contextlib.suppress(MlflowException):  # another training has created it meanwhile
                client.create_experiment(settings.experiment_name)
            client.get_experiment_by_name(settings.experiment_name)
    except Exception as error:
        raise SettingError(
            f"{KEY}: {shown} cannot be used; must be that of a running server, as of `mlflow server`, or of a "
            f"database ({reason(error).partition(' with exception')[0]})"  # what follows names urllib3's classes
        ) from None
    if experiment and experiment.lifecycle_stage == "deleted":
        raise SettingError(
            f"logger.mlflow.experiment_name: got {settings.experiment_name}, which is deleted on the server; must be "
            "another one, or restore it with `mlflow experiments restore`"
        )
    if record and record.run_id:
        try:
            client.get_run(record.run_id)
        except Exception as error:
            raise SettingError(
                f"{KEY}: {shown} does not know the MLflow run {record.run_id} of the run that is resumed; must be "
                f"where the run started, as in logger=mlflow {KEY}=<URI> ({reason(error)})"
            ) from None


def configure() -> None:
    """Import MLflow without telemetry, with few retries, and without messages about its work."""
    for key, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default waits for minutes
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # s
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }.items():
        os.environ.setdefault(key, value)
    import mlflow  # noqa: F401 - the import sets levels

    for name in ("mlflow", "alembic", "lightning.pytorch.loggers.mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _tags(label: Label) -> dict[str, Any]:
    named = (tag.partition(":") for tag in label.tags)
    tags = {name: value or "true" for name, _, value in named}
    tags |= {"group": label.group} if label.group else {}
    return tags | ({"mlflow.note.content": label.notes} if label.notes else {})
