"""The loops of the tutorials next to the experiments of the same names, on small files in the published formats."""

import gzip
import hashlib
import io
import json
import struct
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from conftest import Compose
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from lenet_pl.benchmark.tutorials import measure, tables
from lenet_pl.benchmark.tutorials.loop import Images, pictures, tensors, train_tutorial
from lenet_pl.benchmark.tutorials.measure import read_images, train_all, train_own
from lenet_pl.benchmark.tutorials.recipes import RECIPES, Recipe
from lenet_pl.compare import intervals
from lenet_pl.data.published import PUBLISHED, DataFile
from lenet_pl.engine.build import build_data_and_task, build_datamodule
from lenet_pl.engine.trainer import silence_lightning_logs
from lenet_pl.errors import DataError
from lenet_pl.models.build import build_model
from lenet_pl.settings import TrainSettings
from lenet_pl.settings import compose as composition
from lenet_pl.settings.benchmark import BenchmarkSettings

TRAIN, TEST = 320, 64  # images
STEPS = TRAIN // 64 - 1  # of an epoch, whose last batch validates
DOCS = Path(__file__).resolve().parents[2] / "docs"


def digits(side: int, channels: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Enlarge real digits; a color image has the next two digits in green and blue."""
    bunch = load_digits()
    count = TRAIN + TEST
    gray = [Image.fromarray(np.uint8(one * 255 / 16)).resize((side, side)) for one in bunch.images[: count + 2]]
    images = np.stack([np.asarray(one) for one in gray])
    shifted = np.stack([images[k : k + count] for k in range(channels)], 1)  # (N, C, H, W)
    return shifted, bunch.target[:count].astype(np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Write small files in the published formats; their digests replace those of the published files."""
    root = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("mnist", "fashion"):
            images, labels = digits(28, 1)
            parts: dict[str, Any] = {"sizes": (TRAIN, TEST), "system_dir": None}
            for part, rows in (("train", slice(TRAIN)), ("test", slice(TRAIN, None))):
                values = images[rows, 0], labels[rows]
                contents = [struct.pack(f">HBB{v.ndim}i", 0, 8, v.ndim, *v.shape) + v.tobytes() for v in values]
                parts[part] = tuple(
                    write(root / PUBLISHED[name].folder / file.name, content)
                    for file, content in zip(getattr(PUBLISHED[name], part), contents, strict=True)
                )
            patch.setitem(PUBLISHED, name, replace(PUBLISHED[name], **parts))
        cifar = PUBLISHED["cifar10"]
        images, labels = digits(32, 3)
        records = np.concatenate([labels[:, None], images.reshape(len(images), -1)], 1)
        batches = [*np.split(records[:TRAIN], 5), records[TRAIN:]]
        (root / cifar.folder).mkdir()
        archive = root / cifar.folder / "cifar-10-binary.tar.gz"
        with tarfile.open(archive, "w:gz") as members:
            for file, batch in zip((*cifar.train, *cifar.test), batches, strict=True):
                member = tarfile.TarInfo(file.name)
                member.size = batch.nbytes
                members.addfile(member, io.BytesIO(batch.tobytes()))
        made = DataFile(archive.name, hashlib.sha256(archive.read_bytes()).hexdigest())
        patch.setitem(PUBLISHED, "cifar10", replace(cifar, archive=made, sizes=(TRAIN, TEST)))
        yield root


def write(path: Path, raw: bytes) -> DataFile:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(raw))
    return DataFile(path.name, hashlib.sha256(raw).hexdigest(), sha256_of_raw=True)


def settings_of(compose: Compose, recipe: Recipe, root: Path, *more: str) -> TrainSettings:
    size = "data.split.val_size=0.2" if recipe.name == "lenet_sigmoid_fashion" else "data.split.val_size=64"
    given = (f"experiment={recipe.name}", f"data_root={root}", size, "data.download=false", "trainer.max_epochs=1")
    return compose(*given, "trainer.precision=32-true", "trainer.accelerator=cpu", *more)


def few(images: Images, count: int) -> Images:
    return Images(images.pixels[:count], images.labels[:count])


def with_weights(network: nn.Module, other: nn.Module) -> nn.Module:
    """Copy weights in the order of the layers, whose names differ."""
    values = list(other.state_dict().values())
    network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)))
    return network


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_the_loop_and_the_experiment_have_one_network_and_one_input(
    recipe: Recipe, root: Path, compose: Compose
) -> None:
    settings = settings_of(compose, recipe, root)
    data = build_datamodule(settings)
    train, test = read_images(settings)
    assert (len(train.labels), len(test.labels)) == (TRAIN, TEST)
    ours = data.preprocess(data.test_set.images)
    theirs = tensors(recipe, pictures(recipe, test.pixels))
    side = ours.shape[2]
    margin = (side - theirs.shape[2]) // 2  # padded in the data here, in the first convolution there
    inside = ours[:, :, margin : side - margin, margin : side - margin]
    # Pillow rounds resized levels once per axis; ranges of CIFAR-10's levels are written with four digits
    level = 1 / 255 / min(recipe.normalize[1] if recipe.normalize else (1.0,))
    tolerance = level + 1e-5 if settings.data.resize_mode == "resize" else 1e-4
    torch.testing.assert_close(inside, theirs, rtol=0, atol=tolerance, check_stride=False)
    model = build_model(settings.model, data.channels, len(data.classes)).eval()
    network = with_weights(recipe.network(), model).eval()
    count = sum(parameter.numel() for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert f": {count:,} parameters" in str(recipe.network.__doc__)
    with torch.no_grad():
        torch.testing.assert_close(network(inside), model(ours), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["lenet_sigmoid_fashion", "cnn_plain_mnist"])
def test_without_random_numbers_the_losses_are_the_same(name: str, root: Path, compose: Compose) -> None:
    settings = settings_of(compose, RECIPES[name], root, "data.split.method=last", "data.split.val_size=64")
    lightning.seed_everything(0, verbose=False)
    data, task = build_data_and_task(settings)
    recipe = replace(RECIPES[name], epochs=1, validation=64)  # the initial weights of a seed are the same
    result = train_tutorial(recipe, *read_images(settings), seed=0)
    silence_lightning_logs()
    quiet: Any = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(accelerator="cpu", max_epochs=1, **quiet)
    trainer.fit(task, data)
    assert len(result["losses"]) == STEPS
    loss = float(trainer.callback_metrics["train/loss"])
    assert loss == pytest.approx(np.mean(result["losses"]), abs=1e-4)
    (scores,) = trainer.test(task, data, verbose=False)
    assert result["test_accuracy"] == pytest.approx(scores["test/accuracy"], abs=1e-6)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_every_loop_trains_and_keeps_what_its_recipe_says(recipe: Recipe, root: Path, compose: Compose) -> None:
    train, test = (few(images, 130) for images in read_images(settings_of(compose, recipe, root)))
    short = replace(recipe, epochs=2, validation=recipe.validation and 32)
    result = train_tutorial(short, train, test, seed=1)
    assert len(result["losses"]) == result["epochs"] * -(-(130 - short.validation) // recipe.batch_size)
    assert result["best_epoch"] in (1, 2) if recipe.keep != "last" else result["best_epoch"] == result["epochs"]
    assert 0 <= result["test_accuracy"] <= 1
    assert result["seconds"] > 0


def test_early_stopping_ends_the_loop(root: Path, compose: Compose) -> None:
    recipe = replace(RECIPES["lenet5_mnist"], epochs=9, patience=2, validation=64, keep="loss", lr=0)
    result = train_tutorial(recipe, *read_images(settings_of(compose, recipe, root)), seed=0)
    assert (result["best_epoch"], result["epochs"]) == (1, 3)  # the loss stays the same


def benchmark_settings(folder: Path, *more: str) -> BenchmarkSettings:
    given = (f"tutorials_dir={folder}", "output_dir=unused", "seeds=2", "tutorial_recipes=[cnn_plain_mnist]")
    return composition.compose("benchmark", BenchmarkSettings, [*given, *more])


def test_finished_trainings_are_kept_and_not_repeated(tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []

    def do(loop: str, work: Any, settings: Any, name: str, source: str, seed: int) -> dict[str, Any]:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append((source, seed))
        accuracy = 0.1 + 0.01 * seed + 0.8 * (source == "fixed")
        return {"test_accuracy": accuracy, "seconds": 10.0, "epochs": 9, "best_epoch": 9}

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_all(benchmark_settings(tmp_path), do)
    assert calls == [("tutorial", 0), ("lenet_pl", 0)]
    calls.append(("", 0))  # no more interruption
    found = train_all(benchmark_settings(tmp_path), do)
    assert calls[3:] == [("fixed", 0), *[(source, 1) for source in ("tutorial", "lenet_pl", "fixed")]]
    row = found["rows"]["cnn_plain_mnist"]
    assert row["fixed"]["mean"] == pytest.approx(0.905)
    assert json.loads((tmp_path / "tutorials.json").read_text()) == found
    table = (tmp_path / "tutorials.md").read_text()
    assert "| `cnn_plain_mnist` | MNIST | 0.1050 ± 0.0071 (2) | 0.1050 ± 0.0071 (2) | +0.0000, paired |" in table
    assert "`lenet5_mnist` | MNIST | not measured: `parts=[tutorials] tutorial_recipes=[lenet5_mnist]`" in table
    assert (tmp_path / "tutorials.png").stat().st_size > 1000


def test_a_dataset_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    def do(loop: str, work: Any, *given: Any) -> Any:
        return work(*given)

    settings = benchmark_settings(tmp_path / "kept", f"data_root={tmp_path}")
    found = train_all(settings, do)
    assert found["rows"] == {}
    assert "download=false" in found["missing"]["cnn_plain_mnist"]
    assert "| left out: data=mnist: " in (tmp_path / "kept" / "tutorials.md").read_text()


def test_images_of_cifar10_may_be_a_folder(tmp_path: Path) -> None:
    settings = benchmark_settings(tmp_path, f"cifar10_folder={tmp_path}")
    given = measure.training(settings, RECIPES["cnn3_bn_cifar10"], "cnn3_bn_cifar10", 3)
    assert (given.data.name, given.seed, given.model.name, given.data.split.val_size) == ("folder", 3, "cnn3_bn", 5000)
    file = {
        "recipe": "cnn3_bn_cifar10",
        "source": "lenet_pl",
        "seed": 0,
        "test_accuracy": 0.8,
        "seconds": 9,
        "epochs": 1,
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.json").write_text(json.dumps(file))
    row = tables.write_comparison(tmp_path, {}, settings.cifar10_folder)["rows"]["cnn3_bn_cifar10"]
    assert row["data"] == "CIFAR-10, re-encoded JPEG"
    assert row["difference"] is None


def test_the_results_of_a_finished_run_are_read(digits_run: Path, tmp_path: Path, compose: Compose) -> None:
    (tmp_path / "seed_0").symlink_to(digits_run)
    results = json.loads((digits_run / "results.json").read_text())
    found = train_own(compose(), tmp_path)
    assert found["test_accuracy"] == results["metrics"]["test/accuracy"]
    assert found["epochs"] == 8


@pytest.mark.parametrize("pair", [False, True])
def test_the_interval_is_that_of_compare(pair: bool) -> None:
    first, second = {"0": 0.91, "1": 0.93, "2": 0.92}, {"0": 0.95, "1": 0.94, "2": 0.99}
    wanted = (
        intervals.difference(second, first) if pair else intervals.welch(list(second.values()), list(first.values()))
    )
    found = tables.difference(first, second, pair=pair)
    assert found == {
        "mean": round(wanted.mean, 5),
        "low": round(wanted.low or 0, 5),
        "high": round(wanted.high or 0, 5),
        "method": "paired" if pair else "Welch",
    }
    assert tables.difference({"0": 0.1}, {"0": 0.2, "1": 0.3}, pair=pair) == {
        "mean": 0.1 if pair else 0.15,
        "method": "paired" if pair else "Welch",
    }
    assert tables.difference({}, second, pair=pair) is None


def test_the_page_has_the_table_of_the_benchmark() -> None:
    page = (DOCS / "tutorial_recipes.md").read_text(encoding="utf-8")
    found = json.loads((DOCS / "images" / "tutorials.json").read_text(encoding="utf-8"))
    assert tables.comparison_table(found) in page
    assert tables.difference_list() in page


def test_missing_images_are_an_error_of_the_data(tmp_path: Path, compose: Compose) -> None:
    with pytest.raises(DataError, match="download=false"):
        read_images(settings_of(compose, RECIPES["lenet5_mnist"], tmp_path))
