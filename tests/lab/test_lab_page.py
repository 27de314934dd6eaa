"""The page of the lab in a browser."""

import csv
import json
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from promise import case

from lenet_pl.lab.server import create_app
from lenet_pl.lab.trainings import Trainings
from lenet_pl.settings.compose import compose
from lenet_pl.settings.lab import LabSettings
from lenet_pl.web.server import bind_socket

WAIT = 300_000  # ms, on a busy machine


def visit(browser: Any, address: str, **look: Any) -> tuple[Any, list[str]]:
    """Open the page; the list receives errors, and the addresses of requests to other places."""
    page = browser.new_page(**look)
    page.set_default_timeout(WAIT)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "violates" in message.text else None)
    page.on(
        "request",
        lambda request: wrong.append(request.url) if not request.url.startswith((address, "data:", "blob:")) else None,
    )
    page.goto(address)
    page.wait_for_selector("body[data-ready][data-previewed]")
    return page, wrong


def wait_until(page: Any, expression: str) -> None:
    """Wait for an expression; `wait_for_function` evaluates it in the page, which the page's CSP does not allow."""
    end = time.monotonic() + WAIT / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


@contextmanager
def served(settings: LabSettings) -> Iterator[str]:
    """Serve the lab in a thread; gives its address."""
    with Trainings(settings) as trainings, bind_socket("127.0.0.1", 0) as socket:
        server = uvicorn.Server(uvicorn.Config(create_app(settings, trainings), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{socket.getsockname()[1]}"
        finally:
            trainings.hang_up()
            server.should_exit = True
            thread.join()


@pytest.mark.slow
def test_the_form_answers_each_change(browser: Any, tmp_path: Path) -> None:
    settings = compose("lab", LabSettings, [f"output_dir={tmp_path}", "datasets=[digits]"])
    with served(settings) as address:
        page, wrong = visit(browser, address)
        assert page.locator("#diagram li").first.locator("span").inner_text() == "1×32×32"
        kernel = page.get_by_label("Kernel size")
        kernel.focus()
        page.keyboard.press("ArrowLeft")
        page.locator("#command", has_text="model.kernel_size=4").wait_for()
        assert page.locator("#diagram li:has-text('conv1') span").inner_text() == "6×29×29"
        assert page.evaluate("document.activeElement.id") == "field-model.kernel_size"
        page.get_by_label("Stages").fill("8 | many")
        problem = page.locator('[id="error-model.channels"]')
        problem.get_by_text("must be").wait_for()
        assert page.get_by_label("Stages").get_attribute("aria-invalid") == "true"
        page.get_by_label("Start from").first.select_option("cnn5_bn")
        page.locator("#command", has_text="model=cnn5_bn").wait_for()
        assert problem.inner_text() == ""
        assert "kernel" not in page.locator("#command").inner_text()
        page.locator("#augmentation summary").click()
        wait_until(page, "document.getElementById('augmentation-picture').naturalWidth > 200")
        unnamed = page.evaluate(
            "[...document.querySelectorAll('button, input, select, svg[role], img')].filter(e => !(e.labels?.length || "
            "e.textContent.trim() || e.ariaLabel || e.alt || e.closest('[hidden]'))).map(e => e.outerHTML)"
        )
        assert [element for element in unnamed if "<img" not in element or "augmentation" in element] == []
        assert wrong == []
        page.close()


@pytest.fixture
def lab(tmp_path: Path, command_environment: dict[str, str]) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Start the command; gives its address and its process."""
    command = [sys.executable, "-m", "lenet_pl.lab", f"output_dir={tmp_path}", "port=0", "datasets=[digits]"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=command_environment, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0], process
        process.terminate()
        process.wait(timeout=120)


def processes_of(parent: int) -> list[int]:
    """List the processes that a process has started, and those that these have started."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in table.splitlines()]
    found, todo = [], [parent]
    while todo:
        new = [pid for pid, above in pairs if above in todo]
        found, todo = found + new, new
    return found


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Read metrics.csv without the columns that depend on the clock."""
    with (folder / "metrics.csv").open() as stream:
        return [{k: v for k, v in row.items() if k not in ("seconds", "images/s")} for row in csv.DictReader(stream)]


@pytest.mark.long
@case(
    "crash",
    "the lab in a browser: train, watch, compare two, reload, pause, change lr; figures are those of the command",
)
def test_a_session_of_the_lab(
    browser: Any, lab: tuple[str, "subprocess.Popen[str]"], tmp_path: Path, command_environment: dict[str, str]
) -> None:
    address, _ = lab
    page, wrong = visit(browser, address)

    # Train digits to 95%, and watch a filter change
    page.get_by_role("button", name="Train step by step").click()
    first = page.locator("#run-001")
    first.and_(page.locator("[data-status=paused]")).wait_for()
    now = first.locator(".filters img").nth(1)
    start = now.get_attribute("src")
    first.get_by_role("button", name="Step", exact=True).click()
    wait_until(page, f"document.querySelectorAll('#run-001 .filters img')[1].src !== {json.dumps(start)}")
    assert first.locator(".filters img").first.get_attribute("src") == start
    assert first.locator(".gradients li").count() == 5
    first.get_by_text("Choose images").click()
    first.locator(".chooser input").nth(5).check()
    first.locator(".maps article").nth(2).wait_for()
    first.get_by_role("button", name="Continue").click()
    first.and_(page.locator("[data-status=finished]")).wait_for()
    assert float(re.findall(r"accuracy ([\d.]+)", first.locator(".figures").inner_text())[0]) >= 0.95
    assert sum(map(int, filter(str.isdigit, first.locator(".confusion td").all_inner_texts()))) == 216

    # The command that the page shows gives the same figures
    words = shlex.split(first.locator("pre").inner_text())
    again = tmp_path.with_name(f"{tmp_path.name}_again")
    words = [word for word in words[3:] if not word.startswith("run=")]
    command = [sys.executable, "-m", "lenet_pl.train", *words, f"run={again}"]
    subprocess.run(command, env=command_environment, check=True, capture_output=True)
    assert rows_of(again) == rows_of(tmp_path / "001")
    ours, theirs = (json.loads((folder / "results.json").read_text()) for folder in (tmp_path / "001", again))
    assert ours["metrics"] == theirs["metrics"]

    # Compare two, pause one, change its lr, and reload the page meanwhile
    page.get_by_text("Compare", exact=True).click()
    page.get_by_label("Setting to change").select_option("model.activation")
    page.get_by_label("Further values").fill("tanh")
    page.get_by_role("button", name="Train step by step").click()
    second, third = page.locator("#run-002"), page.locator("#run-003")
    third.and_(page.locator("[data-status=paused]")).wait_for()
    second.and_(page.locator("[data-status=paused]")).wait_for()
    second.get_by_label("Speed").select_option("50")
    second.get_by_role("button", name="Continue").click()
    third.get_by_role("button", name="Continue").click()
    wait_until(page, "document.querySelectorAll('#loss polyline').length >= 6")
    page.reload()
    second.get_by_role("button", name="Pause").click()
    second.get_by_label("Learning rate").fill("0.004")
    second.get_by_role("button", name="Set", exact=True).click()
    second.get_by_text("changed by hand: 0.004 after step").wait_for()
    second.get_by_label("Speed").select_option("null")
    second.get_by_role("button", name="Continue").click()
    second.and_(page.locator("[data-status=finished]")).wait_for()
    third.and_(page.locator("[data-status=finished]")).wait_for()
    assert "changed by hand" in " ".join(json.loads((tmp_path / "002" / "results.json").read_text())["notes"])

    assert wrong == []


@pytest.mark.long
@case("crash", "the lab in a browser: rewind, kill, resume, close the lab during a training; no process is left")
def test_a_training_is_rewound_and_killed_and_the_lab_closed(
    browser: Any, lab: tuple[str, "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    address, process = lab
    page, wrong = visit(browser, address)
    page.get_by_label("Epochs").focus()
    page.keyboard.press("Home")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.get_by_label("Figures at the end").select_option("none")
    page.locator("#command", has_text="trainer.max_epochs=6 report=none").wait_for()
    page.get_by_role("button", name="Train", exact=True).click()
    first = page.locator("#run-001")
    first.and_(page.locator("[data-status=finished]")).wait_for()
    first.get_by_label("Rewind to").select_option("4")
    first.get_by_role("button", name="Rewind", exact=True).click()
    second = page.locator("#run-002")
    second.and_(page.locator("[data-status=paused]")).wait_for()
    second.get_by_text("step 40, epoch 4 of 6").wait_for()
    second.get_by_label("Steps at once").fill("15")
    second.get_by_role("button", name="Step", exact=True).click()
    second.get_by_text("step 55, epoch 5 of 6").wait_for()
    second.get_by_role("button", name="Kill").click()
    second.and_(page.locator("[data-status=killed]")).wait_for()
    second.get_by_role("button", name="Resume").click()
    second.and_(page.locator("[data-status=finished]")).wait_for()
    assert rows_of(tmp_path / "002") == rows_of(tmp_path / "001")

    # Close the server during a training
    page.get_by_role("button", name="Train step by step").click()
    third = page.locator("#run-003")
    third.and_(page.locator("[data-status=paused]")).wait_for()
    third.get_by_label("Speed").select_option("5")
    third.get_by_role("button", name="Continue").click()
    third.and_(page.locator("[data-status=training]")).wait_for()
    started = processes_of(process.pid)
    assert len(started) >= 2
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 0
    end = time.monotonic() + 120  # the fork server ends a moment later
    while (left := [pid for pid in started if Path(f"/proc/{pid}").exists()]) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []
    assert (tmp_path / "003" / "checkpoints" / "last.ckpt").exists()
    page.get_by_text("The lab does not answer").wait_for()
    assert [error for error in wrong if "Failed to fetch" not in error] == []


@pytest.mark.long
def test_twenty_pages_at_once(browser: Any, lab: tuple[str, Any], tmp_path: Path) -> None:
    address, _ = lab
    pages = []
    for _ in range(20):
        context = browser.new_context(viewport={"width": 390, "height": 844})
        pages.append(visit(context, address))
    pages[0][0].get_by_role("button", name="Train", exact=True).click()
    for page, wrong in pages:
        page.locator("#run-001[data-status=finished]").wait_for(state="attached")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390
        assert wrong == []
    assert (tmp_path / "001" / "results.json").exists()
