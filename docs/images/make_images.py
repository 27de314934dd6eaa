"""Make the images of README and documentation: `python docs/images/make_images.py [image ...]`.

curves, confusion_matrix, misclassified, attributions and predictions are files of the commands in `clothes`; demo is
the page of a network of MNIST in Debian's chromium, lab and lab_phone are the lab. Together they take a quarter of an
hour. Runs are kept in runs/images, and an interrupted one is resumed. leaderboard is drawn as `compare` draws it, from
the scores in leaderboard_seeds.csv. They were read off an earlier figure; means and standard deviations are those of
docs/leaderboard.csv. The runs behind them take a night, see docs/howto/reproduce_leaderboard.md. accuracy_parameters is
made by leaderboard.py. tutorials is drawn from tutorials.json, which takes hours; see docs/tutorial_recipes.md.
"""

import csv
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

IMAGES = Path(__file__).resolve().parent
RUNS = Path("runs/images")
PHOTOS = 8


def lenet(command: str, *words: str) -> None:
    """Run a command of lenet_pl."""
    subprocess.run([sys.executable, "-m", f"lenet_pl.{command}", *words], check=True)


@cache
def clothes() -> Path:
    """Train on clothes, explain six predictions, and classify photos."""
    run = RUNS / "clothes"
    if not (run / "results.json").exists():
        words = ("model=lenet_bn", "data=fashion", "trainer.num_threads=1")
        lenet("train", *words, f"run={run}", "resume=auto")
    shutil.rmtree(RUNS / "explained", ignore_errors=True)
    lenet("explain", f"run={run}", "num_images=6", f"output_dir={RUNS / 'explained'}")
    shutil.rmtree(RUNS / "predicted", ignore_errors=True)
    take_photos(run, RUNS / "photos")
    lenet("predict", f"run={run}", f"images={RUNS / 'photos'}/*.jpg", f"output_dir={RUNS / 'predicted'}")
    return run


def inspected() -> Path:
    """Look for label errors in Fashion-MNIST."""
    folder = RUNS / "inspected"
    if not (folder / "inspect.html").exists():
        shutil.rmtree(folder, ignore_errors=True)
        words = ("network=lenet5", "folds=2", "epochs=3", "near_duplicates=null", "max_pictures=24")
        lenet("inspect", "data=fashion", *words, f"output_dir={folder}")
    return folder


def take_photos(run: Path, folder: Path) -> None:
    """Write test images as they would look in a photo: dark clothes on light paper, with a shadow."""
    from lenet_pl.inference.trained_run import load_run

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    data = load_run(run / "checkpoints" / "best.ckpt").load_data()
    paper = np.linspace(240, 200, 280)[None, :] * np.ones((280, 1))
    for place in range(PHOTOS):
        index = int(np.flatnonzero(data.test_set.labels.numpy() == place)[place])
        ink = Image.fromarray(data.test_set[index : index + 1].images[0, 0].numpy()).resize(
            (280, 280), Image.Resampling.BICUBIC
        )
        photo = paper * (1 - 0.85 * np.asarray(ink) / 255)
        name = data.classes[place].lower().replace("/", "_").replace(" ", "_")
        Image.fromarray(photo.astype(np.uint8)).save(folder / f"{name}.jpg", quality=92)


def demo() -> Path:
    """Draw a five on the page of the demo."""
    sys.path.append(str(IMAGES.parents[1] / "tests" / "demo"))
    from strokes import DIGITS, draw

    run, file = RUNS / "mnist", RUNS / "demo.png"
    if not (run / "results.json").exists():
        lenet("train", "experiment=mnist_99_fast", f"run={run}", "resume=auto")
    with opened("demo", f"run={run}", viewport={"width": 900, "height": 668}) as page:
        page.wait_for_selector("body[data-ready]")
        draw(page, DIGITS["5"])
        page.mouse.move(5, 5)
        page.screenshot(path=file)
    return file


def lab(name: str, top: str, **look: Any) -> Path:
    """Train on the page of the lab, two learning rates side by side, and pause; `top` is the first element to show."""
    folder, file = RUNS / name, RUNS / f"{name}.png"
    shutil.rmtree(folder, ignore_errors=True)
    with opened("lab", f"output_dir={folder}", **look) as page:
        page.wait_for_selector("body[data-previewed]")
        page.get_by_text("Compare", exact=True).click()
        page.get_by_label("Setting to change").select_option("optimizer.lr")
        page.get_by_label("Further values").fill("0.005")
        page.get_by_role("button", name="Train step by step").click()
        for number in ("002", "001"):
            card = page.locator(f"#run-{number}[data-status=paused]")
            card.get_by_label("Steps at once").fill("100")
            card.get_by_role("button", name="Step", exact=True).click()
            card.get_by_text("step 100,").wait_for()
        page.locator("#run-001[data-status=paused]").wait_for()
        page.locator("#sections details").last.evaluate("element => element.open = false")
        page.evaluate("document.activeElement.blur()")
        page.locator("#form").evaluate("element => element.scrollTo(0, 0)")
        page.locator(top).first.evaluate("element => element.scrollIntoView({behavior: 'instant'})")
        page.screenshot(path=file)
    return file


@contextmanager
def opened(command: str, *words: str, **look: Any) -> Iterator[Any]:
    """Serve the page of a command, and open it in a browser."""
    from playwright.sync_api import sync_playwright

    arguments = [sys.executable, "-m", f"lenet_pl.{command}", *words, "port=0"]
    server = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split()[0]
        with sync_playwright() as start:
            browser = start.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(**look)
            page.set_default_timeout(300_000)  # ms, on a busy machine
            page.goto(address)
            yield page
            browser.close()
    finally:
        server.terminate()
        server.wait()


def seeds() -> Path:
    """Draw the scores of the leaderboard's seeds as `compare` draws them."""
    from lenet_pl.compare.groups import Comparison, Group
    from lenet_pl.compare.plots import draw_comparison
    from lenet_pl.compare.run import Run
    from lenet_pl.display.figure import save_figures

    by = ["model", "data", "augment.shear", "networks", "views"]
    scores: dict[tuple[Any, ...], dict[int | str, float]] = defaultdict(dict)
    with (IMAGES / "leaderboard_seeds.csv").open() as stream:
        for row in csv.DictReader(stream):
            values = (row["model"], row["data"], *(int(row[key]) for key in by[2:]))
            scores[values][int(row["seed"])] = float(row["test/accuracy"])
    runs = [Run(Path(), results={"parameters": 1})]
    groups = [Group(values, values[1], runs, some) for values, some in scores.items()]
    groups.sort(key=lambda group: (group.data, -group.mean))
    RUNS.mkdir(parents=True, exist_ok=True)
    save_figures(RUNS, {"seeds": draw_comparison(Comparison(by, "test/accuracy", groups, [], 0), 1)["seeds"]})
    return RUNS / "seeds.png"


def tutorials() -> Path:
    """Draw the comparison of the tutorials' loops from tutorials.json, which the benchmark wrote."""
    from lenet_pl.benchmark.tutorials.tables import draw_accuracies
    from lenet_pl.display.figure import save_figures

    RUNS.mkdir(parents=True, exist_ok=True)
    rows = json.loads((IMAGES / "tutorials.json").read_text(encoding="utf-8"))["rows"]
    save_figures(RUNS, {"tutorials": draw_accuracies(rows)})
    return RUNS / "tutorials.png"


def cnn_plain() -> Path:
    """Train the network of `cnn_plain_mnist` for 200 steps, with one thing changed at a time."""
    RUNS.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, str(IMAGES / "cnn_plain.py"), str(RUNS)], check=True)
    return RUNS / "cnn_plain.png"


FILES = {
    "curves": lambda: clothes() / "curves.png",
    "confusion_matrix": lambda: clothes() / "confusion_matrix.png",
    "misclassified": lambda: clothes() / "misclassified.png",
    "attributions": lambda: clothes().parent / "explained" / "attributions.png",
    "predictions": lambda: clothes().parent / "predicted" / "predictions.png",
    "label_error": lambda: inspected() / "label_error.png",
    "demo": demo,
    "lab": lambda: lab("lab", "header", viewport={"width": 1400, "height": 1500}),
    "lab_phone": lambda: lab("lab_phone", "#run-002", viewport={"width": 390, "height": 844}, color_scheme="dark"),
    "leaderboard": seeds,
    "tutorials": tutorials,
    "cnn_plain": cnn_plain,
}

if __name__ == "__main__":
    for wanted in sys.argv[1:] or FILES:
        shutil.copy(FILES[wanted](), IMAGES / f"{wanted}.png")
