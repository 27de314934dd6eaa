import contextlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from promise import case
from strokes import DIGITS
from torch import Tensor, nn

from lenet_pl.errors import DataError, SettingError
from lenet_pl.export import build_classifier, export, page_file
from lenet_pl.export.page_file import write_page
from lenet_pl.export.page_layers import read_layers
from lenet_pl.export.page_texts import TEXTS, read_texts
from lenet_pl.export.run_page import find_node, read_page, run_script
from lenet_pl.inference.trained_run import load_run
from lenet_pl.models import get_model
from lenet_pl.photo.handwriting import HANDWRITING
from lenet_pl.photo.prepare import prepare
from lenet_pl.settings import compose as composition
from lenet_pl.settings.export import ExportSettings, PageSettings
from lenet_pl.settings.predict import PhotoSettings

NODE = find_node() or ""
needs_node = pytest.mark.skipif(not NODE, reason="needs Node.js to run the script of the page")
QUICK = ("repeats=1", "min_run_time=0.001", "batch_sizes=[1]", "num_threads=1")
AUTO = PhotoSettings(invert="auto", remove_background="auto", center="auto")
HOSTILE = "</script><script>alert(1)</script>"


def asked(*overrides: str) -> ExportSettings:
    return composition.compose("export", ExportSettings, [*QUICK, "formats=[page]", *overrides])


def trained(model: nn.Module) -> nn.Module:
    """Give a network the statistics and the factors that a training would leave."""
    torch.manual_seed(0)
    for layer in model.modules():
        for name, value in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            if "running" in name or isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
                value.data = torch.rand_like(value.float()) + 0.5
    return model.eval()


def write(model: nn.Module, folder: Path, side: int = 8, size: int = 32, fit: str = "resize", **run: Any) -> Any:
    """Write the page of a network, and return its path and the network with its preprocessing."""
    channels = run.pop("channels", 1)
    data = SimpleNamespace(name=run.pop("data", "digits"))
    settings = SimpleNamespace(model=SimpleNamespace(name="net"), data=data)
    defaults = {"name": "a run", "classes": [str(k) for k in range(10)]}
    described = {"mean": [0.2, 0.5, 0.4][:channels], "std": [0.3, 0.4, 0.2][:channels], "background": 51, "side": side}
    description = {"model": {"image_size": size}, "resize_mode": fit, "channels": channels, **described}
    path = folder / "model.html"
    write_page(
        SimpleNamespace(model=model, channels=channels, side=side, settings=settings, **{**defaults, **run}),
        description,
        path,
        PageSettings(texts=None),
    )
    return path, build_classifier(model, description)


NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lenet1": ({}, {"side": 28, "size": 28}),
    "lenet5_1998": ({}, {"side": 28, "fit": "pad"}),
    "lenet_bn": ({"channels": [[4], [6]], "hidden_sizes": [9, 8]}, {"side": 45}),
    "lenet_sigmoid_avg": ({}, {"side": 29, "fit": "pad"}),
    "cnn5_bn": (
        {"channels": [[3], [4, 4], [5, 5]], "image_size": 27},
        {"channels": 3, "side": 40, "size": 27, "fit": "pad"},
    ),
}
SMALL = {"channels": [[4], [6]], "hidden_sizes": [9], "kernel_size": 3, "image_size": 23, "pool_size": [3, 2]}
ACTIVATIONS = ("tanh", "leaky_relu", "elu", "gelu", "silu")
NORMS = ("layer_norm", "group_norm", "instance_norm", "batch_norm", "none")
for activation, norm in zip(ACTIVATIONS, NORMS, strict=True):
    parts = {"activation": activation, "norm": norm, "pooling": "strided_conv", "hidden_norm": "layer_norm"}
    NETWORKS[f"lenet5 {activation} {norm}"] = ({**SMALL, **parts}, {"size": 23})


@needs_node
@pytest.mark.parametrize("name", NETWORKS)
def test_the_script_of_the_page_gives_the_logits_of_torch(name: str, tmp_path: Path) -> None:
    changes, place = NETWORKS[name]
    channels, side = place.get("channels", 1), place.get("side", 8)
    model = trained(get_model(name.split()[0], in_channels=channels, **changes))
    path, expected = write(model, tmp_path, **place)
    images = torch.randint(0, 256, (3, channels, side, side), dtype=torch.uint8)
    with torch.inference_mode():
        logits = expected(images)
    assert logits.std() > 1e-3
    torch.testing.assert_close(read_page(path, NODE)(images), logits, rtol=1e-5, atol=2e-5)


# Sum up what the page shows of a value: this is all that the reader has
TOTALS = """
const result = forward(network, bytes), rows = [];
network.layers.forEach((layer, number) => {
  const { values } = result.outputs[number];
  for (let unit = 0; unit < values.length; unit += Math.ceil(values.length / 40)) {
    const e = explainUnit(network, result, number, unit);
    const total = {
      patches: () => e.parts.reduce((all, part) => all + part.products.reduce((a, b) => a + b, 0), e.bias ?? 0),
      terms: () => e.terms.reduce((all, term) => all + term.product, e.bias ?? 0),
      window: () => (e.chosen >= 0 ? e.values[e.chosen]
        : e.trained ? e.mean * e.trained.weight + e.trained.bias : e.mean),
      affine: () => e.before * e.weight + e.bias,
      norm: () => ((e.before - e.mean) / e.deviation) * e.weight + e.bias,
      activation: () => ACTIVATIONS[layer.kind](e.before, layer),
    }[e.form]();
    rows.push([layer.kind, total, values[unit]]);
  }
});
rows;
"""


@needs_node
@pytest.mark.parametrize("name", ["lenet1", "lenet5_1998", "lenet_bn", "lenet5 tanh layer_norm", "lenet5 silu none"])
def test_what_is_shown_of_a_value_adds_up_to_it(name: str, tmp_path: Path) -> None:
    changes, place = NETWORKS[name]
    path, _ = write(trained(get_model(name.split()[0], **changes)), tmp_path, **place)
    side = place.get("side", 8)
    rows = run_script(path, NODE, TOTALS, np.random.default_rng(0).integers(0, 256, side * side, np.uint8).tobytes())
    assert len({kind for kind, _, _ in rows}) >= 3
    totals, values = (torch.tensor([row[k] for row in rows]) for k in (1, 2))
    torch.testing.assert_close(totals, values, rtol=1e-5, atol=1e-5)


def drawing(strokes: Any, scale: int = 4) -> Image.Image:
    """Draw like the page: black on white, with a round pen of 20 px and soft edges."""
    large = Image.new("L", (280 * scale, 280 * scale), 255)
    pen, radius = ImageDraw.Draw(large), 10 * scale
    for stroke in strokes:
        points = [(x * scale, y * scale) for x, y in stroke]
        pen.line(points, fill=0, width=2 * radius)
        for x, y in points:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
    return large.resize((280, 280), Image.Resampling.BOX)


@needs_node
@pytest.mark.parametrize(
    ("name", "side", "drawn"),
    [("mnist", 28, "35"), ("digits", 8, "0"), *(
        pytest.param(name, side, "0123456789", marks=pytest.mark.long)
        for name, side in [("mnist", 28), ("emnist", 28), ("digits", 8), ("kmnist", 28)]
    )],
)  # fmt: skip
def test_a_drawing_is_prepared_as_in_predict(name: str, side: int, drawn: str, tmp_path: Path) -> None:
    path, _ = write(trained(get_model("lenet5")), tmp_path, side=side, data=name)
    form = {"kind": "ink", "box": HANDWRITING[name].box, "by_mass": HANDWRITING[name].by_mass}
    assert run_script(path, NODE, "network.drawing") == form
    photos = [drawing(DIGITS[digit]) for digit in drawn]
    expression = """Array.from({ length: bytes.length / 78400 }, (_, k) => {
      const pixels = Uint8Array.from({ length: 3 * 78400 }, (_, at) => bytes[78400 * k + Math.floor(at / 3)]);
      return Array.from(prepare(network, { width: 280, height: 280, pixels }));
    })"""
    found = run_script(path, NODE, expression, b"".join(photo.tobytes() for photo in photos))
    run: Any = SimpleNamespace(settings=SimpleNamespace(data=SimpleNamespace(name=name)), side=side, channels=1)
    for photo, values in zip(photos, found, strict=True):
        photo.info["name"] = "drawing"
        expected = prepare(photo, run, AUTO).flatten().int()
        difference = (torch.tensor(values) - expected).abs()
        assert expected.max() > 200
        assert difference.max() <= 12, photo
        assert difference.float().mean() <= 0.5


class Parts(HTMLParser):
    """The script elements of a page, and all attributes that ask for another file."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.inside = False
        self.addresses: list[str | None] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script"
        self.scripts += [""] * self.inside
        self.addresses += [value for key, value in attributes if key in ("src", "href", "srcset", "action")]

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1] += data


@case("strangers", "a class or a run named </script> on the exported page: text, never code")
def test_names_are_never_code_and_nothing_is_requested(tmp_path: Path) -> None:
    names = [HOSTILE, "<!--", "]]>", "<b>", "猫", "'\"", "{{script}}", "&amp;", "a\nb", "</SCRIPT >"]
    path, _ = write(trained(get_model("lenet1")), tmp_path, side=28, size=28, name=HOSTILE, classes=names)
    text = path.read_text("utf-8")
    parts = Parts()
    parts.feed(text)
    assert len(parts.scripts) == 3
    assert json.loads(parts.scripts[1])["classes"] == [name.replace("\n", "\\n") for name in names]
    assert parts.addresses == ["data:,"]
    assert "alert(1)" not in parts.scripts[2]
    assert "<title>&lt;/script&gt;" in text
    assert "default-src 'none'" in text
    assert "unsafe" not in text.partition("</head>")[0]


def test_every_text_is_used_and_every_script_is_in_the_page() -> None:
    files = [path.read_text("utf-8") for path in page_file.FOLDER.iterdir() if path.suffix in (".js", ".html")]
    texts, words = set(read_texts()), set(re.findall(r"\w+", "".join(files)))
    assert texts - words == {"draw_ink", "draw_garment", "draw_whole"}  # joined from the kind of the drawing
    assert set(re.findall(r"\bsay\(\"(\w+)\"", "".join(files))) <= texts
    assert {path.name for path in page_file.FOLDER.glob("*.js")} == set(page_file.SCRIPTS)
    assert not words & {"innerHTML", "outerHTML", "insertAdjacentHTML"}  # names are put in as text


def test_a_translation_is_used(tmp_path: Path) -> None:
    words = {**json.loads(TEXTS.read_text("utf-8")), "lang": "ar", "dir": "rtl", "heading": "شبكة </title>"}
    (tmp_path / "texts.json").write_text(json.dumps(words), "utf-8")
    assert read_texts(str(tmp_path / "texts.json")) == words
    assert read_texts() == {**words, "lang": "en", "dir": "ltr", "heading": read_texts()["heading"]}


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        (None, r"No such file or directory; must be a JSON file"),
        ("{", r"not JSON \("),
        ("[]", r"must be one object of keys and texts"),
        ({"clear": None}, r"clear is missing; must have the keys of "),
        ({"clean": "Leeren"}, r"clean is unknown; must have the keys of "),
        ({"dir": "up"}, r"dir: got 'up'; must be ltr or rtl"),
        ({"verdict": "{klasse}"}, r"verdict: got \{klasse\}; must be \{name\}, \{percent\}$"),
        ({"clear": "{x}"}, r"clear: got \{x\}; must be nothing in braces$"),
    ],
)
def test_a_wrong_translation_is_answered_in_one_line(changes: Any, answer: str, tmp_path: Path) -> None:
    path = tmp_path / "texts.json"
    if isinstance(changes, dict):
        words = {**json.loads(TEXTS.read_text("utf-8")), **changes}
        changes = json.dumps({key: text for key, text in words.items() if text is not None})
    if changes is not None:
        path.write_text(changes, "utf-8")
    with pytest.raises(SettingError, match=rf"^page\.texts: \S+texts\.json: {answer}"):
        read_texts(str(path))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.output = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.output((self.conv(images) + images).flatten(1))


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        (Branches(), r"Linear \(output\): is not part of a chain"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softplus()), r"Softplus \(2\): must be one of"),
        (nn.Sequential(nn.Conv2d(1, 10, 3, dilation=2), nn.Flatten()), r"Conv2d \(0\): must have zeros .* no dilation"),
        (nn.Sequential(nn.MaxPool2d(3, padding=1), nn.Flatten()), r"MaxPool2d \(0\): must have no padding"),
        (nn.Sequential(nn.GELU("tanh"), nn.Flatten()), r"GELU \(0\): must be exact"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_the_page_cannot_contain_is_answered_in_one_line(model: nn.Module, answer: str) -> None:
    with pytest.raises(SettingError, match=rf"^formats: page does not support {answer}.*; or leave page out$"):
        read_layers(model.eval(), 1, 8)
    assert not any(layer._forward_hooks for layer in model.modules())


@needs_node
def test_the_command_compares_the_page_with_the_checkpoint(digits_run: Path, tmp_path: Path) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        results = export(asked(f"run='{digits_run}'", f"output_dir='{tmp_path}'"))
    (row,) = results["files"]
    assert (row["file"], row["check"]["images"], row["check"]["same_class"]) == ("model.html", 100, 100)
    assert row["check"]["largest_difference"] <= 1e-4
    assert row["bytes"] <= 1e6
    assert row["images_per_second"] is None
    assert "its script was checked in Node.js" in " ".join(printed.getvalue().split())
    weights = load_run(digits_run / "checkpoints" / "best.ckpt").model.state_dict()["classifier.output.weight"]
    page = run_script(tmp_path / "model.html", NODE, "Array.from(network.layers.at(-1).weight.values)")
    assert torch.equal(torch.tensor(page), weights.flatten())


def test_without_node_the_page_is_written_and_called_not_checked(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page_file, "find_node", lambda: None)
    (row,) = export(asked(f"run='{digits_run}'", f"output_dir='{tmp_path}'"))["files"]
    assert row["check"] is None
    assert "not checked, for want of Node.js" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "model.html").is_file()


@needs_node
def test_a_script_that_fails_is_an_error(tmp_path: Path) -> None:
    path, _ = write(trained(get_model("lenet1")), tmp_path, side=28, size=28)
    path.write_text(path.read_text("utf-8").replace("function forward(", "function other("), "utf-8")
    with pytest.raises(DataError, match=r"model\.html: its script fails in .*ReferenceError: forward is not defined"):
        read_page(path, NODE)(torch.zeros(1, 1, 28, 28, dtype=torch.uint8))
