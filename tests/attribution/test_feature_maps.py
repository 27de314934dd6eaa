import pytest
import torch
from conftest import Compose

from lenet_pl.artifacts.report import PICTURES
from lenet_pl.attribution.feature_maps import draw_layers
from lenet_pl.data.transform import Preprocess
from lenet_pl.models.build import build_model
from lenet_pl.settings.compose import conf_dir

MODELS = sorted(file.stem for file in (conf_dir() / "model").glob("*.yaml"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_every_network_shows_its_filters_and_feature_maps(name: str, channels: int, compose: Compose) -> None:
    settings = compose(f"model={name}").model
    model = build_model(settings, channels, 10).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    preprocess = Preprocess(settings.image_size, "pad", [0.5] * channels, [0.5] * channels)
    image = torch.randint(0, 256, (channels, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    figures = draw_layers(model, preprocess, image, name)
    assert list(figures) == ["filters", "feature_maps"]
    for figure in figures.values():
        figure.canvas.draw()
    shown = [text.get_text() for text in figures["feature_maps"].axes[0].texts]
    published = {"lenet1": [[4], [12]], "lenet5_1998": [[6], [16]]}
    stages = published.get(name) or getattr(settings, "channels", [])
    wanted = [width for stage in stages for width in stage]
    counts = [text.partition(": ")[2].partition(" maps")[0] for text in shown if text.startswith("conv")]
    assert counts == [str(width) for width in wanted]
    assert model.training  # and no statistics of a batch of one were taken over
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_network_in_double_precision_is_drawn_too(compose: Compose) -> None:
    settings = compose().model
    image = torch.zeros(1, 8, 8, dtype=torch.uint8)
    preprocess = Preprocess(settings.image_size, "resize", [0.5], [0.5])
    assert draw_layers(build_model(settings, 1, 10).double(), preprocess, image, "double")


def test_the_report_shows_them() -> None:
    assert {"filters", "feature_maps"} <= set(PICTURES)
