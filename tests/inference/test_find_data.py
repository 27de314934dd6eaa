from pathlib import Path

import numpy as np
import pytest
from conftest import Compose
from PIL import Image
from quiet import WITHOUT_FIGURES

from lenet_pl.errors import DataError
from lenet_pl.inference.trained_run import load_run
from lenet_pl.train import train


def test_a_run_finds_its_images_from_another_working_directory(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "start" / "images" / name).mkdir(parents=True)
        for number in range(12):
            pixels = noise.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "start" / "images" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path / "start")
    settings = compose(
        "data=folder", "data.path=images", "loader.batch_size=4", "trainer.max_epochs=1", *WITHOUT_FIGURES
    )
    run = tmp_path / "start" / "runs" / "mine"
    run.mkdir(parents=True)
    train(settings, run)
    here = load_run(run / "checkpoints" / "best.ckpt").load_data().test_set
    monkeypatch.chdir(tmp_path)
    elsewhere = load_run(run / "checkpoints" / "best.ckpt").load_data().test_set
    assert elsewhere.images.equal(here.images)
    (tmp_path / "start" / "images").rename(tmp_path / "start" / "moved")
    with pytest.raises(DataError, match=r"^data\.path: images does not exist"):
        load_run(run / "checkpoints" / "best.ckpt").load_data()
