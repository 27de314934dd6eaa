"""A training of the lab is the training of the command: whole checkpoints are compared, at tolerance 0."""

import contextlib
import json
import shutil
import threading
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_diff import checkpoint, difference
from conftest import Compose
from promise import case
from stopping import SignalAfter

from lenet_pl.engine.lr_changes import LrChange, read_lr_changes, write_lr_changes
from lenet_pl.errors import DataError
from lenet_pl.lab.history import History
from lenet_pl.lab.watch import Watch
from lenet_pl.runtime.signals import Interruption, SignalHandler
from lenet_pl.settings import TrainSettings
from lenet_pl.train import train

STEPS = 12  # of an epoch
SHORT = (
    "model=lenet_bn",
    "model.channels=[[4],[8]]",
    "model.hidden_sizes=[16]",
    "model.dropout=0.2",
    "augment=affine",
    "scheduler=cosine",
    "trainer.max_epochs=3",
    f"trainer.limit_train_batches={STEPS}",
    "loader.batch_size=32",
    "trainer.num_threads=1",
    "trainer.precision=32-true",
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "logger=none",
    "report=none",
)
Messages = list[dict[str, Any]]
PAUSED = {"kind": "state", "state": "paused"}


@pytest.fixture(scope="module")
def settings(compose: Compose) -> TrainSettings:
    return compose(*SHORT)


@pytest.fixture(scope="module")
def plain(settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    train(settings, folder)
    return folder


def watched(settings: TrainSettings, folder: Path, *actions: tuple[str, Any], more: Any = ()) -> Messages:
    """Train as the lab does, with actions up to the next step or go in each pause; returns the messages."""
    folder.mkdir(exist_ok=True)
    here, there = Pipe()
    messages: Messages = []
    reading = Reader(here, messages, list(actions))
    try:
        watch = Watch(there, folder, folder.parent / f"kept_{folder.name}", paused=bool(actions))
        train(settings, folder, [watch, *more])
    finally:
        there.close()
        reading.join()
    return messages


class Reader:
    """A thread that receives messages, and sends actions in pauses."""

    def __init__(self, connection: Any, messages: Messages, actions: list[tuple[str, Any]]) -> None:
        def read() -> None:
            with contextlib.suppress(EOFError):
                while True:
                    messages.append(message := connection.recv())
                    while message == PAUSED and actions:
                        connection.send(action := actions.pop(0))
                        if action[0] in ("step", "go"):
                            break

        self._thread = threading.Thread(target=read, daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(20)


def table(folder: Path) -> list[list[str]]:
    """Read metrics.csv without the columns that depend on the clock."""
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    kept = [k for k, name in enumerate(rows[0]) if name not in ("seconds", "images/s")]
    return [[row[k] for k in kept] for row in rows]


@case(
    "reproducibility",
    "a training of the lab, paused, stepped, slowed down and watched: bit for bit that of the command",
)
def test_watching_pausing_and_stepping_change_no_bit(settings: TrainSettings, plain: Path, tmp_path: Path) -> None:
    actions = (("step", 3), ("images", [1, 4]), ("speed", 500), ("step", STEPS), ("speed", None), ("go", None))
    messages = watched(settings, tmp_path / "run", *actions)
    assert difference(checkpoint(plain), checkpoint(tmp_path / "run")) == []
    assert difference(checkpoint(plain, "best"), checkpoint(tmp_path / "run", "best")) == []
    assert table(plain) == table(tmp_path / "run")
    ours, theirs = (json.loads((folder / "results.json").read_text()) for folder in (plain, tmp_path / "run"))
    assert ours["metrics"] == theirs["metrics"]
    assert ours["notes"] == theirs["notes"]
    assert (plain / "config.yaml").read_text() == (tmp_path / "run" / "config.yaml").read_text()

    kinds = [message["kind"] for message in messages]
    assert {"data", "losses", "epoch", "view", "confusion", "state", "snapshots"} <= set(kinds)
    losses = [value for m in messages if m["kind"] == "losses" for value in m["values"]]
    assert losses == checkpoint(plain)["callbacks"]["EpochRecorder"]["step_losses"]
    assert [m["row"]["val/loss"] for m in messages if m["kind"] == "epoch"] == [
        row["val/loss"] for row in checkpoint(plain)["callbacks"]["EpochRecorder"]["epochs"]
    ]


def test_a_step_is_followed_by_a_pause_with_a_view_of_it(settings: TrainSettings, tmp_path: Path) -> None:
    trainer = settings.trainer.model_copy(update={"max_epochs": 1})
    settings = settings.model_copy(update={"trainer": trainer})
    messages = watched(settings, tmp_path / "run", ("step", 1), ("step", 4), ("go", None))
    paused = [k for k, m in enumerate(messages) if m == PAUSED]
    views = [next(m for m in reversed(messages[:k]) if m["kind"] == "view") for k in paused]
    assert [view["step"] for view in views[-2:]] == [1, 5]
    before, first, later = views[-3:]
    assert before["filters"] != first["filters"] != later["filters"]
    assert before["gradients"] == []
    assert [one["name"] for one in later["gradients"]][:2] == ["features.conv1", "features.norm1"]
    assert [image["index"] for image in later["images"]] == [0, 1]
    assert [layer["name"] for layer in later["images"][0]["layers"]] == ["conv1", "conv2"]


@pytest.mark.parametrize("steps_per_hook", ["auto", 1])
@case("resume", "lr changed while it trains, the run resumed by the command: the change is repeated, bit for bit")
def test_a_changed_lr_is_recorded_and_repeated_by_a_resume(
    steps_per_hook: Any, settings: TrainSettings, plain: Path, tmp_path: Path, heard: None
) -> None:
    trainer = settings.trainer.model_copy(update={"steps_per_hook": steps_per_hook})
    settings = settings.model_copy(update={"trainer": trainer})
    actions = (("step", STEPS + 3), ("lr", 0.05), ("step", STEPS - 3), ("lr", 0.01), ("go", None))
    watched(settings, straight := tmp_path / "straight", *actions)
    changes = [LrChange(STEPS + 3, 0.05), LrChange(2 * STEPS, 0.01)]
    assert read_lr_changes(straight) == changes
    note = f"the learning rate was changed by hand: to 0.05 after step {STEPS + 3}, to 0.01 after step {2 * STEPS}"
    assert note in json.loads((straight / "results.json").read_text())["notes"]
    rows = checkpoint(straight)["callbacks"]["EpochRecorder"]["epochs"]
    assert rows[0]["train/loss"] == checkpoint(plain)["callbacks"]["EpochRecorder"]["epochs"][0]["train/loss"]
    assert rows[2]["lr"] == 0.01

    # Interrupted after the first change, then resumed from an epoch before it, as after a kill
    kept = tmp_path / "kept_straight" / "000001"
    shutil.copytree(kept, (again := tmp_path / "again") / "checkpoints")
    shutil.copyfile(straight / "config.yaml", again / "config.yaml")
    write_lr_changes(again, changes)
    resumed = settings.model_copy(update={"resume": True})
    with SignalHandler(), pytest.raises(Interruption):
        train(resumed, again, [SignalAfter(STEPS + 5)])
    train(resumed, again)
    assert difference(checkpoint(straight), checkpoint(again)) == []
    assert table(straight) == table(again)


def test_changes_that_are_no_changes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "lr_changes.json").write_text('[{"step": 3, "lr": -1}]')
    with pytest.raises(DataError, match=r"lr_changes\.json: not a list of learning rates"):
        read_lr_changes(tmp_path)


def test_a_page_gets_what_it_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lenet_pl.lab.history.MAX_POINTS", 8)
    history = History({"name": "001", "status": "starting"})
    known: dict[str, Any] = {}
    assert history.news(known) == {"state": {"name": "001", "status": "starting"}}
    assert history.news(known) == {}
    history.take({"kind": "losses", "first": 0, "values": [1.0, 2.0, 3.0], "lr": 0.1})
    history.take({"kind": "epoch", "row": {"epoch": 0}})
    news = history.news(known)
    assert news["losses"] == {"first": 0, "stride": 1, "values": [1.0, 2.0, 3.0]}
    assert news["rows"] == {"first": 0, "values": [{"epoch": 0}]}
    assert news["state"] == {"lr": 0.1, "step": 3}
    values = [float(k) for k in range(1, 22)]
    history.take({"kind": "losses", "first": 3, "values": values[3:], "lr": 0.1})
    means = history.news(known)["losses"]
    assert means["first"] == 0
    size = means["stride"]
    blocks = [values[k : k + size] for k in range(0, len(values) - size + 1, size)]
    assert means["values"] == pytest.approx([sum(block) / size for block in blocks])
    assert history.news(known) == {}
    assert history.news({})["losses"] == means
    history.take({"kind": "losses", "first": 30, "values": [5.0, 6.0], "lr": 0.1})  # resumed within an epoch
    assert history.news({})["losses"]["stride"] * len(history.news({})["losses"]["values"]) == pytest.approx(32, abs=4)


Schedule = Callable[[torch.optim.Optimizer], Any]


@pytest.mark.parametrize(
    "build",
    [
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20),
        lambda o: torch.optim.lr_scheduler.StepLR(o, 4, 0.5),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=21, cycle_momentum=False),
        lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.1, 1.0, 20),
        lambda o: torch.optim.lr_scheduler.PolynomialLR(o, 20),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda k: 1 / (k + 1)),
    ],
)
def test_a_schedule_goes_on_in_its_shape(build: Schedule) -> None:
    from lenet_pl.optim.change_lr import change_lr

    def rates(changed_at: int | None) -> list[list[float]]:
        groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.01)]
        optimizer = torch.optim.SGD(groups)
        scheduler = build(optimizer)
        found = []
        for step in range(20):
            if step == changed_at:
                change_lr(optimizer, scheduler, 3 * optimizer.param_groups[0]["lr"])
            found.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            scheduler.step()
        return found

    straight, changed = rates(None), rates(7)
    assert changed[:7] == straight[:7]
    for ours, theirs in zip(changed[7:], straight[7:], strict=True):
        assert ours == pytest.approx([3 * lr for lr in theirs])
