import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from conftest import FASHION, Compose
from PIL import Image
from torch.nn import functional

from lenet_pl import settings as all_settings
from lenet_pl.config_files.groups import choices_of
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.emnist import emnist
from lenet_pl.data.published import PUBLISHED
from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.errors import SettingError
from lenet_pl.optim.optimizers import build_optimizer
from lenet_pl.optim.schedulers import build_scheduler
from lenet_pl.settings import AdamSettings, DigitsDataSettings, Settings, TrainSettings
from lenet_pl.settings.compose import conf_dir

OTHERS = ("hydra", "search")  # groups that are no settings of a training
FOLDERS = [folder for folder in sorted(conf_dir().iterdir()) if folder.is_dir() and folder.name not in OTHERS]
GROUPS = {folder.name: choices_of(folder) for folder in FOLDERS}
FACTORS = ("model", "data", "optimizer", "scheduler")
NAMED = (*FACTORS, "loss")  # groups whose choices have the names of parts
LISTED = ("transforms", "metrics", "extra_callbacks", "extra_loggers")
SIDES = {"usps": 16, "cifar10": 32}  # px; the other published sets have 28


def all_kinds(kind: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith(f"{all_settings.__name__}."):
            yield child
            yield from all_kinds(child)


def pairs(row: tuple[str, ...]) -> set[tuple[int, str, int, str]]:
    return {(i, row[i], j, row[j]) for i, j in itertools.combinations(range(len(row)), 2)}


def covering_array(*factors: list[str]) -> list[tuple[str, ...]]:
    """Choose rows greedily until each value of each factor has met each value of each other."""
    rows, every = [], list(itertools.product(*factors))
    left = set().union(*map(pairs, every))
    while left:
        rows.append(max(every, key=lambda row: len(pairs(row) & left)))
        left -= pairs(rows[-1])
    return rows


ROWS = covering_array(*(GROUPS[name] for name in FACTORS))


@pytest.mark.parametrize(("group", "choice"), [(g, c) for g, cs in GROUPS.items() for c in cs])
def test_every_choice_composes_and_has_the_name_of_its_file(group: str, choice: str, compose: Compose) -> None:
    needed = ["data.path=somewhere"] * (choice in ("folder", "arrays")) + ["model=lenet5_1998"] * (choice == "mle")
    settings = compose(f"{group}={choice}", *needed)
    if group in NAMED:
        assert getattr(settings, group).name == choice
    if group in LISTED and choice != "none":
        assert [(key, part.name) for key, part in getattr(settings, group).items()] == [(choice, choice)]


@pytest.mark.parametrize("choice", GROUPS["experiment"])
def test_an_experiment_says_how_to_run_it_whence_it_is_and_what_comes_out(choice: str) -> None:
    lines = (conf_dir() / "experiment" / f"{choice}.yaml").read_text().splitlines()
    header = dict(line[2:].split(":", 1) for line in lines if line.startswith("# ") and ":" in line[:12])
    assert f"experiment={choice}" in header["command"].split()
    assert header["command"].strip().startswith("python -m lenet_pl.train ")
    assert header["source"].strip()
    assert header["expected"].strip()


def test_no_setting_has_a_default_in_python() -> None:
    kinds = set(all_kinds())
    assert {TrainSettings, AdamSettings, DigitsDataSettings} <= kinds
    assert [(k.__name__, n) for k in kinds for n, field in k.model_fields.items() if not field.is_required()] == []


def test_the_rows_cover_all_pairs() -> None:
    met = set().union(*map(pairs, ROWS))
    for (i, one), (j, other) in itertools.combinations(enumerate(GROUPS[name] for name in FACTORS), 2):
        assert {(i, a, j, b) for a in one for b in other} <= met
    assert len(ROWS) < len(GROUPS["model"]) * len(GROUPS["data"]) * 2


@pytest.fixture(scope="module")
def stand_in(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """Overrides for each dataset: itself, or noise of the same shape where its files are not on every machine."""
    images = tmp_path_factory.mktemp("images")
    for name, count in itertools.product(("circle", "square", "star"), range(8)):
        (images / name).mkdir(exist_ok=True)
        Image.new("L", (20, 24), 20 * count).save(images / name / f"{count}.png")
    chosen = {name: (f"data={name}",) for name in GROUPS["data"]}
    chosen["folder"] += (f"data.path={images}", "loader.batch_size=3")
    for part, name in itertools.product(("train", "test"), ("images", "labels")):
        values = np.arange(24 * 20 * 20) % 251 if name == "images" else np.arange(24) % 3
        shaped = values.astype(np.uint8).reshape(24, 20, 20) if name == "images" else values
        np.save(images.parent / f"{part}_{name}.npy", shaped)
    chosen["arrays"] += (f"data.path={images.parent}", "data.split.val_size=0.25", "loader.batch_size=3")
    for name, published in {**PUBLISHED, "emnist": emnist("balanced")}.items():
        if name != "fashion" or not FASHION.is_dir():
            chosen[name] = (
                "data=fake",
                f"data.resize_mode={compose(f'data={name}').data.resize_mode}",
                f"data.channels={published.channels}",
                f"data.classes={len(published.classes)}",
                f"data.image_size={SIDES.get(name, 28)}",
            )
    return chosen


@pytest.fixture(scope="module")
def loaded() -> dict[tuple[str, int], ImageDataModule]:
    """Data of a choice for an image size, read once."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids="-".join)
def test_any_combination_of_parts_takes_a_step(
    row: tuple[str, ...],
    compose: Compose,
    stand_in: dict[str, tuple[str, ...]],
    loaded: dict[tuple[str, int], ImageDataModule],
) -> None:
    model, choice, optimizer, scheduler = row
    if optimizer.startswith(("sdlm", "schedule_free")) and model.endswith("_bn"):
        with pytest.raises(SettingError, match="batch normalization"):
            compose(*stand_in[choice], f"model={model}", f"optimizer={optimizer}")
        return
    settings = compose(*stand_in[choice], f"model={model}", f"optimizer={optimizer}", f"scheduler={scheduler}")
    key = choice, settings.model.image_size
    if key not in loaded:
        loaded[key] = build_datamodule(settings)
    data = loaded[key]
    if model == "lenet5_1998" and len(data.classes) > 10:
        with pytest.raises(SettingError, match="bitmaps for only 10 classes"):
            build_task(settings, data)
        return
    task = build_task(settings, data)
    stepper = build_optimizer(settings.optimizer, task.parameters())
    schedule = build_scheduler(settings.scheduler, stepper, steps=10)
    assert (schedule is None) == (scheduler == "none")
    chosen = data.train_set[:4]
    logits = task(data.preprocess(chosen.images))
    assert logits.shape == (4, len(data.classes))
    loss = functional.cross_entropy(logits, chosen.labels)
    loss.backward()
    if optimizer.startswith("schedule_free"):
        stepper.train()  # type: ignore[attr-defined]
    stepper.step()
    if schedule:
        schedule["scheduler"].step(*[1.0] * ("monitor" in schedule))
    assert torch.isfinite(loss)
    assert all(p.isfinite().all() for p in task.parameters())
