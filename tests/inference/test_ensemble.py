from pathlib import Path

import pytest
import torch
from conftest import Compose
from torch.nn import functional

from lenet_pl.errors import SettingError
from lenet_pl.evaluate import evaluate
from lenet_pl.inference.ensemble import ensemble_logits
from lenet_pl.inference.trained_run import load_run
from lenet_pl.inference.tta import augmented_copies
from lenet_pl.settings import compose as composition
from lenet_pl.settings.evaluate import EvaluateSettings, TtaSettings
from lenet_pl.train import train

ALONE = TtaSettings(shift=0, hflip=False)


@pytest.fixture(scope="module")
def other_run(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another network for the same digits."""
    folder = tmp_path_factory.mktemp("other")
    overrides = ("model=lenet_avg_dropout", "seed=1", "trainer.max_epochs=6", "logger=none")
    train(compose(*overrides, "callbacks.progress_bar=false"), folder)
    return folder


def asked(*overrides: str) -> EvaluateSettings:
    return composition.compose("evaluate", EvaluateSettings, list(overrides))


@pytest.fixture
def spot() -> torch.Tensor:
    """A picture with one bright px, 3 × 4."""
    image = torch.zeros(1, 1, 3, 4, dtype=torch.uint8)
    image[0, 0, 1, 0] = 200
    return image


def test_views_are_moved_and_mirrored(spot: torch.Tensor) -> None:
    views = list(augmented_copies(spot, TtaSettings(shift=1, hflip=True), 7))
    assert len({tuple(view.flatten().tolist()) for view in views}) == len(views) == 18
    assert torch.equal(views[0], spot)
    assert torch.equal(views[9], spot.flip(3))
    places = {tuple((view == 200).nonzero()[0, 2:].tolist()) for view in views if (view == 200).any()}
    assert places == {(row, column) for row in (0, 1, 2) for column in (0, 1, 2, 3)}
    for view in views:
        assert view.shape == spot.shape
        assert set(view.unique().tolist()) <= {0, 7, 200}  # what comes in is background


def test_one_network_and_one_view_are_the_networks_own_logits(digits_run: Path) -> None:
    run = load_run(digits_run / "checkpoints" / "best.ckpt")
    images = run.load_data().test_set.images
    assert torch.equal(ensemble_logits([run], images, ALONE), run.predict_logits(images))


def test_probabilities_are_averaged(digits_run: Path, other_run: Path) -> None:
    runs = [load_run(folder / "checkpoints" / "best.ckpt") for folder in (digits_run, other_run)]
    images = runs[0].load_data().test_set.images
    shifted = ensemble_logits(runs, images, TtaSettings(shift=1, hflip=False)).exp()
    background = round(255 * runs[0].preprocess.background)
    padded = functional.pad(images, [1] * 4, value=background)
    views = [padded[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    expected = torch.stack([run.predict_logits(view).softmax(1) for run in runs for view in views]).mean(0)
    torch.testing.assert_close(shifted, expected)
    torch.testing.assert_close(shifted.sum(1), torch.ones(len(images)))


def test_an_ensemble_is_evaluated_as_one_network_is(
    digits_run: Path, other_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = evaluate(asked(f"run=['{digits_run}','{other_run}']", f"output_dir='{tmp_path / 'both'}'", "tta.shift=1"))
    assert results["name"] == "2 networks, lenet5 on digits, lenet_avg_dropout on digits"
    assert [one["run"] for one in results["runs"]] == [str(digits_run), str(other_run)]
    assert results["tta"] == {"shift": 1, "hflip": False}
    runs = [load_run(folder / "checkpoints" / "best.ckpt") for folder in (digits_run, other_run)]
    test = runs[0].load_data().test_set
    right = ensemble_logits(runs, test.images, TtaSettings(shift=1, hflip=False)).argmax(1) == test.labels
    assert results["metrics"]["accuracy"] == pytest.approx(float(right.float().mean()))
    assert "2 networks" in capsys.readouterr().out


def test_networks_for_other_images_are_refused(
    digits_run: Path, compose: Compose, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = ("logger=none", "callbacks.progress_bar=false", "trainer.max_epochs=1")
    fake, split = tmp_path_factory.mktemp("fake"), tmp_path_factory.mktemp("split")
    train(compose("data=fake", "data.classes=4", *base), fake)
    train(compose("data.split.method=last", *base), split)
    with pytest.raises(SettingError, match=r"^run: got .* twice; must be a list of different runs"):
        evaluate(asked(f"run=['{digits_run}','{digits_run}']"))
    with pytest.raises(SettingError, match=r"^run: .* has other classes or channels than .*; must be networks"):
        evaluate(asked(f"run=['{digits_run}','{fake}']"))
    with pytest.raises(SettingError, match=r"^run: .* was trained on another split of the data than .*; must be runs"):
        evaluate(asked(f"run=['{digits_run}','{split}']", "split=val"))
    assert not (digits_run / "evaluate").exists()
