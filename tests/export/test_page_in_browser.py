import contextlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose, OddRun
from odd_names import SHOWN
from PIL import Image
from strokes import DIGITS, Stroke, trace

from lenet_pl.errors import DataError
from lenet_pl.export import export
from lenet_pl.inference.trained_run import TrainedRun, load_run
from lenet_pl.settings import TrainSettings
from lenet_pl.settings import compose as composition
from lenet_pl.settings.export import ExportSettings
from lenet_pl.train import train

pytestmark = pytest.mark.slow
Opened = Callable[..., Any]
LAYERS = ("conv2", "pool2", "linear1")
LOOKS = (("dark", 360), ("light", 1280), ("dark", 1280), ("light", 360), ("light", 800))


def write_page(run: Path, folder: Path) -> Path:
    """Export the page of a run."""
    given = ("formats=[page]", "num_images=1", "repeats=1", "min_run_time=0.001", "batch_sizes=[1]", "num_threads=1")
    with contextlib.redirect_stdout(io.StringIO()):
        export(composition.compose("export", ExportSettings, [f"run='{run}'", f"output_dir='{folder}'", *given]))
    return folder / "model.html"


@pytest.fixture(scope="module")
def digits_page(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(digits_run, tmp_path_factory.mktemp("page"))


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    """Open a file without a network; a request, a message on the console or an error fails the test."""
    contexts, wrong = [], []

    def _open(path: Path, **how: Any) -> Any:
        context = browser.new_context(offline=True, **how)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: wrong.append(request.url))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]")
        return page

    yield _open
    for context in contexts:
        context.close()
    local = re.compile(r"(file:///.*/model\.html|data:,|blob:null/[-0-9a-f]+)$")
    assert [text for text in wrong if not local.match(text)] == []


def logits_in(page: Any, run: TrainedRun, count: int) -> float:
    """Return the largest difference of a logit from the checkpoint, for test images."""
    images = run.load_data().test_set[slice(0, count)].images
    assert len(images) == count
    found = page.evaluate(
        """images => {
          const network = readNetwork(JSON.parse(document.getElementById("network").textContent));
          return images.map((image) => Array.from(forward(network, Uint8Array.from(image)).logits));
        }""",
        images.flatten(1).tolist(),
    )
    return float((torch.tensor(found) - run.predict_logits(images)).abs().max())


def draw(page: Any, strokes: list[Stroke], *, clear: bool = True) -> str:
    """Draw on the page; returns the predicted class."""
    if clear:
        page.get_by_role("button", name="Clear").click()
    trace(page, strokes)
    page.wait_for_selector("main[aria-busy=false]")
    return str(page.locator("body").get_attribute("data-predicted"))


def test_a_file_without_a_network_gives_the_logits_of_the_checkpoint(
    digits_page: Path, digits_run: Path, opened: Opened
) -> None:
    page = opened(digits_page)
    assert digits_page.stat().st_size <= 1_000_000
    assert logits_in(page, load_run(digits_run / "checkpoints" / "best.ckpt"), 100) <= 1e-4
    assert page.title() == page.locator(".run").inner_text() == "lenet5 on digits, seed 0"


@pytest.mark.long
@pytest.mark.parametrize(
    "overrides",
    [("model=lenet_bn",), ("model=lenet5_1998",), ("model=cnn5_bn", "model.norm=group_norm", "model.activation=gelu")],
    ids=lambda overrides: overrides[0],
)
def test_other_networks_give_the_logits_of_the_checkpoint(
    overrides: tuple[str, ...], compose: Compose, tmp_path: Path, opened: Opened
) -> None:
    quick = ("trainer.max_epochs=2", "test=false", "logger=none", "callbacks.progress_bar=false", "report=none")
    with contextlib.redirect_stdout(io.StringIO()):
        train(compose(*overrides, *quick), tmp_path / "run")
    page = opened(write_page(tmp_path / "run", tmp_path / "out"))
    assert logits_in(page, load_run(tmp_path / "run" / "checkpoints" / "best.ckpt"), 100) <= 1e-4


def test_a_click_on_a_value_shows_what_made_it(digits_page: Path, opened: Opened) -> None:
    page = opened(digits_page)
    draw(page, DIGITS["3"])
    conv2 = page.locator("section.layer[aria-label=conv2]")
    box = conv2.locator(".map canvas").nth(4).bounding_box()
    conv2.locator(".map").nth(4).click(position={"x": box["width"] * 0.35, "y": box["height"] * 0.55})
    assert re.match(r"conv2, map 5, row 6, column 4: ", conv2.locator("h4").inner_text())
    numbers = [
        float(text.replace("−", "-")) for text in re.findall(r"[−\d.]+", conv2.locator(".formula").first.inner_text())
    ]
    assert numbers[0] + numbers[1] == pytest.approx(numbers[2], abs=2e-4)
    parts = conv2.locator(".part")
    assert parts.count() == 6
    patch, kernel, products = (
        [float(text.replace("−", "-")) for text in parts.first.locator("table").nth(k).locator("td").all_inner_texts()]
        for k in range(3)
    )
    assert len(patch) == 25
    assert products == pytest.approx([a * b for a, b in zip(patch, kernel, strict=True)], abs=0.1)
    assert page.locator(".mark").count() == 7  # the value, and its patch in six maps
    before = conv2.locator("h4").inner_text()
    draw(page, DIGITS["1"], clear=False)
    assert conv2.locator("h4").inner_text() != before  # follows the drawing
    page.locator("section.layer[aria-label=output] .map").click()
    assert page.locator(".unit").count() == 1
    assert "is the logit of a class" in page.locator(".unit").inner_text()


@pytest.mark.long
def test_the_keyboard_does_everything(digits_page: Path, opened: Opened) -> None:
    page = opened(digits_page, reduced_motion="reduce")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "canvas"
    page.keyboard.press("Space")
    for _ in range(12):
        page.keyboard.press("ArrowUp")
    page.wait_for_selector("body[data-predicted]")
    page.locator("#announcement:not(:empty)").wait_for(state="attached")
    page.locator("#announcement", has_text="Prediction: ").wait_for(state="attached")
    seen = []
    for _ in range(6):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"))
        if seen[-1].startswith("conv1"):
            break
    assert re.match(r"conv1, map 1 of 6: largest value", seen[-1]), seen
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    heading = page.locator(".unit h4")
    assert heading.inner_text().startswith("conv1, map 2, row ")
    first = heading.inner_text()
    page.keyboard.press("ArrowRight" if ", column 1:" in first else "ArrowLeft")
    assert heading.inner_text() != first
    page.keyboard.press("Escape")
    assert page.locator(".unit").count() == 0
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("conv1, map 2 of 6")
    page.locator("#canvas").focus()
    page.keyboard.press("Escape")
    assert page.locator("#network-layers").is_hidden()


@pytest.mark.parametrize(
    ("scheme", "width", "layers"),
    [("dark", 360, LAYERS[:1]), *(pytest.param(*look, LAYERS, marks=pytest.mark.long) for look in LOOKS)],
)
def test_axe_finds_no_violation_and_nothing_is_wider_than_the_screen(
    scheme: str, width: int, layers: tuple[str, ...], digits_page: Path, opened: Opened
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page = opened(digits_page, color_scheme=scheme, viewport={"width": width, "height": 740}, reduced_motion="reduce")
    draw(page, DIGITS["3"])
    for layer in layers:
        page.locator(f"section.layer[aria-label={layer}] .map").first.click()
        found = axe.Axe().run(page).response["violations"]
        assert [(entry["id"], entry["impact"], entry["nodes"][0]["html"]) for entry in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") is (
        scheme == "light"
    )


@pytest.mark.long
def test_a_picture_from_a_file_is_classified_and_another_file_is_answered(
    digits_page: Path, digits_run: Path, opened: Opened, tmp_path: Path
) -> None:
    run, page = load_run(digits_run / "checkpoints" / "best.ckpt"), opened(digits_page)
    image = run.load_data().test_set[slice(0, 1)].images
    Image.fromarray(image[0, 0].numpy()).save(tmp_path / "digit.png")
    page.locator("#file").set_input_files(tmp_path / "digit.png")
    page.wait_for_selector("body[data-predicted]")
    assert page.locator("body").get_attribute("data-predicted") == run.classes[int(run.predict_logits(image).argmax())]
    hostile = tmp_path / "<b>.png"
    hostile.write_bytes(b"\x89PNG\r\n\x1a\n<script>alert(1)</script>")
    page.locator("#file").set_input_files(hostile)
    page.locator("#error:not(:empty)").wait_for()
    assert page.locator("#error").inner_text().startswith("<b>.png cannot be opened as a picture")


@pytest.mark.long
def test_class_names_are_shown_as_text(odd_run: OddRun, opened: Opened, tmp_path: Path) -> None:
    page = opened(write_page(odd_run.folder, tmp_path / "out"))
    draw(page, DIGITS["1"])
    shown = [label.text_content() for label in page.locator("#classes bdi").all()]
    assert shown
    assert set(shown) <= set(SHOWN.values())
    assert page.locator("#classes i, #classes b, #verdict b").count() == 0
    assert page.locator("#verdict bdi").text_content() in shown


@pytest.mark.long
def test_nine_of_ten_drawn_digits_are_read(opened: Opened, tmp_path: Path) -> None:
    given = ["run=unused", "experiment=mnist_99_fast", "data.download=false", "logger=none", "trainer.num_threads=1"]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            train(composition.compose("train", TrainSettings, given), tmp_path / "run")
    except DataError:
        pytest.skip("needs MNIST in LENET_PL_DATA")
    page = opened(write_page(tmp_path / "run", tmp_path / "out"))
    assert logits_in(page, load_run(tmp_path / "run" / "checkpoints" / "best.ckpt"), 100) <= 1e-4
    read = {digit: draw(page, strokes) for digit, strokes in DIGITS.items()}
    assert sum(digit == found for digit, found in read.items()) >= 9, read
