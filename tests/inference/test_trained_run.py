import json
from pathlib import Path

import pytest
import torch
from conftest import Compose

from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.errors import DataError, SettingError, UserError
from lenet_pl.inference.output_folder import output_folder
from lenet_pl.inference.trained_run import load_run, open_run
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.settings import DigitsDataSettings, FakeDataSettings
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.train import train


def asked(run: object = None, ckpt_path: object = None, output_dir: object = None) -> TrainedSettings:
    run, ckpt_path, output_dir = (None if value is None else str(value) for value in (run, ckpt_path, output_dir))
    return TrainedSettings(run=run, ckpt_path=ckpt_path, output_dir=output_dir, traceback=False, plugins=[])


def test_a_run_scores_again_what_it_scored_when_it_was_trained(digits_run: Path) -> None:
    run = open_run(asked(digits_run))
    test = run.load_data().test_set
    right = (run.predict_logits(test.images).argmax(1) == test.labels).float().mean()
    results = json.loads((digits_run / "results.json").read_text())
    assert float(right) == pytest.approx(results["metrics"]["test/accuracy"], abs=1e-6)
    assert float(right) > 0.8


def test_averaged_weights_are_the_network(compose: Compose, tmp_path: Path) -> None:
    few = ("trainer.max_epochs=2", "callbacks.ema.decay=0.9", "logger=none", "callbacks.progress_bar=false")
    results = train(compose("model=lenet5_bn", *few), tmp_path)
    assert results["parameters"] == 61_750
    run = open_run(asked(tmp_path))
    test = run.load_data().test_set
    right = (run.predict_logits(test.images).argmax(1) == test.labels).float().mean()
    assert float(right) == pytest.approx(results["metrics"]["test/accuracy"], abs=1e-6)
    weights = load_checkpoint(run.checkpoint)["state_dict"]
    for name, value in run.model.named_parameters():
        assert torch.equal(value, weights[f"average.module.{name}"])
        assert not torch.equal(value, weights[f"model.{name}"])


def test_a_checkpoint_alone_is_enough(digits_run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.ckpt"
    alone.write_bytes((digits_run / "checkpoints" / "best.ckpt").read_bytes())
    run, again = open_run(asked(digits_run)), open_run(asked(ckpt_path=alone))
    images = run.load_data().test_set.images
    assert torch.equal(run.predict_logits(images), again.predict_logits(images))
    assert (run.folder, again.folder) == (digits_run, tmp_path)
    assert again.classes == run.load_data().classes


@pytest.mark.parametrize("both", [True, False])
def test_one_of_run_and_ckpt_is_wanted(digits_run: Path, both: bool) -> None:
    given = asked(digits_run, digits_run / "checkpoints" / "last.ckpt") if both else asked()
    came = "both run and ckpt_path" if both else "neither run nor ckpt_path"
    with pytest.raises(SettingError, match=rf"got {came}; must be run=<run folder> or ckpt_path=<checkpoint file>"):
        open_run(given)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        open_run(asked(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"has no checkpoints/best\.ckpt"):
        open_run(asked(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_text("")
    with pytest.raises(DataError, match=r"is unfinished and has no checkpoints/best\.ckpt; .* ckpt_path=.*/last\.ckpt"):
        open_run(asked(tmp_path))
    with pytest.raises(DataError, match="no such checkpoint"):
        open_run(asked(ckpt_path=tmp_path / "no.ckpt"))


@pytest.mark.parametrize("change", ["settings", "classes", "weights", "key", "nothing"])
def test_a_foreign_checkpoint_is_refused_in_one_line(digits_run: Path, tmp_path: Path, change: str) -> None:
    content = torch.load(digits_run / "checkpoints" / "best.ckpt", weights_only=True)
    if change == "settings":
        content["hyper_parameters"]["settings"]["model"]["activation"] = "os.system"
    elif change == "classes":
        content["hyper_parameters"]["classes"] = ["a", "b"]
    elif change == "weights":
        content["state_dict"]["model.features.conv1.weight"] = torch.zeros(3)
    elif change == "key":
        del content["hyper_parameters"]["mean"]
    else:
        content = {"state_dict": {}}
    torch.save(content, tmp_path / "foreign.ckpt")
    with pytest.raises(UserError) as error:
        load_run(tmp_path / "foreign.ckpt")
    assert "foreign.ckpt" in str(error.value)
    if change in ("key", "nothing"):
        assert str(error.value).endswith({"key": "(it has no 'mean')", "nothing": "(it contains no settings)"}[change])
    assert "\n" not in str(error.value)


def test_a_checkpoint_whose_training_had_other_keys_is_taken(digits_run: Path, tmp_path: Path) -> None:
    content = torch.load(digits_run / "checkpoints" / "best.ckpt", weights_only=True)
    del content["hyper_parameters"]["settings"]["trainer"]["compile"]
    content["hyper_parameters"]["settings"]["loss"]["focal"] = 2
    torch.save(content, tmp_path / "older.ckpt")
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    run, older = load_run(digits_run / "checkpoints" / "best.ckpt"), load_run(tmp_path / "older.ckpt")
    assert torch.equal(run.predict_logits(images), older.predict_logits(images))


def test_another_set_with_other_classes_is_refused(digits_run: Path, compose: Compose) -> None:
    run = open_run(asked(digits_run))
    fake = compose("data=fake", "data.classes=3").data
    assert isinstance(fake, FakeDataSettings)
    with pytest.raises(DataError, match="3 classes and 1 channels; must be 10 classes"):
        run.load_data(fake)
    same = compose("data=digits").data
    assert isinstance(same, DigitsDataSettings)
    assert len(run.load_data(same).test_set) == 359


def test_files_never_go_over_others(digits_run: Path, tmp_path: Path) -> None:
    run = open_run(asked(digits_run))
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "results.json").write_text("{}")
    with pytest.raises(SettingError, match=r"used is not an empty folder; must be a new or empty folder"):
        output_folder(asked(digits_run, output_dir=tmp_path / "used"), run, "evaluate")
    assert output_folder(asked(digits_run, output_dir=tmp_path / "new" / "deep"), run, "evaluate").is_dir()


def test_a_network_has_what_training_normalised_with(digits_run: Path, compose: Compose) -> None:
    settings = compose()
    data = build_datamodule(settings)
    run = load_run(digits_run / "checkpoints" / "last.ckpt")
    images = data.test_set.images[:5]
    torch.testing.assert_close(run.preprocess(images), data.preprocess(images), rtol=0, atol=0)
    assert not run.model.training
    assert sum(p.numel() for p in run.model.parameters()) == sum(
        p.numel() for p in build_task(settings, data).model.parameters()
    )


def test_a_run_is_loaded_by_the_text_of_its_path_and_takes_only_stored_images(digits_run: Path) -> None:
    run = load_run(str(digits_run / "checkpoints" / "best.ckpt"))
    images = run.load_data().test_set.images[:3]
    assert run.predict_logits(images).shape == (3, 10)
    for wrong in (images / 255, images[0], images.expand(-1, 3, -1, -1), images.numpy()):
        with pytest.raises(DataError, match=r"^images: got .*; must be a uint8 tensor of shape \(N, 1, h, w\)$"):
            run.predict_logits(wrong)
