import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import OddRun
from odd_names import SHOWN
from promise import case
from strokes import DIGITS, draw

from lenet_pl.errors import DataError
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.compose import compose
from lenet_pl.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def serve() -> Iterator[Any]:
    """Start the demo of some runs; gives its address."""
    processes = []

    def start(*runs: Path) -> str:
        command = [sys.executable, "-m", "lenet_pl.demo", f"run=[{','.join(map(repr, map(str, runs)))}]", "port=0"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        processes.append(process)
        assert process.stdout is not None
        return process.stdout.readline().split()[0]

    yield start
    for process in processes:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


def visit(browser: Any, address: str, **how: Any) -> tuple[Any, list[str]]:
    """Open the page; the list receives the address of every request."""
    page = browser.new_page(**how)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    return page, asked


def test_a_drawing_is_read_layer_by_layer_and_nobody_else_is_asked(
    browser: Any, serve: Any, digits_run: Path, tmp_path: Path
) -> None:
    address = serve(digits_run, digits_run)
    page, asked = visit(browser, address)
    first = draw(page, DIGITS["1"])
    assert first in {str(k) for k in range(10)} | {"one"}
    assert page.locator("article").count() == 2
    assert page.locator("article").first.locator(".layers img").count() == 2
    assert page.locator("article").first.locator(".classes li").count() == 10
    before = page.locator(".layers img").first.get_attribute("src")
    draw(page, DIGITS["0"])
    assert page.locator(".layers img").first.get_attribute("src") != before
    page.locator("#runs input").nth(1).uncheck()
    page.locator("article").nth(1).wait_for(state="detached")

    hostile = tmp_path / "photo.png"
    hostile.write_bytes(b"\x89PNG\r\n\x1a\n<script>alert(1)</script>")
    page.locator("#file").set_input_files(hostile)
    page.locator("#error:not(:empty)").wait_for()
    assert re.match(r"image: corrupt .*must be a PNG, JPEG", page.locator("#error").inner_text())
    assert page.locator("article").count() == 0
    assert {re.sub(r"^(http://127\.0\.0\.1:\d+)/.*", r"\1", url) for url in asked if not url.startswith("data:")} == {
        address
    }
    page.close()


@case(
    "situations",
    "classes named <b>, [red]x, $A$, in Chinese and Arabic on the demo page: shown as plain text, no injected tags",
)
def test_class_names_are_shown_as_text(browser: Any, serve: Any, odd_run: OddRun) -> None:
    page, _ = visit(browser, serve(odd_run.folder))
    draw(page, DIGITS["1"])
    shown = [label.text_content() for label in page.locator(".classes bdi").all()]
    assert len(shown) == 10
    assert set(shown) <= set(SHOWN.values())
    assert page.locator(".classes i, .classes b, .verdict b").count() == 0
    assert page.locator(".verdict bdi").text_content() == shown[0]
    assert page.locator("h2 bdi").text_content() == "lenet5 on folder, seed 0"
    names = page.evaluate("fetch('runs').then(r => r.json()).then(r => r[0].classes)")
    assert sorted(names) == sorted(SHOWN.values())
    every = page.evaluate("names => names.map(name => isolate(name).textContent)", names)
    assert every == names
    assert page.evaluate("names => names.every(name => isolate(name).children.length === 0)", names)
    page.close()


def test_the_keyboard_draws_too(browser: Any, serve: Any, digits_run: Path) -> None:
    page, _ = visit(browser, serve(digits_run))
    page.locator("#canvas").focus()
    page.keyboard.press("Space")
    for _ in range(10):
        page.keyboard.press("ArrowUp")
    page.wait_for_selector("article[data-predicted]")
    page.keyboard.press("Escape")
    assert page.locator("article").count() == 0
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(browser: Any, serve: Any, digits_run: Path, scheme: str) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "color_scheme": scheme}
    page, _ = visit(browser, serve(digits_run), **phone)
    draw(page, DIGITS["3"])
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    light = page.evaluate("getComputedStyle(document.body).color")
    assert (light == "rgb(0, 0, 0)") is (scheme == "light")
    page.close()


def test_nine_of_ten_drawn_digits_are_read(browser: Any, serve: Any, tmp_path: Path) -> None:
    try:
        train(
            compose(
                "train",
                TrainSettings,
                [
                    "run=unused",
                    "experiment=mnist_99_fast",
                    "data.download=false",
                    "logger=none",
                    "trainer.num_threads=1",
                ],
            ),
            tmp_path,
        )
    except DataError:
        pytest.skip("needs MNIST in LENET_PL_DATA")
    page, _ = visit(browser, serve(tmp_path))
    read = {digit: draw(page, strokes) for digit, strokes in DIGITS.items()}
    page.close()
    assert sum(digit == found for digit, found in read.items()) >= 9, read
