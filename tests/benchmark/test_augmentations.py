from pathlib import Path
from typing import Any

import pytest

from lenet_pl.benchmark import augmentations
from lenet_pl.benchmark.results import TABLES
from lenet_pl.settings import compose as composition
from lenet_pl.settings.augment import AugmentSettings
from lenet_pl.settings.benchmark import BenchmarkSettings


class NoWorkers:
    """A training that takes no process, at 1,000 images/s."""

    def __init__(self, threads: int | None) -> None:
        pass

    def __enter__(self) -> "NoWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def do(self, *_: Any) -> float:
        return 1000.0


@pytest.mark.parametrize("data", ["digits", "fake"])
def test_each_augmentation_is_measured_next_to_torchvisions(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentations, "Workers", NoWorkers)
    words = ["output_dir=unused", f"datasets=[{data}]", "rounds=1", "seconds=0.001", "batch_sizes=[16]"]
    settings = composition.compose("benchmark", BenchmarkSettings, [*words, f"data_root={tmp_path}"])
    rows = augmentations.measure_augmentations(settings, data)
    assert [row["augmentation"] for row in rows] == list(augmentations.STRENGTHS)
    for row in rows:
        assert row["of_training_step"] == pytest.approx(1000 / row["images_per_second"], rel=0.01)
        assert (row["torchvision_images_per_second"] is None) == (row["augmentation"] == "cutout")
    lines = TABLES["augmentations"](rows).splitlines()
    assert len(lines) == len(rows) + 3
    assert lines[-1].startswith("| training step of lenet5, batch 16 | 1,000 |")


def test_all_augmentations_are_measured() -> None:
    strengths = {"rand_augment_magnitude", "scale", "aspect_ratio", "shear", "saturation"}  # of one kind with others
    measured = {name for one in augmentations.STRENGTHS.values() for name in one}
    assert measured == set(AugmentSettings.model_fields) - strengths
