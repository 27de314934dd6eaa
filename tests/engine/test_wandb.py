"""Trainings that log to Weights & Biases offline; their files are read back, and nothing connects."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Compose
from quiet import QUIET
from stopping import SignalAfter

from lenet_pl.artifacts import run_plots
from lenet_pl.errors import SettingError
from lenet_pl.runtime.signals import Interruption
from lenet_pl.train import train

pytest.importorskip("wandb", reason="needs Weights & Biases: pip install 'lenet_pl[wandb]'")
pytestmark = pytest.mark.slow
SHORT = (*QUIET, "model=lenet_sigmoid", "trainer.max_epochs=3", "callbacks=no_early_stopping", *QUIET[:2])
LABELS = ("tags=[baseline,owner:ann]", "notes='a first try'")
BLOCK = 32768  # bytes; the file is a LevelDB log


@pytest.fixture(scope="module")
def connections() -> Iterator[list[Any]]:
    """Give the connections to W&B's servers, whose addresses lead to a port of this machine."""
    found: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.MonkeyPatch.context() as patch:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, address = listener.accept()
                    connection.close()
                    found.append(address)

        threading.Thread(target=accept, daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "WANDB_BASE_URL"):
            patch.setenv(name, address)
        for name in ("WANDB_API_KEY", "WANDB_MODE", "NO_PROXY", "no_proxy"):
            patch.delenv(name, raising=False)
        yield found
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def resumed(compose: Compose, connections: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interrupt a training in its third epoch and resume it; give its folder."""
    folder, words = tmp_path_factory.mktemp("resumed"), (*SHORT, *LABELS, "logger=wandb", "logger.wandb.project=digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_plots, "SAMPLES", 1)  # drawing would take longer than training
        with pytest.raises(Interruption):
            train(compose(*words), folder, [SignalAfter(25)])
        train(compose(*words, "resume=true"), folder)
    return folder


def records(path: Path) -> list[Any]:
    """Read the records of a .wandb file."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, found, parts = path.read_bytes(), 7, [], b""
    assert content[:4] == b":W&B"
    while position < len(content):
        if BLOCK - position % BLOCK < 7:  # the rest of a block is too short for a header
            position += BLOCK - position % BLOCK
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            found.append(Record.FromString(parts))
            parts = b""
    return found


def parts_of(folder: Path) -> list[list[Any]]:
    """Read the W&B files of a run folder in the order of their start."""
    return [records(path) for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))]


def points(records: list[Any]) -> list[tuple[int, dict[str, Any]]]:
    """List the logged values, with their steps."""
    histories = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    rows = [{i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in one.item} for one in histories]
    return [(row["_step"], row) for row in rows]


def run_record(records: list[Any]) -> Any:
    return next(record.run for record in records if record.WhichOneof("record_type") == "run")


def exit_code(records: list[Any]) -> int:
    return int(next(record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"))


def config(records: list[Any]) -> dict[str, Any]:
    updates = [run_record(records).config] + [r.config for r in records if r.WhichOneof("record_type") == "config"]
    return {i.key or "/".join(i.nested_key): json.loads(i.value_json) for one in updates for i in one.update}


def test_a_resumed_run_continues_with_the_same_id(resumed: Path) -> None:
    first, second = parts_of(resumed)
    assert run_record(first).run_id == run_record(second).run_id
    recorded = json.loads((resumed / "logger_runs.json").read_text())["Weights & Biases"]
    assert recorded["run_id"] == run_record(first).run_id
    assert (exit_code(first), exit_code(second)) == (255, 0)  # interrupted, finished


def test_the_files_follow_each_other_without_a_point_twice(resumed: Path, tmp_path: Path, compose: Compose) -> None:
    before, after = (points(part) for part in parts_of(resumed))
    steps = [step for step, _ in before + after]
    assert steps == sorted(steps)
    both = before[-1][1].keys() & after[0][1].keys() if before[-1][0] == after[0][0] else set()
    assert {name for name in both if not name.startswith("_")} <= {"trainer/global_step"}
    losses = [(step, row["train/loss_step"]) for step, row in before + after if "train/loss_step" in row]
    train(compose(*SHORT, "logger=csv"), tmp_path)
    header, *lines = [line.split(",") for line in (tmp_path / "csv" / "metrics.csv").read_text().splitlines()]
    expected = [
        (int(line[header.index("step")]), float(line[header.index("train/loss_step")]))
        for line in lines
        if line[header.index("train/loss_step")]
    ]
    assert losses == expected


def test_points_are_those_of_metrics_csv(resumed: Path) -> None:
    rows = [point for part in parts_of(resumed) for point in points(part)]
    header, *lines = [line.split(",") for line in (resumed / "metrics.csv").read_text().splitlines()]
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
        steps, values = zip(*((step, row[name]) for step, row in rows if name in row), strict=True)
        assert list(steps) == [int(line[header.index("step")]) for line in lines]
        assert values == pytest.approx([float(line[header.index(name)]) for line in lines], abs=1e-6)


def test_settings_tags_and_notes_are_there(resumed: Path) -> None:
    for part in parts_of(resumed):
        run = run_record(part)
        assert (run.project, list(run.tags), run.notes) == ("digits", ["baseline", "owner:ann"], "a first try")
        assert run.display_name == resumed.name
        assert not run.run_group
        values = config(part)
        assert (values["optimizer.lr"], values["model.name"], values["seed"]) == (0.001, "lenet_sigmoid", 0)


def test_figures_files_and_final_metrics_are_there(resumed: Path) -> None:
    (last,) = list(resumed.glob("wandb/offline-run-*/files/results.json"))
    assert last.read_bytes() == (resumed / "results.json").read_bytes()
    assert (last.parent / "report.html").exists()
    rows = points(parts_of(resumed)[1])
    for name in ("curves", "confusion_matrix", "misclassified", "samples", "filters"):
        (image,) = [row for _, row in rows if row.get(f"{name}/_type") == "image-file"]
        assert (last.parent / image[f"{name}/path"]).read_bytes() == (resumed / f"{name}.png").read_bytes()
    summary: dict[str, Any] = {}
    for record in parts_of(resumed)[1]:
        if record.WhichOneof("record_type") == "summary":
            summary |= {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.summary.update}
    results = json.loads((resumed / "results.json").read_text())
    assert {name: summary[name] for name in results["metrics"]} == pytest.approx(results["metrics"], abs=1e-6)


def test_nothing_connects(resumed: Path, connections: list[Any]) -> None:
    assert connections == []


def test_seeds_are_runs_of_one_group(compose: Compose, tmp_path: Path, connections: list[Any]) -> None:
    train(compose(*QUIET, "trainer.max_epochs=1", "seeds=[0,1]", "data=fake", "logger=wandb"), tmp_path)
    runs = [run_record(parts_of(tmp_path / f"seed_{seed}")[0]) for seed in (0, 1)]
    assert {run.run_group for run in runs} == {str(tmp_path)[-128:]}
    assert len({run.run_id for run in runs}) == 2
    assert connections == []


def test_online_without_an_account_is_one_line(
    compose: Compose, tmp_path: Path, connections: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "run").mkdir()
    with pytest.raises(SettingError, match=r"^logger\.wandb\.mode: got online, but no account is known"):
        train(compose(*SHORT, "logger=wandb", "logger.wandb.mode=online"), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()
    assert connections == []
