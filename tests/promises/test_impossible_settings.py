"""Settings and data that cannot work are rejected with one error line before the first optimizer step."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from promise import case

from lenet_pl.settings import TrainSettings
from lenet_pl.train import train
from lenet_pl.train.resume import begin_or_resume

QUIET = ("callbacks.progress_bar=false", "callbacks.model_summary=false", "logger=none", "trainer.accelerator=cpu")
TINY = (*QUIET, "trainer.num_threads=1", "trainer.max_epochs=1")
NO_WORKERS = "num_workers=-1, as there are no loader workers"
NO_MODE = "mode=max on a loss, as there is no such key and the metric determines the mode"

# Overrides, and fragments of the error line: the key, the value, the allowed values
IMPOSSIBLE = {
    "lr of 0": (["optimizer.lr=0"], ["optimizer.lr: got 0", "greater than 0"]),
    "negative lr": (["optimizer.lr=-0.1"], ["optimizer.lr: got -0.1", "greater than 0"]),
    "lr of NaN": (["optimizer.lr=nan"], ["optimizer.lr: got nan", "finite"]),
    "infinite lr": (["optimizer.lr=inf"], ["optimizer.lr: got inf", "finite"]),
    "lr of 1e30": (["optimizer.lr=1e30"], ["optimizer.lr: got 1e+30", "1000"]),
    "negative weight decay": (["optimizer.weight_decay=-1"], ["optimizer.weight_decay: got -1", "equal to 0"]),
    "momentum of 1": (["optimizer=sgd", "optimizer.momentum=1"], ["optimizer.momentum: got 1", "less than 1"]),
    "nesterov without momentum": (
        ["optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=true"],
        ["nesterov=true needs momentum > 0"],
    ),
    "cycled momentum with an optimizer without momentum": (
        ["optimizer=sdlm", "scheduler=onecycle", "scheduler.cycle_momentum=true"],
        ["cycle_momentum: got true with optimizer=sdlm", "must be false"],
    ),
    "beta greater than 1": (["optimizer.betas=[0.9,1.1]"], ["optimizer.betas", "got 1.1", "less than 1"]),
    "one beta": (["optimizer.betas=[0.9]"], ["optimizer.betas: got [0.9]", "2"]),
    "eps of 0": (["optimizer.eps=0"], ["optimizer.eps: got 0", "greater than 0"]),
    "negative gradient clipping": (
        ["trainer.gradient_clip_val=-1"],
        ["trainer.gradient_clip_val: got -1", "greater than 0"],
    ),
    "gradient clipping to 0": (
        ["trainer.gradient_clip_val=0"],
        ["trainer.gradient_clip_val: got 0", "greater than 0"],
    ),
    "EMA decay of 1": (["callbacks.ema.decay=1"], ["callbacks.ema.decay: got 1", "less than 1"]),
    "no epochs": (["trainer.max_epochs=0"], ["trainer.max_epochs: got 0", "1"]),
    "negative epochs": (["trainer.max_epochs=-1"], ["trainer.max_epochs: got -1", "1"]),
    "no training batches": (["trainer.limit_train_batches=0"], ["trainer.limit_train_batches: got 0", "1"]),
    "no validation batches": (["trainer.limit_val_batches=0"], ["trainer.limit_val_batches: got 0", "1"]),
    "batch size of 0": (["loader.batch_size=0"], ["loader.batch_size: got 0", "1"]),
    "negative batch size": (["loader.batch_size=-8"], ["loader.batch_size: got -8", "1"]),
    "batch size of 1.5": (["loader.batch_size=1.5"], ["loader.batch_size: got 1.5", "integer"]),
    "number of loader workers": (["loader.num_workers=-1"], ["loader.num_workers: unknown setting"]),
    "negative seed": (["seed=-1"], ["seed: got -1", "0"]),
    "seed of 2**32": (["seed=4294967296"], ["seed: got 4294967296", "less than"]),
    "the same seed twice": (["seeds=[1,1]"], ["seeds", "1 twice", "different seeds"]),
    "empty list of seeds": (["seeds=[]"], ["seeds: got []", "1"]),
    "label smoothing of 1": (["loss.label_smoothing=1"], ["loss.label_smoothing: got 1", "less than 1"]),
    "negative label smoothing": (["loss.label_smoothing=-0.1"], ["loss.label_smoothing: got -0.1", "0"]),
    "class weight of 0": (["loss.class_weights=[0,1]"], ["loss.class_weights", "got 0", "greater than 0"]),
    "dropout of 1": (["model.dropout=1"], ["model.dropout", "got 1", "less than 1"]),
    "three dropouts for two layers": (["model.dropout=[0.1,0.1,0.1]"], ["dropout has 3 entries for 2 hidden layers"]),
    "even kernel with same padding": (["model.kernel_size=4", "model.padding=same"], ["odd kernel_size, got 4"]),
    "negative width": (["model.hidden_sizes=[-1]"], ["model.hidden_sizes", "got -1", "1"]),
    "unknown activation": (["model.activation=rleu"], ["model.activation", "'rleu'", "did you mean relu?"]),
    "validation fraction of 0": (["data.split.val_size=0"], ["data.split.val_size: got 0", "fraction greater than 0"]),
    "negative number of validation images": (["data.split.val_size=-5"], ["data.split.val_size: got -5", "from 1"]),
    "validation fraction greater than 1": (
        ["data.split.val_size=1.5"],
        ["data.split.val_size: got 1.5", "less than 1"],
    ),
    "flip probability greater than 1": (["augment.hflip=2"], ["augment.hflip: got 2", "1"]),
    "negative rotation": (["augment.degrees=-5"], ["augment.degrees: got -5", "0"]),
    "misspelled monitor of early stopping": (
        ["callbacks.early_stopping.monitor=val_acc"],
        ["callbacks.early_stopping.monitor", "'val_acc'", "val/accuracy"],
    ),
    "misspelled monitor of the checkpoint": (
        ["callbacks.checkpoint.monitor=val/los"],
        ["callbacks.checkpoint.monitor", "did you mean val/loss?"],
    ),
    "misspelled monitor of the scheduler": (
        ["scheduler.monitor=validation"],
        ["scheduler.monitor", "'validation'", "val/loss"],
    ),
    "mode=max on a loss": (["callbacks.checkpoint.mode=max"], ["callbacks.checkpoint.mode: unknown setting"]),
    "patience of 0": (["callbacks.early_stopping.patience=0"], ["callbacks.early_stopping.patience: got 0", "1"]),
    "plateau factor greater than 1": (["scheduler.factor=1.5"], ["scheduler.factor: got 1.5", "less than 1"]),
    "no devices": (["trainer.devices=0"], ["trainer.devices: got 0", "1"]),
    "more threads than cores": (
        ["trainer.num_threads=100000"],
        ["trainer.num_threads: got 100000", "cores of this machine"],
    ),
    "neither training nor test": (["train=false", "test=false"], ["test: got false with train=false"]),
}
INSTEAD = {"number of loader workers": NO_WORKERS, "mode=max on a loss": NO_MODE}

COMMAND_LINES = {
    "unknown key": (["optimizer.lrr=1"], ["optimizer.lrr: unknown setting", "did you mean optimizer.lr?"]),
    "unknown key with +": (["+lrr=1"], ["lrr: unknown setting", "--help"]),
    "key without its group": (["lr=0.1"], ["lr: unknown setting", "did you mean optimizer.lr?"]),
    "word instead of a number": (["trainer.max_epochs=abc"], ["trainer.max_epochs: got 'abc'", "integer"]),
    "fraction instead of an integer": (["trainer.max_epochs=3.7"], ["trainer.max_epochs: got 3.7", "integer"]),
    "number in quotes": (["optimizer.lr='0.1'"], ["optimizer.lr: got '0.1'", "number"]),
    "name that escapes the folder": (["model.name=../../x"], ["model.name", "'../../x'"]),
    "unknown model": (["model=lenet6"], ["model=lenet6: no such model", "did you mean lenet5?"]),
    "unknown experiment": (["experiment=mnist"], ["experiment=mnist: no such experiment", "lenet5_mnist"]),
    "deleted required value": (["~optimizer.lr"], ["optimizer.lr: no value given"]),
    "unclosed bracket": (["model.hidden_sizes=[120"], ["model.hidden_sizes: got [120, which cannot be parsed"]),
    "interpolation of a missing key": (["optimizer.lr=${foo}"], ["foo"]),
    "several values without --multirun": (["seed=0,1"], ["--multirun"]),
    "argument without =": (["foo"], ["foo"]),
    "unknown option": (["--foo"], ["--foo"]),
    "_target_ instead of a choice": (["optimizer={_target_:os.system}"], ["optimizer._target_: unknown setting"]),
    "number added instead of a choice": (["+optimizer=0.1"], ["optimizer: got 0.1", "adam, adamw"]),
    "number instead of a choice": (["optimizer=1000000"], ["optimizer: got 1000000", "adam, adamw"]),
}


def refused(what: str) -> pytest.MarkDecorator:
    text = f"{what}: one error line with the key, the value and the allowed values, exit code 2, no folder"
    return case("settings", text, instead_of=INSTEAD.get(what, ""))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [pytest.param(*row, id=what, marks=refused(what)) for what, row in {**IMPOSSIBLE, **COMMAND_LINES}.items()],
)
def test_what_cannot_be_is_refused(arguments: list[str], words: list[str], run: Run) -> None:
    begun: list[object] = []
    code, lines = run(*arguments, work=lambda *given: begun.append(given))
    assert (code, len(lines), begun) == (2, 1, [])
    assert lines[0].startswith("error: ")
    assert [word for word in words if word not in lines[0]] == []
    assert list(Path().iterdir()) == []


# Errors that depend on the data, the network or the machine
UNFIT = {
    "batch larger than the dataset, with drop_last": (
        ["loader.batch_size=5000", "loader.drop_last=true"],
        ["loader.batch_size", "5000"],
    ),
    "more validation images than there are": (["data.split.val_size=1438"], ["data.split.val_size", "1438"]),
    "validation fraction of less than one image": (["data.split.val_size=0.0001"], ["data.split.val_size"]),
    "class weights for another number of classes": (
        ["loss.class_weights=[1,2,3]"],
        ["loss.class_weights: got 3 weights for 10 classes", "balanced"],
    ),
    "images too small for the network": (["model.image_size=8"], ["model.image_size", "8×8", "conv2"]),
    "network too large for any memory": (["model.hidden_sizes=[65536,65536]"], ["parameters", "20,000,000"]),
    "batch normalization over a single image": (
        ["model=lenet_bn", "loader.batch_size=1"],
        ["loader.batch_size: got 1, which leaves a batch with one"],
    ),
    "16-mixed on a CPU": (
        ["trainer.precision=16-mixed"],
        ["trainer.precision: got 16-mixed, which needs a gpu", "bf16-mixed"],
    ),
}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        pytest.param(
            *row, id=what, marks=case("settings", f"{what}: one error line with the key, before step 1, no folder left")
        )
        for what, row in UNFIT.items()
    ],
)
def test_what_does_not_fit_is_refused_before_training(overrides: list[str], words: list[str], run: Run) -> None:
    code, lines = run(*TINY, *overrides, "run=here", work=train)
    assert (code, len(lines)) == (2, 1)
    assert [word for word in words if word not in lines[0]] == []
    assert list(Path().iterdir()) == []


@case(
    "settings", "a learning rate with which training diverges: stops, exit code 1, no results, the run folder is kept"
)
def test_a_training_that_diverges_ends_with_its_reason(run: Run) -> None:
    words = ("optimizer=sgd", "optimizer.lr=1000", "scheduler=none", "callbacks=no_early_stopping")
    code, lines = run(*QUIET, *words, "trainer.max_epochs=9", "run=here", work=train)
    assert (code, len(lines)) == (1, 1)
    assert re.match(r"error: (train/loss|val/loss|gradient norm): (nan|inf) in .*optimizer\.lr", lines[0])
    assert not Path("here/results.json").exists()
    assert Path("here/config.yaml").exists()


def written(labels: np.ndarray, pixels: np.ndarray) -> None:
    """Write a dataset of NumPy files, with the same images for training and test."""
    Path("set").mkdir()
    for part in ("train", "test"):
        np.save(f"set/{part}_images.npy", pixels)
        np.save(f"set/{part}_labels.npy", labels)


PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
LABELS = np.arange(40) % 4
SETS = {
    "NaN pixels": (LABELS, np.full((40, 8, 8), np.nan), "train_images.npy"),
    "no images": (LABELS[:0], PIXELS[:0], "train_images.npy"),
    "a single class": (LABELS * 0, PIXELS, "train_labels.npy"),
    "negative labels, as for ignored images": (LABELS - 1, PIXELS, "train_labels.npy"),
    "fewer labels than images": (LABELS[:30], PIXELS, "train_"),
}


@pytest.mark.parametrize(
    ("labels", "pixels", "word"),
    [
        pytest.param(*row, id=what, marks=case("settings", f"{what}: one error line with the file, before step 1"))
        for what, row in SETS.items()
    ],
)
def test_a_set_that_cannot_be_learned_is_refused(labels: np.ndarray, pixels: np.ndarray, word: str, run: Run) -> None:
    written(labels, pixels)
    code, lines = run(*TINY, "data=arrays", "data.path=set", "data.split.val_size=4", "run=here", work=train)
    assert (code > 0, len(lines)) == (True, 1)
    assert word in lines[0]
    assert not Path("here").exists()


@case("settings", "run=<a finished run> without resume: rejected, no file of the run changes")
def test_a_used_folder_is_refused(digits_run: Path, run: Run) -> None:
    before = {path: path.read_bytes() for path in digits_run.iterdir() if path.is_file()}

    def prepared(settings: TrainSettings, folder: Path) -> None:
        begin_or_resume(settings, folder, [], False)
        pytest.fail("work was begun")

    code, lines = run(f"run='{digits_run}'", work=prepared)
    assert (code, len(lines)) == (2, 1)
    assert "already contains a run" in lines[0]
    assert {path: path.read_bytes() for path in digits_run.iterdir() if path.is_file()} == before
