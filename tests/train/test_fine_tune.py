import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Compose
from promise import case
from quiet import WITHOUT_FIGURES
from stopping import InterruptingHandler
from torch import Tensor, nn

from lenet_pl.data.loader import BatchLoader
from lenet_pl.engine.build import build_data_and_task
from lenet_pl.engine.trainer import silence_lightning_logs
from lenet_pl.errors import DataError, SettingError, UserError
from lenet_pl.export import export
from lenet_pl.inference.trained_run import load_run
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.runtime.signals import Interruption
from lenet_pl.settings import TrainSettings
from lenet_pl.settings import compose as composition
from lenet_pl.settings.export import ExportSettings
from lenet_pl.train import train, train_one
from lenet_pl.train.fine_tune import initial_weights
from lenet_pl.train.resume import begin_or_resume

FAKE = ("data=fake", "data.num_images=200", "data.test_images=40", "data.image_size=16", "data.split.val_size=40")
TARGET = (
    *WITHOUT_FIGURES,
    *FAKE,
    "data.classes=4",
    "loader.batch_size=32",
    "model=lenet_bn",
    "model.image_size=16",
    "test=false",
)
Start = Callable[..., Path]


@pytest.fixture(scope="module")
def source(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits with EMA, so that its weights are not those of the last step."""
    folder = tmp_path_factory.mktemp("source")
    overrides = ("model=lenet_bn", "model.image_size=16", "trainer.max_epochs=1", "callbacks.ema.decay=0.9")
    train(compose(*WITHOUT_FIGURES, *overrides), folder)
    return folder


def weights(folder: Path, which: str = "last") -> dict[str, Tensor]:
    state: dict[str, Tensor] = load_checkpoint(folder / "checkpoints" / f"{which}.ckpt")["state_dict"]
    return state


def start(settings: TrainSettings, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    train(settings, folder)


def plain_loop(settings: TrainSettings, source: Path, epochs: int, frozen: int) -> nn.Module:
    """Fine-tune in plain torch: the weights of the source but for the head, the features frozen for some epochs."""
    torch.manual_seed(settings.seed)
    data, task = build_data_and_task(settings, initial=initial_weights(settings))
    model = task.model
    trained = load_run(source / "checkpoints" / "best.ckpt").model
    for name, value in trained.state_dict().items():
        if not name.startswith("classifier.output"):
            assert torch.equal(model.state_dict()[name], value)
    optimizer = torch.optim.Adam(
        [{"params": model.classifier.parameters()}, {"params": model.features.parameters(), "lr": 1e-3 * 0.1}],
        1e-3,
        fused=True,
    )
    for epoch in range(epochs):
        model.train()
        model.features.requires_grad_(epoch >= frozen)
        model.features.train(epoch >= frozen)
        loader = BatchLoader(data.train_set, 32, data.preprocess, shuffle=True, epoch=lambda now=epoch: now)
        for batch in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch.images), batch.labels).backward()
            optimizer.step()
    return model


def test_fine_tuning_is_a_plain_torch_loop(compose: Compose, source: Path, tmp_path: Path) -> None:
    overrides = (f"init_from={source}", "freeze=[features]", "unfreeze_after=2", "layer_decay={features:0.1}")
    settings = compose(*TARGET, *overrides, "trainer.max_epochs=3", "model.dropout=0", "scheduler=none")
    torch.manual_seed(0)
    start(settings, tmp_path / "run")
    expected = plain_loop(settings, source, 3, 2).state_dict()
    found = weights(tmp_path / "run")
    for name, value in expected.items():
        assert torch.equal(found[f"model.{name}"], value), name


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_frozen_layers_keep_the_bits_of_the_source(
    compose: Compose, source: Path, tmp_path: Path, optimizer: str
) -> None:
    extra = ("optimizer.weight_decay=0.1", "trainer.gradient_clip_val=0.5", "callbacks.ema.decay=0.5")
    given = (f"init_from={source}", "freeze=[features]", f"optimizer={optimizer}", "trainer.max_epochs=2", *extra)
    start(compose(*TARGET, *given), tmp_path)
    before, after = load_run(source / "checkpoints" / "best.ckpt").model.state_dict(), weights(tmp_path)
    for name, value in before.items():
        if name.startswith("features"):
            assert torch.equal(after[f"model.{name}"], value)
            assert torch.equal(after[f"average.module.{name}"], value)
    assert not torch.equal(after["model.classifier.linear1.weight"], before["classifier.linear1.weight"])
    results = json.loads((tmp_path / "results.json").read_text())
    total = sum(value.numel() for name, value in after.items() if name.startswith("model.classifier"))
    norms = sum(
        v.numel() for k, v in after.items() if k.startswith("model.classifier") and ("running" in k or "num_b" in k)
    )
    assert results["parameters"] == total - norms


@case("resume", "a fine-tuned run, frozen and after unfreezing, without its source")
@pytest.mark.parametrize("checks", [3, 9, 15])
def test_a_fine_tuned_run_resumes_exactly_without_its_source(
    compose: Compose, source: Path, tmp_path: Path, checks: int
) -> None:
    moved = shutil.copytree(source, tmp_path / "source")
    overrides = (f"init_from={moved}", "freeze=[features]", "unfreeze_after=1", "layer_decay=0.5", "augment=affine")
    whole = compose(*TARGET, *overrides, "trainer.max_epochs=3", "callbacks.ema.decay=0.9", "scheduler=onecycle")
    start(whole, tmp_path / "whole")
    (tmp_path / "stopped").mkdir()
    given = whole.model_copy(update={"run": str(tmp_path / "stopped")})
    silence_lightning_logs()
    with pytest.raises(Interruption):
        train_one(given, tmp_path / "stopped", InterruptingHandler(checks))
    shutil.rmtree(moved)
    resumed = begin_or_resume(given.model_copy(update={"resume": True}), tmp_path / "stopped", [], False)
    assert resumed is not None
    train(resumed, tmp_path / "stopped")
    one, other = (load_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "stopped"))
    for name, value in one["state_dict"].items():
        assert torch.equal(other["state_dict"][name], value), name
    states = [content["optimizer_states"][0]["state"] for content in (one, other)]
    assert states[0].keys() == states[1].keys()
    for key, state in states[0].items():
        assert all(torch.equal(state[name], states[1][key][name]) for name in state)
    configs = [(tmp_path / name / "config.yaml").read_text().splitlines() for name in ("whole", "stopped")]
    assert {line.partition(":")[0] for line in set(configs[0]) ^ set(configs[1])} == {"run"}


def test_the_source_is_recorded_and_checked_when_a_run_starts_again(
    compose: Compose, source: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(source, tmp_path / "source")
    start(compose(*TARGET, f"init_from={moved}", "trainer.max_epochs=1"), tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    digest = results["init_from"]["sha256"]
    assert f"init_from_sha256: {digest}\n" in (tmp_path / "run" / "config.yaml").read_text()
    shutil.copy(moved / "checkpoints" / "last.ckpt", moved / "checkpoints" / "best.ckpt")
    again = compose(*TARGET, f"init_from={moved}", f"init_from_sha256={digest}")
    if (moved / "checkpoints" / "best.ckpt").read_bytes() != (source / "checkpoints" / "best.ckpt").read_bytes():
        with pytest.raises(SettingError, match=r"^init_from_sha256: got .* must be the file with which the run was"):
            start(again, tmp_path / "again")


def test_a_checkpoint_and_its_safetensors_export_start_the_same_training(
    compose: Compose, source: Path, tmp_path: Path
) -> None:
    pytest.importorskip("safetensors")
    given = [f"run={source}", "formats=[safetensors]", "batch_sizes=[1]", f"output_dir={tmp_path / 'out'}"]
    export(composition.compose("export", ExportSettings, given))
    places = {
        "run": source,
        "ckpt": source / "checkpoints" / "best.ckpt",
        "file": tmp_path / "out" / "model.safetensors",
    }
    for name, place in places.items():
        start(compose(*TARGET, f"init_from={place}", "trainer.max_epochs=1"), tmp_path / name)
    for name in ("ckpt", "file"):
        found, expected = weights(tmp_path / name), weights(tmp_path / "run")
        assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_the_head_is_new_where_the_classes_differ(
    compose: Compose, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = load_run(source / "checkpoints" / "best.ckpt").model.state_dict()["classifier.output.weight"]
    digits = (*WITHOUT_FIGURES, "model=lenet_bn", "model.image_size=16", "test=false", f"init_from={source}")
    ten = (*TARGET, "data.classes=10", f"init_from={source}")
    cases = [
        (compose(*TARGET, f"init_from={source}"), False, "is new since the classes differ (10 there, 4 here)"),
        (compose(*ten), False, "is new since the classes have other names"),
        (compose(*ten, "reset_head=false"), True, ""),
        (compose(*digits), True, ""),
        (compose(*digits, "reset_head=true"), False, "is new since reset_head=true"),
    ]
    for settings, kept, why in cases:
        initial = initial_weights(settings)
        assert initial is not None
        data, task = build_data_and_task(settings, initial=initial)
        assert torch.equal(task.model.state_dict()["classifier.output.weight"], trained) is kept
        line = initial.describe(task.model, data.classes, reset_head=settings.reset_head)
        assert line.endswith(f"the head, classifier.output, {why}" if why else "best.ckpt")
        run = load_run(source / "checkpoints" / "best.ckpt")
        assert data.preprocess.mean == run.preprocess.mean  # the inputs that the weights know


def test_several_seeds_share_a_source(compose: Compose, source: Path, tmp_path: Path) -> None:
    overrides = (*TARGET, f"init_from={source}", "freeze=[features]", "trainer.max_epochs=1")
    start(compose(*overrides, "seeds=[0,1]"), tmp_path / "both")
    start(compose(*overrides, "seed=1"), tmp_path / "alone")
    found, expected = weights(tmp_path / "both" / "seed_1"), weights(tmp_path / "alone")
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    digest = json.loads((tmp_path / "alone" / "results.json").read_text())["init_from"]["sha256"]
    for place in ("both", "both/seed_0"):
        assert f"init_from_sha256: {digest}\n" in (tmp_path / place / "config.yaml").read_text()


NETWORK = "must be a network of the same architecture and input, such as model=lenet_bn"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "model=lenet5",
            "init_from: features.conv1.weight is of shape (32, 1, 5, 5) in {file} and of shape (6, 1, 5, 5) in "
            f"model=lenet5; {NETWORK}",
        ),
        (
            "data.channels=3",
            "init_from: features.conv1.weight is of shape (32, 1, 5, 5) in {file} and of shape (32, 3, 5, 5) in "
            f"model=lenet_bn; {NETWORK}",
        ),
        (
            "model.image_size=20",
            "init_from: classifier.linear1.weight is of shape (512, 64) in {file} and of shape (512, 256) in "
            f"model=lenet_bn; {NETWORK}",
        ),
        (
            "model.norm=none",
            "init_from: features.norm1.weight is of shape (32,) in {file} and missing in model=lenet_bn; " + NETWORK,
        ),
        (
            "model.activation=tanh",
            "init_from: {file} was trained with model.activation=relu, but here it is tanh; " + NETWORK,
        ),
        (
            "reset_head=false",
            "reset_head: got false, but {file} has 10 classes and the data have 4; must be null or true",
        ),
        ("freeze=[conv1]", "freeze: got conv1, which matches no layer with weights;"),
        (
            "freeze=[features,classifier]",
            "freeze: got features, classifier, which leaves no layer to train; must leave at least one",
        ),
        ("layer_decay={head:2.0}", "layer_decay: got head, which matches no layer with weights;"),
    ],
)
def test_what_does_not_fit_is_one_line(
    compose: Compose, source: Path, tmp_path: Path, override: str, line: str
) -> None:
    with pytest.raises(UserError) as caught:
        start(compose(*TARGET, f"init_from={source}", override), tmp_path / "run")
    assert str(caught.value).startswith(line.format(file=source / "checkpoints" / "best.ckpt"))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "run").glob("[!.]*"))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["unfreeze_after=3"], "unfreeze_after: got 3 without frozen layers; must be null, or freeze=[<layers>]"),
        (
            ["reset_head=true"],
            "reset_head: got true without init_from; must be null, or init_from=<run folder or checkpoint>",
        ),
        (
            ["layer_decay=1.5"],
            "layer_decay: got 1.5; must be greater than 0, up to 1, or a mapping of layers to factors",
        ),
    ],
)
def test_mistakes_are_one_line(compose: Compose, overrides: list[str], line: str) -> None:
    with pytest.raises(SettingError) as caught:
        compose(*overrides)
    assert str(caught.value) == line


def test_a_source_that_is_none_is_one_line(compose: Compose, source: Path, tmp_path: Path) -> None:
    (tmp_path / "seeds" / "seed_0").mkdir(parents=True)
    shutil.copytree(source / "checkpoints", tmp_path / "seeds" / "seed_0" / "checkpoints")
    (tmp_path / "notes.txt").write_text("no weights")
    cases = {
        "nowhere": "does not exist; must be a run folder, a checkpoint, or the safetensors file of an export",
        "seeds": f"has no checkpoints/best.ckpt; use one of its runs, such as init_from={tmp_path}/seeds/seed_0",
        "notes.txt": "is neither a .ckpt nor a .safetensors file; must be",
    }
    for name, line in cases.items():
        with pytest.raises(DataError) as caught:
            initial_weights(compose(*TARGET, f"init_from={tmp_path / name}"))
        assert str(caught.value).startswith(f"init_from: {tmp_path / name} {line}")


class Hostile:
    """An object whose unpickling would create a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("kind", ["torch", "pickle", "safetensors"])
def test_nothing_in_a_source_is_executed(compose: Compose, tmp_path: Path, kind: str) -> None:
    file = tmp_path / ("model.safetensors" if kind == "safetensors" else "best.ckpt")
    if kind == "torch":
        torch.save({"state_dict": Hostile(tmp_path / "hit")}, file)
    else:
        file.write_bytes(pickle.dumps(Hostile(tmp_path / "hit")))
    with pytest.raises(DataError, match=r"not a valid checkpoint|not a safetensors file"):
        initial_weights(compose(*TARGET, f"init_from={file}"))
    assert not (tmp_path / "hit").exists()


def test_a_sweep_fine_tunes_from_the_command_line(
    source: Path, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    command = [
        sys.executable,
        "-m",
        "lenet_pl.train",
        "-m",
        f"run={tmp_path / 'sweep'}",
        *TARGET,
        f"init_from={source}",
    ]
    command += ["trainer.max_epochs=1", "freeze=[features],[]"]
    done = subprocess.run(command, capture_output=True, text=True, env=command_environment)
    assert done.returncode == 0, done.stderr
    kept = [weights(tmp_path / "sweep" / str(job))["model.features.conv1.weight"] for job in (0, 1)]
    trained = load_run(source / "checkpoints" / "best.ckpt").model.state_dict()["features.conv1.weight"]
    assert [torch.equal(value, trained) for value in kept] == [True, False]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_layers_are_unfrozen_with_every_fused_optimizer(optimizer: str, compose: Compose, tmp_path: Path) -> None:
    settings = compose(
        f"optimizer={optimizer}", "freeze=[features]", "unfreeze_after=1", "trainer.max_epochs=2", *WITHOUT_FIGURES
    )
    assert train(settings, tmp_path)["epochs"] == 2
