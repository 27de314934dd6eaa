"""Trainings that log to an MLflow server, read back over HTTP."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
from conftest import Compose
from quiet import QUIET
from stopping import SignalAfter

from lenet_pl.errors import SettingError
from lenet_pl.runtime.signals import Interruption
from lenet_pl.train import train
from lenet_pl.train.resume import begin_or_resume

pytest.importorskip("mlflow", reason="needs MLflow: pip install 'lenet_pl[mlflow]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),  # MLflow with SQLAlchemy 2.1
]
PATIENCE = 120  # s, until a server must answer
SHORT = (*QUIET, "model=lenet_sigmoid", "trainer.max_epochs=3", "callbacks=no_early_stopping", *QUIET[:2])
LABELS = ("tags=[baseline,owner:ann]", "notes='a first try'")
FIGURES = {f"{name}.png" for name in ("curves", "confusion_matrix", "misclassified", "samples", "filters")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start an MLflow server on a free port of this machine; give its address."""
    place = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{place}/server.db", "--artifacts-destination", f"{place}/artifacts"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=place, start_new_session=True)
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
    try:
        while True:
            assert process.poll() is None, (place / "log").read_text()
            assert time.monotonic() < end, "the server does not answer"
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                if fetch(address, "health") == b"OK":
                    break
            time.sleep(0.3)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its workers too, which would wait for open connections
        process.wait(20)


class Gate:
    """A port of this machine that leads to a server until it is closed."""

    def __init__(self, target: str) -> None:
        self.target = ("127.0.0.1", int(target.rpartition(":")[2]))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, there = self.listener.accept()[0], socket.create_connection(self.target)
                self.connections += [here, there]
                for source, sink in ((here, there), (there, here)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                sink.sendall(part)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        for one in (self.listener, *self.connections):
            one.close()


def fetch(address: str, path: str, body: Any = None) -> bytes:
    request = urllib.request.Request(f"{address}/{path}", data=json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
        content: bytes = answer.read()
    return content


def runs_of(address: str, experiment: str) -> list[dict[str, Any]]:
    """Read all runs of an experiment."""
    query = urllib.parse.urlencode({"experiment_name": experiment})
    found = json.loads(fetch(address, f"api/2.0/mlflow/experiments/get-by-name?{query}"))
    body = {"experiment_ids": [found["experiment"]["experiment_id"]]}
    runs: list[dict[str, Any]] = json.loads(fetch(address, "api/2.0/mlflow/runs/search", body)).get("runs", [])
    return runs


def pairs(run: dict[str, Any], kind: str) -> dict[str, Any]:
    return {entry["key"]: entry["value"] for entry in run["data"][kind]}


def history(address: str, run: dict[str, Any], metric: str) -> list[tuple[int, float]]:
    """Read the points of a metric, in the order in which they were logged."""
    query = urllib.parse.urlencode({"run_id": run["info"]["run_id"], "metric_key": metric})
    points = json.loads(fetch(address, f"api/2.0/mlflow/metrics/get-history?{query}"))["metrics"]
    return [(int(point.get("step", 0)), point["value"]) for point in points]


def files(address: str, run: dict[str, Any], path: str = "") -> set[str]:
    query = urllib.parse.urlencode({"run_id": run["info"]["run_id"], "path": path})
    found = json.loads(fetch(address, f"api/2.0/mlflow/artifacts/list?{query}")).get("files", [])
    return {file["path"].rpartition("/")[2] for file in found}


def logging_to(address: str, experiment: str) -> tuple[str, ...]:
    return (
        "logger=mlflow",
        f"logger.mlflow.tracking_uri={address}",
        f"logger.mlflow.experiment_name={experiment}",
    )


@pytest.fixture(scope="module")
def resumed(compose: Compose, server: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Interrupt a training in its third epoch and resume it; give its folder, and the MLflow run in between."""
    folder, words = tmp_path_factory.mktemp("resumed"), (*SHORT, *LABELS, *logging_to(server, "resumed"))
    with pytest.raises(Interruption):
        train(compose(*words), folder, [SignalAfter(25)])
    (between,) = runs_of(server, "resumed")
    train(compose(*words, "resume=true"), folder)
    return folder, between


@pytest.fixture(scope="module")
def whole(compose: Compose, server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give the MLflow run of the same training without interruption."""
    train(compose(*SHORT, *logging_to(server, "whole")), tmp_path_factory.mktemp("whole"))
    (run,) = runs_of(server, "whole")
    return run


def test_a_resumed_run_continues_in_the_same_mlflow_run(server: str, resumed: tuple[Path, dict[str, Any]]) -> None:
    folder, between = resumed
    (run,) = runs_of(server, "resumed")
    assert (between["info"]["status"], run["info"]["status"]) == ("KILLED", "FINISHED")
    assert run["info"]["run_id"] == between["info"]["run_id"]
    assert json.loads((folder / "logger_runs.json").read_text())["MLflow"]["run_id"] == run["info"]["run_id"]


@pytest.mark.parametrize("metric", ["train/loss_step", "lr", "train/loss", "val/accuracy", "test/accuracy"])
def test_an_interruption_leaves_the_points_of_an_uninterrupted_run(
    metric: str, server: str, resumed: tuple[Path, dict[str, Any]], whole: dict[str, Any]
) -> None:
    (run,) = runs_of(server, "resumed")
    assert history(server, run, metric) == history(server, whole, metric)


def test_points_are_those_of_metrics_csv(server: str, resumed: tuple[Path, dict[str, Any]]) -> None:
    (run,) = runs_of(server, "resumed")
    header, *lines = [line.split(",") for line in (resumed[0] / "metrics.csv").read_text().splitlines()]
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
        steps, values = zip(*history(server, run, name), strict=True)
        assert list(steps) == [int(line[header.index("step")]) for line in lines]
        assert values == pytest.approx([float(line[header.index(name)]) for line in lines], abs=1e-6)
    assert [step for step, _ in history(server, run, "train/loss_step")] == [9, 19, 29]


def test_params_and_final_metrics_are_there(server: str, resumed: tuple[Path, dict[str, Any]]) -> None:
    (run,) = runs_of(server, "resumed")
    params, metrics = pairs(run, "params"), pairs(run, "metrics")
    assert (params["optimizer.lr"], params["model.name"], params["seed"]) == ("0.001", "lenet_sigmoid", "0")
    assert not {"run", "resume", "notes", "logger.mlflow.tracking_uri"} & params.keys()
    results = json.loads((resumed[0] / "results.json").read_text())
    assert {name: metrics[name] for name in results["metrics"]} == pytest.approx(results["metrics"], abs=1e-6)


def test_figures_report_and_results_are_there(server: str, resumed: tuple[Path, dict[str, Any]]) -> None:
    (run,) = runs_of(server, "resumed")
    assert files(server, run) == {"figures", "report.html", "results.json"}
    assert files(server, run, "figures") >= FIGURES
    for path in ("figures/curves.png", "results.json"):
        query = urllib.parse.urlencode({"run_id": run["info"]["run_id"], "path": path})
        assert fetch(server, f"get-artifact?{query}") == (resumed[0] / Path(path).name).read_bytes()


def test_tags_and_notes_are_there(server: str, resumed: tuple[Path, dict[str, Any]]) -> None:
    (run,) = runs_of(server, "resumed")
    tags = pairs(run, "tags")
    assert (tags["baseline"], tags["owner"], tags["mlflow.note.content"]) == ("true", "ann", "a first try")
    assert "group" not in tags
    assert json.loads((resumed[0] / "results.json").read_text())["tags"] == ["baseline", "owner:ann"]


def test_seeds_are_runs_of_one_group(compose: Compose, server: str, tmp_path: Path) -> None:
    short = [word for word in SHORT if "max_epochs" not in word]
    train(compose(*short, "trainer.max_epochs=1", "seeds=[0,1]", *logging_to(server, "seeds")), tmp_path)
    runs = runs_of(server, "seeds")
    assert {pairs(run, "tags")["group"] for run in runs} == {str(tmp_path)}
    assert {run["info"]["run_name"] for run in runs} == {f"{tmp_path.name}/seed_{seed}" for seed in (0, 1)}
    assert {pairs(run, "params")["seed"] for run in runs} == {"0", "1"}


def test_a_diverged_run_is_marked_as_failed(compose: Compose, server: str, tmp_path: Path) -> None:
    from lenet_pl.errors import DivergenceError

    words = (*SHORT, "optimizer=sgd", "optimizer.lr=1000", "model=lenet5", *logging_to(server, "diverged"))
    with pytest.raises(DivergenceError):
        train(compose(*words), tmp_path)
    assert [run["info"]["status"] for run in runs_of(server, "diverged")] == ["FAILED"]


class CloseGate(lightning.Callback):
    """Cut the connection to the server after the first epoch."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch == 1:
            self.gate.close()


def test_a_server_that_stops_does_not_stop_the_training(
    compose: Compose,
    server: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    gate = Gate(server)
    results = train(compose(*SHORT, *logging_to(gate.address, "stops")), tmp_path, [CloseGate(gate)])
    (note,) = [note for note in results["notes"] if "learned nothing" not in note]
    assert note.startswith("part of the output of MLflow is missing: ")
    assert capsys.readouterr().err == f"note: {note}\n"
    assert results["epochs"] == 3
    assert (tmp_path / "curves.png").exists()
    (run,) = runs_of(server, "stops")
    assert [step for step, _ in history(server, run, "val/accuracy")] == [10]


def test_no_server_is_one_line_before_anything_is_written(compose: Compose, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            with pytest.raises(SettingError, match=rf"^logger\.mlflow\.tracking_uri: {address} cannot be used; .*"):
                train(compose(*SHORT, *logging_to(address, "nowhere")), tmp_path)
    assert not (tmp_path / "config.yaml").exists()


def test_a_run_that_the_server_does_not_know_is_one_line(
    compose: Compose, resumed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "logger_runs.json").write_bytes((resumed[0] / "logger_runs.json").read_bytes())
    words = logging_to(f"sqlite:///{tmp_path}/other.db", "other")
    with pytest.raises(SettingError, match=r"other\.db does not know the MLflow run [0-9a-f]{32} of the run that is"):
        train(compose(*SHORT, *words), tmp_path)


def test_a_run_folder_does_not_say_where_data_are_sent(
    compose: Compose, resumed: tuple[Path, dict[str, Any]], tmp_path: Path, server: str
) -> None:
    text = (resumed[0] / "config.yaml").read_text()
    assert server not in text
    changed = text.replace("tracking_uri: null", "tracking_uri: http://elsewhere.example")
    assert changed != text
    (tmp_path / "config.yaml").write_text(changed)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    for words, expected in (((), None), (logging_to(server, "resumed"), server)):
        settings = begin_or_resume(compose("resume=true", *words), tmp_path, ["resume=true", *words], sweep=False)
        assert settings
        assert settings.logger.mlflow
        assert settings.logger.mlflow.tracking_uri == expected
        assert settings.logger.mlflow.experiment_name == "resumed"
