import json
from pathlib import Path

import pytest
from conftest import Compose
from lightning.pytorch.loggers.logger import DummyLogger

from lenet_pl.engine.loggers import build
from lenet_pl.engine.loggers.build import check_loggers
from lenet_pl.engine.loggers.tracker import LoggerRun, Points, TrackingLogger, label_of, read_records
from lenet_pl.errors import DataError, SettingError
from lenet_pl.train import train


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_one_line_before_anything_is_written(
    name: str, compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "find_spec", lambda package: None)
    line = rf"^logger\.{name}: needs the package {name}; pip install 'lenet_pl\[{name}\]'$"
    with pytest.raises(SettingError, match=line):
        train(compose(f"logger=[tensorboard,{name}]"), tmp_path)
    assert not (tmp_path / "config.yaml").exists()


class Tracker(TrackingLogger, DummyLogger):
    product = "tracker"

    def __init__(self, folder: Path, record: LoggerRun) -> None:
        super().__init__(folder, record)
        record.run_id = "0" * 8
        self.sent: Points = []

    def _write(self, points: Points) -> None:
        self.sent += points


def one_epoch(tracker: Tracker, first: int, last: int) -> None:
    """Log an epoch as Lightning and the callbacks do: validation, losses of the steps, training metrics."""
    tracker.log_metrics({"val/loss": 0.5}, last)
    tracker.save()
    for step in range(first, last, 10):
        tracker.log_metrics({"train/loss_step": float(step)}, step)
    tracker.flush()
    tracker.log_metrics({"train/loss": 0.7}, last)
    tracker.save()


def test_points_are_sent_in_the_order_of_their_steps(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, LoggerRun())
    one_epoch(tracker, 0, 20)
    one_epoch(tracker, 20, 40)
    assert [step for step, _ in tracker.sent] == [0, 10, 20, 20, 20, 30, 40, 40]
    assert [values for step, values in tracker.sent if step == 20] == [
        {"val/loss": 0.5},
        {"train/loss": 0.7},
        {"train/loss_step": 20.0},
    ]


def test_an_epoch_that_is_repeated_after_kill_9_is_not_sent_twice(tmp_path: Path) -> None:
    first = Tracker(tmp_path, LoggerRun())
    one_epoch(first, 0, 20)
    one_epoch(first, 20, 40)  # killed before its checkpoint
    second = Tracker(tmp_path, read_records(tmp_path)["tracker"])
    one_epoch(second, 20, 40)
    assert second.sent == []
    one_epoch(second, 40, 60)
    assert [step for step, _ in second.sent] == [40, 50, 60, 60]


def test_an_error_is_a_note_and_the_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(Tracker):
        def _write(self, points: Points) -> None:
            raise ConnectionError("the server has gone")

    tracker = Broken(tmp_path, LoggerRun())
    one_epoch(tracker, 0, 20)
    one_epoch(tracker, 20, 40)
    assert tracker.notes == ["part of the output of tracker is missing: ConnectionError: the server has gone"]
    assert capsys.readouterr().err == f"note: {tracker.notes[0]}\n"


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"MLflow": 1}', '{"MLflow": {"run_id": "../../x", "step": 1}}', '{"MLflow": {"other": 1}}'],
)
def test_a_record_of_logger_runs_that_is_corrupt_is_one_line(content: str, compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "logger_runs.json").write_text(content)
    with pytest.raises(DataError, match=r"logger_runs\.json: not the logger runs of a training \(\w+\); remove it to"):
        check_loggers(compose("logger=wandb").logger, tmp_path)


@pytest.mark.parametrize(
    ("place", "marks", "name", "group"),
    [
        ("one", [], "one", None),
        ("seeds/seed_3", ["seeds/config.yaml"], "seeds/seed_3", "seeds"),
        ("sweep/2", ["sweep/2/job.json"], "sweep/2", "sweep"),
        ("sweep/2/seed_1", ["sweep/2/job.json", "sweep/2/config.yaml"], "sweep/2/seed_1", "sweep"),
        ("study/trials/4", [], "study/trials/4", "study"),
    ],
)
def test_trainings_of_one_command_are_a_group(
    place: str,
    marks: list[str],
    name: str,
    group: str | None,
    compose: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / place).mkdir(parents=True)
    for mark in marks:
        (tmp_path / mark).write_text(json.dumps({}))
    label = label_of(compose("tags=[a,b:c]", "notes=why"), Path(place))
    assert (label.name, label.group, label.tags, label.notes) == (name, group, ["a", "b:c"], "why")
