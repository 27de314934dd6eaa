import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Compose

from lenet_pl.artifacts import run_plots
from lenet_pl.train import train

pytestmark = pytest.mark.slow
PATIENCE = 120  # seconds until the server must have read the run


@pytest.fixture(scope="module")
def folder(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a finished run on digits."""
    path = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_plots, "SAMPLES", 1)  # drawing would take longer than training
        train(compose("trainer.accelerator=cpu", "trainer.max_epochs=2", "callbacks.progress_bar=false"), path)
    return path


def test_a_finished_run_leaves_no_writer_behind(compose: Compose, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    quick = ("callbacks.progress_bar=false", "data=fake", "trainer.max_epochs=1", "logger=both")
    train(compose("trainer.accelerator=cpu", *quick), tmp_path)
    assert set(threading.enumerate()) <= before


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """Start TensorBoard on a free port of this machine; give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--load_fast", "false", "--reload_interval", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            assert process.poll() is None, "tensorboard ended"
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                if "hparams" in {name for name, on in get(address, "data/plugins_listing").items() if on["enabled"]}:
                    break
            time.sleep(0.3)
        else:
            pytest.fail("tensorboard did not find the run")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def fetch(address: str, path: str, body: Any = None) -> str:
    request = urllib.request.Request(f"{address}/{path}", data=json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
        text: str = answer.read().decode()
    return text


def get(address: str, path: str, body: Any = None) -> Any:
    return json.loads(fetch(address, path, body))


def tags(per_run: dict[str, Any]) -> set[str]:
    return {tag for found in per_run.values() for tag in found}


def test_the_page_is_there(server: str) -> None:
    assert "<title>TensorBoard</title>" in fetch(server, "")


def test_every_tab_has_something_to_show(server: str) -> None:
    plugins = get(server, "data/plugins_listing")
    assert {"scalars", "images", "graphs", "hparams"} <= {name for name, plugin in plugins.items() if plugin["enabled"]}


def test_scalars_of_steps_and_epochs_are_there(server: str) -> None:
    found = get(server, "data/plugin/scalars/tags")
    wanted = {f"{part}/{score}" for part in ("train", "val", "test") for score in ("loss", "accuracy")}
    assert tags(found) >= wanted | {"train/loss_step", "lr", "images_per_second"}


def test_curves_have_the_values_of_metrics_csv(server: str, folder: Path) -> None:
    header, *lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    for tag in ("train/loss", "val/accuracy"):
        (run,) = [name for name, found in get(server, "data/plugin/scalars/tags").items() if tag in found]
        points = get(server, f"data/plugin/scalars/scalars?run={run}&tag={tag}")
        expected = [float(line[header.index(tag)]) for line in lines]
        assert [value for _, _, value in points] == pytest.approx(expected, rel=1e-4)


def test_the_loss_of_steps_has_a_point_every_ten(server: str) -> None:
    (run,) = [name for name, found in get(server, "data/plugin/scalars/tags").items() if "train/loss_step" in found]
    points = get(server, f"data/plugin/scalars/scalars?run={run}&tag=train/loss_step")
    assert [step for _, step, _ in points] == [9, 19]


def test_pictures_are_there(server: str) -> None:
    assert tags(get(server, "data/plugin/images/tags")) >= {"samples", "curves", "confusion_matrix", "misclassified"}


def test_the_graph_is_there(server: str) -> None:
    (run,) = get(server, "data/plugin/graphs/info")
    assert "conv1" in fetch(server, f"data/plugin/graphs/graph?run={run}")


def test_hyperparameters_are_there_with_scores(server: str) -> None:
    experiment = get(server, "data/plugin/hparams/experiment", {"experimentName": ""})
    assert {"optimizer.lr", "model.name", "seed", "loader.batch_size"} <= {h["name"] for h in experiment["hparamInfos"]}
    assert "test/accuracy" in {info["name"]["tag"] for info in experiment["metricInfos"]}
    request = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_SUCCESS", "STATUS_RUNNING", "STATUS_UNKNOWN"],
        "colParams": [{"hparam": "optimizer.lr"}],
        "startIndex": 0,
        "sliceSize": 10,
    }
    (group,) = get(server, "data/plugin/hparams/session_groups", request)["sessionGroups"]
    assert group["hparams"]["optimizer.lr"] == pytest.approx(0.001)
